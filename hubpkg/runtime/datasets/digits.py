"""scikit-learn's digits."""

from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hubpkg.runtime.datasets.images import Images, from_array

TEST_SHARE_SEED = 0  # of the split; another one would be another dataset


@cache
def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return np.round(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1), labels


def images(split: str, _: Path | None) -> Images:
    """Four fifths to train on, and a fifth to evaluate on, stratified by class."""
    from sklearn.model_selection import train_test_split

    pixels, labels = _digits()
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=TEST_SHARE_SEED, stratify=labels)
    chosen = np.sort({"train": train, "test": test}[split])
    part = {
        "train": "the training split, four fifths of the 1,797 images",
        "test": "the test split, a fifth of the 1,797 images",
    }
    return from_array(
        pixels[chosen],
        [int(label) for label in labels[chosen]],
        [f"{index:04d}" for index in chosen],
        f"{part[split]}, stratified by class and fixed by a seed",
        classes=10,
    )
