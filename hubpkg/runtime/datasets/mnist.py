"""Images and labels in the IDX format: MNIST, and Fashion-MNIST, which has its layout.

Source of the format: https://yann.lecun.org/exdb/mnist/index.html.
"""

import gzip
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from hubpkg.errors import HubpkgError
from hubpkg.runtime.datasets.images import Images, folder_of, from_array, share

LAYOUT = "a folder with {train,t10k}-{images-idx3,labels-idx1}-ubyte, plain or .gz"
DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")  # of the package dataset-fashion-mnist
_SIZE, _CLASSES = 28, 10
_PARTS = {"train": ("train", 60_000, "training"), "test": ("t10k", 10_000, "test")}


def mnist(split: str, data_dir: Path | None) -> Images:
    """MNIST's training or test images."""
    return _images("mnist", split, data_dir)


def fashion_mnist(split: str, data_dir: Path | None) -> Images:
    """Fashion-MNIST's training or test images; without a folder given, those of Debian's package."""
    if data_dir is None and DEBIAN_FASHION_MNIST.is_dir():
        data_dir = DEBIAN_FASHION_MNIST
    return _images("fashion-mnist", split, data_dir)


def _images(dataset: str, split: str, data_dir: Path | None) -> Images:
    folder = folder_of(dataset, data_dir, LAYOUT)
    part, whole, called = _PARTS[split]
    files = [_find(dataset, folder, f"{part}-{kind}") for kind in ("images-idx3-ubyte", "labels-idx1-ubyte")]
    pixels, labels = _read(files[0], (_SIZE, _SIZE)), _read(files[1], ())
    if len(pixels) != len(labels) or not 1 <= len(pixels) <= whole:
        raise HubpkgError(
            f"{files[1]}: expected as many labels as there are images in {files[0].name}, from 1 to {whole:,}, "
            f"found {len(labels):,} labels and {len(pixels):,} images; get both files again"
        )
    if labels.max() >= _CLASSES:
        index = int(np.argmax(labels >= _CLASSES))
        raise HubpkgError(
            f"{files[1]}: expected labels from 0 to 9, found {labels[index]} for image {index}; get the file again"
        )
    names = [f"{part}/{index:05d}" for index in range(len(labels))]
    what = share(len(labels), whole, f"{called} images", f"the {called} set")
    return from_array(pixels[..., None], labels.tolist(), names, what, files, classes=10)


def _find(dataset: str, folder: Path, name: str) -> Path:
    names = (name, f"{name}.gz", name.replace("-idx", ".idx"), f"{name.replace('-idx', '.idx')}.gz")
    for candidate in names:
        if (folder / candidate).is_file():
            return folder / candidate
    raise HubpkgError(f"{dataset}: expected --data-dir to be {LAYOUT}, found no {name} or {name}.gz in {folder}")


def _read(file: Path, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """The items of an IDX file of unsigned bytes, each of ``shape``."""
    try:
        data = gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise HubpkgError(f"{file}: expected a whole gzip file, found: {error}; get the file again") from None
    magic = bytes([0, 0, 8, 1 + len(shape)])  # 8: unsigned bytes; then the number of dimensions
    if data[:4] != magic:
        raise HubpkgError(
            f"{file}: expected an IDX file that begins with {magic.hex()}, found {data[:4].hex() or 'nothing'}; "
            "is it another file, or compressed under a name without .gz?"
        )
    header = 4 + 4 * (1 + len(shape))
    sizes = tuple(int(size) for size in np.frombuffer(data[4:header], ">u4")) if len(data) >= header else ()
    if sizes[1:] != shape or not sizes:
        raise HubpkgError(f"{file}: expected items of shape {shape}, found {sizes[1:]}; is it of another dataset?")
    expected = header + sizes[0] * int(np.prod(shape))
    if len(data) != expected:
        raise HubpkgError(
            f"{file}: expected {expected:,} bytes for {sizes[0]:,} items, found {len(data):,}; get the file again"
        )
    return np.frombuffer(data, np.uint8, offset=header).reshape(sizes)
