"""Making training batches by the full ImageNet recipe: hubpkg's input pipeline against MindCV's on the same MindSpore.

Random-resized crop, flip, RandAugment, erasing, normalisation and mixup or CutMix, from an ImageNet-layout folder of
synthetic photos (those of evaluation.py). hubpkg also compares each file's digest, as training does. The two take
turns in one process after a warm-up; prints images a second, CPU time an image, and the ratio of the rates. Needs
MindCV.

python benchmarks/input.py [--count N] [--epochs N] [--runs N]
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

from evaluation import make_photos

MODEL = "xcit_tiny_12_p16_224"


def hubpkg_data(folder, recipe):
    """The stream that hubpkg trains on."""
    from hubpkg.runtime import datasets

    images = datasets.load(recipe, "train", folder, skip_damaged=False).images
    return lambda: datasets.stream(images, recipe, start=0).create_tuple_iterator(num_epochs=1)


def mindcv_data(folder, recipe):
    """The loader of MindCV's train.py."""
    from mindcv.data import create_dataset, create_loader, create_transforms

    transforms = create_transforms(
        "imagenet",
        image_resize=recipe["image_size"],
        is_training=True,
        scale=tuple(recipe["crop_scale"]),
        hflip=recipe["hflip"],
        auto_augment=recipe["auto_augment"],
        interpolation=recipe["interpolation"],
        re_prob=recipe["random_erasing"],
    )

    def batches():
        loader = create_loader(
            create_dataset("imagenet", root=str(folder), split="train"),
            recipe["batch_size"],
            drop_remainder=recipe["drop_remainder"],
            is_training=True,
            mixup=recipe["mixup"],
            cutmix=recipe["cutmix"],
            cutmix_prob=1.0,
            num_classes=recipe["num_classes"],
            transform=transforms,
        )
        iterator = loader.create_tuple_iterator(num_epochs=recipe["epochs"])
        for _ in range(recipe["epochs"]):
            yield from iterator

    return batches


def measure(batches):
    """Images a second and milliseconds of CPU time an image, over all batches."""
    started, used = time.perf_counter(), time.process_time()
    count = sum(len(images) for images, _ in batches())
    return count / (time.perf_counter() - started), 1e3 * (time.process_time() - used) / count


def main():
    """Measure, and print."""
    from hubpkg.runtime import machine
    from hubpkg.spec import read_spec

    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=512, help="photos (default: 512)")
    parser.add_argument("--epochs", type=int, default=4, help="a run (default: 4)")
    parser.add_argument("--runs", type=int, default=3, help="of each (default: 3)")
    options = parser.parse_args()
    recipe = {**read_spec(MODEL, "imagenet2012").recipe, "epochs": options.epochs}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HUBPKG_CACHE"] = str(folder / "cache")
        make_photos(folder, options.count)
        (folder / "val").rename(folder / "train")
        data = {"hubpkg": hubpkg_data(folder, recipe), "MindCV": mindcv_data(folder, recipe)}
        for batches in data.values():
            measure(batches)
        before = machine.look()
        runs = [{name: measure(batches) for name, batches in data.items()} for _ in range(options.runs)]
        noise = list(machine.between(before, machine.look()).noise())
    batch = recipe["batch_size"]
    print(f"{options.epochs} epochs of {options.count} photos in batches of {batch}, median of {options.runs}:")
    medians = {name: [statistics.median(run[name][index] for run in runs) for index in (0, 1)] for name in data}
    for name, (rate, used) in medians.items():
        print(f"  {name}: {rate:.0f} images/s, {used:.2f} ms of CPU time an image")
    (rate, used), (their_rate, their_used) = medians["hubpkg"], medians["MindCV"]
    print(f"speed of hubpkg to MindCV: {rate / their_rate:.2f} (promised: at least 1.0)")
    print(f"images of hubpkg to MindCV for the same CPU time: {their_used / used:.2f} (promised: at least 1.0)")
    for disturbance in noise:
        print(f"the rates are noisy, CPU time less so: {disturbance}")


if __name__ == "__main__":
    main()
