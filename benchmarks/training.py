"""Training steps of XCiT-T12/16 on the CPU: hubpkg's against MindCV's, on the same MindSpore, and timm's under PyTorch.

A step is network, loss, gradients and AdamW, with the same label smoothing, learning rate and weight decay: hubpkg's
as ``hubpkg train`` makes it, MindCV's by its own create_loss, create_optimizer and create_trainer. The two take turns
in one process after a warm-up, in which MindSpore picks numbers of threads; timm's steps run in a process of their
own, before and after. Needs MindCV; for timm, the Python of an environment that has it.

python benchmarks/training.py [--timm PYTHON] [--steps N]
"""

import argparse
import importlib.util
import json
import statistics
import subprocess
import sys
import time

MODEL = "xcit_tiny_12_p16_224"
SIZES = ((32, 64), (224, 8))  # side of the images, batch size
RECIPE = {"lr": 1e-4, "weight_decay": 0.05, "label_smoothing": 0.1}
CLASSES = 1000
WARM_UP = 16
THREADS = 2


def milliseconds(step):
    """How long ``step`` takes."""
    started = time.perf_counter()
    step()
    return 1e3 * (time.perf_counter() - started)


def hubpkg_network():
    """The network that hubpkg ships."""
    from hubpkg.spec import find_model

    file = find_model(MODEL) / f"{MODEL}_network.py"
    spec = importlib.util.spec_from_file_location("benchmarked_network", file)
    sys.modules[spec.name] = module = importlib.util.module_from_spec(spec)  # graph mode looks the source up there
    spec.loader.exec_module(module)
    return module.XCiT(num_classes=CLASSES)


def steps(size, batch_size, count):
    """The functions that make hubpkg's step and MindCV's, on the same images."""
    import mindcv
    import mindspore
    import numpy as np
    from mindcv.utils.trainer_factory import create_trainer

    from hubpkg.runtime.step import Step

    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    generator = np.random.default_rng(0)
    images = mindspore.Tensor(generator.standard_normal((batch_size, 3, size, size)).astype(np.float32))
    labels = mindspore.Tensor(generator.integers(CLASSES, size=batch_size).astype(np.int32))
    ours = Step(hubpkg_network(), RECIPE, [RECIPE["lr"]] * count)
    network = mindcv.create_model(MODEL, num_classes=CLASSES)
    optimizer = mindcv.create_optimizer(
        network.trainable_params(), "adamw", lr=RECIPE["lr"], weight_decay=RECIPE["weight_decay"]
    )
    loss = mindcv.create_loss("CE", label_smoothing=RECIPE["label_smoothing"])
    trainer = create_trainer(network, loss, optimizer, {}, amp_level="O0", amp_cast_list=None, loss_scale_type="fixed")
    theirs = trainer.train_network.set_train()
    return {
        "hubpkg": lambda: [output.asnumpy() for output in ours(images, labels)],
        "MindCV": lambda: theirs(images, labels).asnumpy(),
    }


def timm_steps(size, batch_size, count):
    """Milliseconds of each of timm's steps."""
    import timm
    import torch

    torch.set_num_threads(THREADS)
    network = timm.create_model(MODEL, num_classes=CLASSES, img_size=size).train()
    optimizer = torch.optim.AdamW(network.parameters(), RECIPE["lr"], weight_decay=RECIPE["weight_decay"])
    loss = torch.nn.CrossEntropyLoss(label_smoothing=RECIPE["label_smoothing"])
    images, labels = torch.randn(batch_size, 3, size, size), torch.randint(CLASSES, (batch_size,))

    def step():
        optimizer.zero_grad()
        loss(network(images), labels).backward()
        optimizer.step()

    return [milliseconds(step) for _ in range(count)][min(3, count - 1) :]


def main():
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--timm", metavar="PYTHON", help="the interpreter of an environment with timm")
    parser.add_argument("--steps", type=int, default=16, help="timed at each size (default: 16)")
    parser.add_argument("--as-timm", nargs=2, type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.as_timm:
        print(json.dumps(timm_steps(*options.as_timm, options.steps)))
        return
    if not options.timm:
        print("left out: timm, as --timm PYTHON was not given")

    def timm_times(size, batch_size):
        if not options.timm:
            return []
        command = [options.timm, "-W", "ignore", __file__, "--steps", str(options.steps), "--as-timm"]
        result = subprocess.run([*command, str(size), str(batch_size)], check=True, capture_output=True, text=True)
        return json.loads(result.stdout.splitlines()[-1])

    for size, batch_size in SIZES:
        timm = timm_times(size, batch_size)
        functions = steps(size, batch_size, WARM_UP + options.steps)
        for step in functions.values():
            for _ in range(WARM_UP):
                step()
        rounds = [[milliseconds(step) for step in functions.values()] for _ in range(options.steps)]
        times = {
            name: statistics.median(column) for name, column in zip(functions, zip(*rounds, strict=True), strict=True)
        }
        timm += timm_times(size, batch_size)
        print(f"{size}x{size}, batch {batch_size}, median of {options.steps} steps:")
        for name, found in times.items():
            print(f"  {name}: {found:.0f} ms")
        print(f"  speed of hubpkg to MindCV: {times['MindCV'] / times['hubpkg']:.2f} (promised: at least 1.5)")
        if timm:
            print(f"  timm: {statistics.median(timm):.0f} ms")
            print(f"  speed of hubpkg to timm: {statistics.median(timm) / times['hubpkg']:.2f}")


if __name__ == "__main__":
    main()
