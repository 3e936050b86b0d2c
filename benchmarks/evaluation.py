"""Evaluating XCiT-T12/16 on the CPU: hubpkg's two engines against MindCV on the same MindSpore, and timm under PyTorch.

Makes an ImageNet-layout folder of synthetic photos (spectra and sizes of natural ones) and one checkpoint of random
weights, then evaluates it by each, decoding included and compiling excluded, in processes that take turns; prints
images a second, their ratios, and whether hubpkg's accuracies are MindCV's but for images listed as close. timm's
network has weights of its own and is only timed. Two workers take turns with them, and last, with --long, comes the
peak memory at 50,000 images against that at --count. Needs MindCV and ONNX Runtime; for timm, the Python of an
environment that has it.

python benchmarks/evaluation.py [--timm PYTHON] [--count N] [--runs N] [--long]
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

MODEL = "xcit_tiny_12_p16_224"
CLASSES = 10  # folders; the first of ILSVRC's 1,000, so that labels by order are the same everywhere
LONG = 50_000
THREADS = 2


def make_photos(folder, count):
    """Write ``count`` JPEGs to ``folder``/val/<synset>: random phases, amplitudes that fall with frequency."""
    import numpy as np
    from PIL import Image

    from hubpkg.runtime.datasets.imagenet import classes

    generator = np.random.default_rng(0)
    for synset in list(classes())[:CLASSES]:
        (folder / "val" / synset).mkdir(parents=True)
    places = sorted((folder / "val").iterdir())
    for index in range(count):
        width, height = generator.choice([(500, 375), (375, 500), (500, 333), (480, 400)])
        frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)) + 1 / 500
        noise = generator.standard_normal((3, *frequency.shape)) + 1j * generator.standard_normal((3, *frequency.shape))
        grey = noise[:1] + 0.3 * noise  # channels have most in common
        pixels = np.fft.irfft2(grey / frequency**1.1, (height, width))
        pixels = 120 + 55 * (pixels - pixels.mean()) / pixels.std()
        image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8).transpose(1, 2, 0))
        image.save(places[index % CLASSES] / f"ILSVRC2012_val_{index + 1:08d}.JPEG", quality=90)


def repeat_photos(source, target, count):
    """Hard links in ``target`` to the photos of ``source``, over and over, ``count`` in all."""
    photos = sorted(source.glob("val/*/*"))
    for index in range(count):
        photo = photos[index % len(photos)]
        link = target / photo.parent.relative_to(source) / f"ILSVRC2012_val_{index + 1:08d}.JPEG"
        link.parent.mkdir(parents=True, exist_ok=True)
        os.link(photo, link)


def mindcv_data(folder, batch_size, count=None):
    """MindCV's evaluation pipeline."""
    from mindcv.data import create_dataset, create_loader, create_transforms

    photos = create_dataset("imagenet", root=str(folder), split="val", shuffle=False, num_samples=count)
    transforms = create_transforms(
        "imagenet", image_resize=224, is_training=False, crop_pct=0.875, interpolation="bicubic"
    )
    return create_loader(photos, batch_size, transform=transforms, is_training=False)


def make_checkpoint(file, photos):
    """Random weights, with the head set so that each of the classes that have photos is often the first."""
    import mindcv
    import mindspore
    import numpy as np

    mindspore.set_seed(0)
    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    network = mindcv.create_model(MODEL).set_train(False)
    images, _ = next(mindcv_data(photos, 50).create_tuple_iterator())
    logits = network(images).asnumpy()[:, :CLASSES]
    weight, bias = network.head.weight.asnumpy(), np.full(1000, -5, np.float32)
    bias[:CLASSES] = -logits.mean(0) / logits.std(0)
    weight[:CLASSES] /= logits.std(0)[:, None]
    network.head.weight.set_data(mindspore.Tensor(weight))
    network.head.bias.set_data(mindspore.Tensor(bias))
    mindspore.save_checkpoint(network, str(file))


def run_mindcv(photos, checkpoint, batch_size):
    """What MindCV's network scores under MindSpore's Model.eval, as MindCV's validation has it."""
    import mindcv
    import mindspore
    from mindcv.loss import create_loss

    mindspore.set_context(mode=mindspore.GRAPH_MODE)
    network = mindcv.create_model(MODEL)
    mindspore.load_param_into_net(network, mindspore.load_checkpoint(checkpoint), strict_load=True)
    metrics = {"top1": mindspore.train.Top1CategoricalAccuracy(), "top5": mindspore.train.Top5CategoricalAccuracy()}
    model = mindspore.Model(network.set_train(False), loss_fn=create_loss("CE"), metrics=metrics)
    data = mindcv_data(photos, batch_size)
    count = sum(1 for _ in photos.glob("val/*/*"))
    # Compiles for a whole batch and for the last one.
    model.eval(mindcv_data(photos, batch_size, batch_size + count % batch_size), dataset_sink_mode=False)
    started = time.perf_counter()
    scores = model.eval(data, dataset_sink_mode=False)
    rate = count / (time.perf_counter() - started)
    return {"images_per_second": rate, **{name: 100 * float(score) for name, score in scores.items()}}


def run_timm(photos, batch_size):
    """The rate of timm's network and pipeline under PyTorch."""
    import timm
    import torch

    torch.set_num_threads(THREADS)
    network = timm.create_model(MODEL, num_classes=1000).eval()
    transform = timm.data.create_transform((3, 224, 224), interpolation="bicubic", crop_pct=0.875)
    data = timm.data.create_dataset("", root=str(photos), split="val", transform=transform)
    loader = torch.utils.data.DataLoader(data, batch_size, num_workers=THREADS)
    with torch.inference_mode():
        network(torch.zeros(batch_size, 3, 224, 224))
        started = time.perf_counter()
        for images, _ in loader:
            network(images).topk(5)
        return {"images_per_second": len(data) / (time.perf_counter() - started)}


def run(command, folder):
    """The JSON that ``command`` prints last, and its peak memory in MB, that of its own children included."""
    with tempfile.TemporaryDirectory(dir=folder) as cache:
        output = Path(cache, "output")
        with output.open("wb") as stdout, Path(cache, "log").open("wb") as log:
            environment = {**os.environ, "HUBPKG_CACHE": cache}  # a new one: nothing is left from an earlier run
            process = subprocess.Popen(command, stdout=stdout, stderr=log, env=environment, cwd=cache)
            _, status, usage = os.wait4(process.pid, 0)
        if status:
            sys.exit(f"{' '.join(map(str, command))} failed: {Path(cache, 'log').read_text(errors='replace')[-2000:]}")
        text = output.read_text(encoding="utf-8")
        return {**json.loads(text[text.index("{") :]), "megabytes": usage.ru_maxrss / 1024}


def measure(folder, options):
    """Run all, and print."""
    photos, checkpoint = folder / "imagenet", folder / "random.ckpt"
    make_photos(photos, options.count)
    made = ["--as", "checkpoint", "--photos", photos, "--checkpoint", checkpoint]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    subprocess.run([sys.executable, "-W", "ignore", __file__, *made], check=True, **quiet)

    def hubpkg(engine, *more, data=photos):
        command = ["-m", "hubpkg", "evaluate", MODEL, "--checkpoint", checkpoint, "--dataset", "imagenet2012", "--json"]
        return [sys.executable, "-W", "ignore", *command, "--data-dir", data, "--engine", engine, *more]

    def peer(python, name):
        command = ["--as", name, "--photos", photos, "--checkpoint", checkpoint, "--batch-size", options.batch_size]
        return [python, "-W", "ignore", __file__, *map(str, command)]

    commands = {
        "hubpkg, ONNX Runtime": hubpkg("onnxruntime"),
        "hubpkg, MindSpore": hubpkg("mindspore"),
        "MindCV": peer(sys.executable, "mindcv"),
        "hubpkg, ONNX Runtime, 2 workers": hubpkg("onnxruntime", "--workers", "2"),
        "hubpkg, MindSpore, 2 workers": hubpkg("mindspore", "--workers", "2"),
    }
    if options.timm:
        commands["timm"] = peer(options.timm, "timm")
    else:
        print("left out: timm, as --timm PYTHON was not given")
    results = {name: [] for name in commands}
    for _ in range(options.runs):
        for name, command in commands.items():
            results[name].append(run(command, folder))
    rates = {name: statistics.median(r["images_per_second"] for r in runs) for name, runs in results.items()}
    print(f"{options.count} images, decoding included, median of {options.runs}:")
    for name, rate in rates.items():
        print(f"  {name}: {rate:.1f} images/s, peak memory {max(r['megabytes'] for r in results[name]):.0f} MB")
    onnx, native = rates["hubpkg, ONNX Runtime"], rates["hubpkg, MindSpore"]
    onnx_twice, native_twice = (rates[f"hubpkg, {name}, 2 workers"] for name in ("ONNX Runtime", "MindSpore"))
    print(f"hubpkg with ONNX Runtime to MindCV: {onnx / rates['MindCV']:.2f} (promised: at least 3.5)")
    if "timm" in rates:
        print(f"hubpkg with ONNX Runtime to timm: {onnx / rates['timm']:.2f} (promised: at least 1.0)")
    print(f"hubpkg with MindSpore to MindCV: {native / rates['MindCV']:.2f} (promised: at least 2)")
    print(f"the same with two workers: {native_twice / rates['MindCV']:.2f}")
    print(f"two workers to one, with ONNX Runtime: {onnx_twice / onnx:.3f} (promised: at least 0.95)")
    theirs = results["MindCV"][0]
    for name in ("hubpkg, ONNX Runtime", "hubpkg, MindSpore"):
        ours = results[name][0]["metrics"]
        apart = max(round(abs(ours[metric] - theirs[metric]) * options.count / 100) for metric in ("top1", "top5"))
        close = len(results[name][0]["close"])
        print(
            f"{name}: top-1 {ours['top1']:.2f}, top-5 {ours['top5']:.2f}; MindCV's {theirs['top1']:.2f}, "
            f"{theirs['top5']:.2f}: apart by {apart} images, with {close} that hubpkg lists as close: "
            f"{'as promised' if apart <= close else 'NOT as promised'}"
        )
    if not options.long:
        print(f"left out: peak memory at {LONG:,} images, as --long was not given")
        return
    repeat_photos(photos, folder / "long", LONG)
    few = results["hubpkg, ONNX Runtime"][0]["megabytes"]
    many = run(hubpkg("onnxruntime", data=folder / "long"), folder)["megabytes"]
    print(
        f"peak memory: {few:.0f} MB at {options.count} images, {many:.0f} MB at {LONG:,}, {many / few:.2f} times as "
        "much (promised: within 10 %, under 2,500 MB)"
    )


def main():
    """Measure and print, or be one of the peers."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--timm", metavar="PYTHON", help="the interpreter of an environment with timm")
    parser.add_argument("--count", type=int, default=500, help="photos (default: 500)")
    parser.add_argument("--runs", type=int, default=3, help="of each (default: 3)")
    parser.add_argument("--batch-size", type=int, default=16, help="of the peers (default: 16)")
    parser.add_argument("--long", action="store_true", help=f"evaluate {LONG:,} photos too")
    parser.add_argument("--as", dest="role", choices=["checkpoint", "mindcv", "timm"], help=argparse.SUPPRESS)
    parser.add_argument("--photos", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--checkpoint", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.role == "checkpoint":
        make_checkpoint(options.checkpoint, options.photos)
    elif options.role == "mindcv":
        print(json.dumps(run_mindcv(options.photos, options.checkpoint, options.batch_size)))
    elif options.role == "timm":
        print(json.dumps(run_timm(options.photos, options.batch_size)))
    else:
        with tempfile.TemporaryDirectory() as folder:
            measure(Path(folder), options)


if __name__ == "__main__":
    main()
