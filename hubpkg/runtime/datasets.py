"""The datasets that models are trained and evaluated on, as sources of images and as MindSpore pipelines.

A source says where its images are and what its card says of it; decoding, resizing and batching are
``mindspore.dataset``'s.
"""

import hashlib
import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubpkg.errors import HubpkgError

TEST_SHARE_SEED = 0  # of the split of digits; another one would be another dataset


@dataclass(frozen=True)
class Images:
    """The images of one split, in a fixed order.

    Attributes:
        names: identity of each image.
        labels: class of each image, from 0.
        read: the image at an index: uint8 of shape (height, width, channels), or, if ``encoded``, a file's bytes.
        encoded: whether ``read`` gives a file's bytes, such as a JPEG's.
    """

    names: Sequence[str]
    labels: Sequence[int]
    read: Callable[[int], NDArray[np.uint8]]
    encoded: bool

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[NDArray[np.uint8], np.int32]:
        return self.read(int(index)), np.int32(self.labels[int(index)])


@dataclass(frozen=True)
class Source:
    """A dataset that hubpkg can read.

    Attributes:
        channels: of its images.
        classes: how many there are.
        title: what the card calls it.
        evaluated: what the card calls the images that a model is evaluated on.
        preparation: how to get it, for the card.
        argument: what the commands in the card need after ``--dataset``.
        fingerprint: digest of the data; reads it, but imports no framework.
        images: the split ``train`` or ``test``.
    """

    channels: int
    classes: int
    title: str
    evaluated: str
    preparation: str
    argument: str
    fingerprint: Callable[[Path | None], str]
    images: Callable[[str, Path | None], Images]

    def card_text(self) -> dict[str, str]:
        """What the card says of the dataset."""
        return {key: getattr(self, key) for key in ("title", "evaluated", "preparation", "argument")}


def find(name: str) -> Source:
    """The source called ``name``.

    Raises:
        HubpkgError: hubpkg can't read such a dataset.
    """
    if name not in SOURCES:
        raise HubpkgError(f"expected one of the datasets that hubpkg reads ({', '.join(SOURCES)}), found {name!r}")
    return SOURCES[name]


def check_recipe(recipe: Mapping[str, Any]) -> None:
    """Refuse a recipe whose network would not fit the images and classes of its dataset.

    Raises:
        HubpkgError: naming the keys.
    """
    source = find(recipe["dataset"])
    wanted = {"in_channels": source.channels, "num_classes": source.classes}
    faults = [f"{key}: expected {value}, found {recipe[key]}" for key, value in wanted.items() if recipe[key] != value]
    if faults:
        raise HubpkgError(f"the recipe does not fit the dataset {recipe['dataset']}: {'; '.join(faults)}")


def pipeline(images: Images, recipe: Mapping[str, Any], batch_size: int, *, training: bool) -> Any:
    """A MindSpore dataset of batches of normalised images and labels.

    Args:
        images: the split.
        recipe: the recipe, for size, normalisation and augmentation.
        batch_size: images in a batch.
        training: whether to shuffle and augment, anew in each pass and by MindSpore's dataset seed, and to drop an
            incomplete last batch if the recipe says so; else every image comes once, in the order of ``images``.

    Returns:
        A dataset with the columns ``image``, float32 of (batch, channels, size, size), and ``label``, int32.
    """
    from mindspore import dataset
    from mindspore.dataset import vision

    size = recipe["image_size"]
    mean, std = ([255.0 * value for value in recipe[key]] for key in ("mean", "std"))
    operations = [
        *([vision.Decode()] if images.encoded else []),
        vision.Resize(round(size / recipe["crop_pct"]), vision.Inter[recipe["interpolation"].upper()]),
        vision.CenterCrop(size),
        *([_random_affine(**recipe["random_affine"])] if training and "random_affine" in recipe else []),
        vision.Normalize(mean, std),
        vision.HWC2CHW(),
    ]
    data = dataset.GeneratorDataset(images, ["image", "label"], shuffle=training, python_multiprocessing=False)
    data = data.map(operations, input_columns="image")
    return data.batch(batch_size, drop_remainder=training and recipe["drop_remainder"])


def _random_affine(degrees: float, translate: float, scale: float) -> Any:
    from mindspore.dataset import vision

    shift = (-translate, translate) * 2
    bilinear = vision.Inter.BILINEAR
    return vision.RandomAffine(degrees, shift, (1 - scale, 1 + scale), resample=bilinear)


@cache
def _digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return np.round(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1), labels


def _digits_images(split: str, _: Path | None) -> Images:
    from sklearn.model_selection import train_test_split

    pixels, labels = _digits()
    train, test = train_test_split(np.arange(len(labels)), test_size=0.2, random_state=TEST_SHARE_SEED, stratify=labels)
    chosen = np.sort({"train": train, "test": test}[split])
    return Images(
        names=[f"{index:04d}" for index in chosen],
        labels=[int(label) for label in labels[chosen]],
        read=lambda index: pixels[chosen[index]],
        encoded=False,
    )


def _digits_fingerprint(_: Path | None) -> str:
    package = importlib.util.find_spec("sklearn")
    if package is None or package.origin is None:
        raise HubpkgError(
            "digits: expected scikit-learn, which holds the images, found none; "
            "install it with: pip install 'hubpkg[runtime]'"
        )
    data = Path(package.origin).parent / "datasets" / "data" / "digits.csv.gz"
    return hashlib.sha256(data.read_bytes() + b"split" + bytes([TEST_SHARE_SEED])).hexdigest()


_IMAGENET_CLASSES = 1000
_IMAGENET_LAYOUT = "a folder with val/<synset>/*.JPEG for the 1,000 synsets"


def _imagenet_files(data_dir: Path | None, split: str) -> list[Path]:
    if data_dir is None:
        raise HubpkgError(f"imagenet2012: expected --data-dir, {_IMAGENET_LAYOUT}, found none given")
    folder = data_dir / {"train": "train", "test": "val"}[split]
    if not folder.is_dir():
        raise HubpkgError(f"imagenet2012: expected --data-dir to be {_IMAGENET_LAYOUT}, found no folder {folder}")
    synsets = sorted(path for path in folder.iterdir() if path.is_dir())
    # The label of an image is its synset's place among all, so no synset may be missing.
    if len(synsets) != _IMAGENET_CLASSES:
        raise HubpkgError(f"imagenet2012: expected 1,000 synset folders in {folder}, found {len(synsets)}")
    return [file for synset in synsets for file in sorted(synset.glob("*.JPEG"))]


def _imagenet_images(split: str, data_dir: Path | None) -> Images:
    files = _imagenet_files(data_dir, split)
    synsets = sorted({file.parent.name for file in files})
    classes = {synset: index for index, synset in enumerate(synsets)}
    if len(classes) != _IMAGENET_CLASSES:
        raise HubpkgError(
            f"imagenet2012: expected images in each of the 1,000 synset folders of {data_dir}, "
            f"found some in {len(classes)}"
        )
    return Images(
        names=[f"{file.parent.name}/{file.name}" for file in files],
        labels=[classes[file.parent.name] for file in files],
        read=lambda index: np.fromfile(files[index], np.uint8),
        encoded=True,
    )


def _imagenet_fingerprint(data_dir: Path | None) -> str:
    total = hashlib.sha256()
    for file in _imagenet_files(data_dir, "test"):
        with file.open("rb") as stream:
            content = hashlib.file_digest(stream, "sha256").hexdigest()
        total.update(f"{file.parent.name}/{file.name} {content}\n".encode())
    return total.hexdigest()


SOURCES = {
    "digits": Source(
        channels=1,
        classes=10,
        title="Digits",
        evaluated="the test split, a fifth of the 1,797 images, stratified by class and fixed by a seed",
        preparation=(
            "Digits is the test part of the Optical Recognition of Handwritten Digits data (E. Alpaydin, C. Kaynak):\n"
            "1,797 grey images of 8x8 pixels in ten classes. scikit-learn holds it: there is nothing to download."
        ),
        argument="",
        fingerprint=_digits_fingerprint,
        images=_digits_images,
    ),
    "imagenet2012": Source(
        channels=3,
        classes=_IMAGENET_CLASSES,
        title="ImageNet-1K",
        evaluated="the validation set",
        preparation=(
            "Get the [ImageNet-1K](https://www.image-net.org/challenges/LSVRC/2012/index.php) images, and lay them\n"
            "out as `train/<synset>/*.JPEG` and `val/<synset>/*.JPEG`."
        ),
        argument=" --data-dir /path/to/imagenet",
        fingerprint=_imagenet_fingerprint,
        images=_imagenet_images,
    ),
}
