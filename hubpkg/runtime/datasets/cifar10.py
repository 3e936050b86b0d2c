"""CIFAR-10's binary version.

Source of the format: https://www.cs.toronto.edu/~kriz/cifar.html.
"""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hubpkg.errors import HubpkgError
from hubpkg.runtime.datasets.images import Images, folder_of, from_array, share

LAYOUT = "a folder with the binary version's data_batch_1.bin to data_batch_5.bin and test_batch.bin"
_RECORD = 1 + 3 * 32 * 32  # the label, then the red, green and blue values, each by rows
_PER_FILE, _CLASSES = 10_000, 10
_FILES = {"train": [f"data_batch_{number}" for number in range(1, 6)], "test": ["test_batch"]}


def images(split: str, data_dir: Path | None) -> Images:
    """Its training or test images, from the folder itself or the one that the archive unpacks to."""
    folder = folder_of("cifar10", data_dir, LAYOUT)
    if (folder / "cifar-10-batches-bin").is_dir():
        folder /= "cifar-10-batches-bin"
    files = [folder / f"{name}.bin" for name in _FILES[split]]
    records = [_read(file) for file in files]
    together = np.concatenate(records)
    names = [f"{file.stem}/{i:04d}" for file, part in zip(files, records, strict=True) for i in range(len(part))]
    called = {"train": "training", "test": "test"}[split]
    what = share(len(together), _PER_FILE * len(files), f"{called} images", f"the {called} set")
    pixels = together[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return from_array(np.ascontiguousarray(pixels), together[:, 0].tolist(), names, what, files, classes=10)


def _read(file: Path) -> NDArray[np.uint8]:
    if not file.is_file():
        python = " (there is the Python version; get the binary one)" if file.with_suffix("").is_file() else ""
        raise HubpkgError(f"cifar10: expected --data-dir to be {LAYOUT}, found no {file}{python}")
    data = np.fromfile(file, np.uint8)
    count, rest = divmod(len(data), _RECORD)
    if rest or not 1 <= count <= _PER_FILE:
        raise HubpkgError(
            f"{file}: expected 1 to {_PER_FILE:,} records of {_RECORD:,} bytes, found {len(data):,} bytes; "
            "get the file again"
        )
    records = data.reshape(count, _RECORD)
    if records[:, 0].max() >= _CLASSES:
        index = int(np.argmax(records[:, 0] >= _CLASSES))
        raise HubpkgError(
            f"{file}: expected labels from 0 to 9, found {records[index, 0]} in record {index}; is it CIFAR-100's?"
        )
    return records
