"""A dataset of images in memory: what hubpkg reads by the key ``extension`` of model.yaml."""

import numpy as np

from hubpkg.extension import Source, from_array


def bars(split, data_dir):
    """Noisy images with one bright bar, vertical (class 0) or horizontal (class 1)."""
    del data_dir
    count = {"train": 96, "test": 40}[split]
    draw = np.random.default_rng({"train": 0, "test": 1}[split])
    pixels = draw.integers(100, size=(count, 16, 16, 1), dtype=np.uint8)
    labels = draw.integers(2, size=count).tolist()
    for image, horizontal in zip(pixels, labels, strict=True):
        place = draw.integers(14)
        bar = image[place : place + 2] if horizontal else image[:, place : place + 2]
        bar += 150
    names = [f"{split} {index:02d}" for index in range(count)]
    return from_array(pixels, labels, names, f"{count} images, generated with a fixed seed")


DATASETS = {
    "bars": Source(
        title="Bars",
        preparation="The images are generated: there is nothing to download.",
        read=bars,
        channels=1,
        classes=2,
    )
}
