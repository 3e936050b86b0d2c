"""The datasets that models are trained and evaluated on, as sources of samples and as MindSpore pipelines.

A source says where its images are, or other samples, and what its card says of it; decoding and resizing are
``mindspore.dataset``'s.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from hubpkg import recipe as recipes
from hubpkg.errors import HubpkgError
from hubpkg.runtime.datasets import cifar10, digits, imagefolder, imagenet, mnist, survey
from hubpkg.runtime.datasets.batching import batches, explained, pipeline
from hubpkg.runtime.datasets.images import Images, Label, Located, from_array, from_files, from_rows
from hubpkg.runtime.datasets.streaming import steps_per_epoch, stream

__all__ = [
    "SOURCES",
    "Images",
    "Located",
    "Source",
    "Split",
    "batches",
    "check_recipe",
    "explained",
    "find",
    "from_array",
    "from_files",
    "from_rows",
    "load",
    "pipeline",
    "steps_per_epoch",
    "stream",
]


@dataclass(frozen=True, kw_only=True)
class Source:
    """A dataset that hubpkg can read.

    Attributes:
        title: what the card calls it.
        preparation: how to get it, for the card.
        read: the split ``train`` or ``test``, of the files in the folder that ``--data-dir`` names, if there is one;
            with no image read yet where each is a file or a part of one.
        argument: what the commands in the card need after ``--dataset``.
        channels: of its images; None if its samples are no images.
        classes: how many there are; None where the data decide it, or the recipe.
    """

    title: str
    preparation: str
    read: Callable[[str, Path | None], Images]
    argument: str = ""
    channels: int | None = None
    classes: int | None = None

    def card_text(self, evaluated: str) -> dict[str, str]:
        """What the card says of the dataset, and of the images ``evaluated``."""
        return {**{key: getattr(self, key) for key in ("title", "preparation", "argument")}, "evaluated": evaluated}


@dataclass(frozen=True)
class Split:
    """A split that was read once, and found whole but for the images that were left out.

    Attributes:
        images: those that can be read.
        sha256: digest of names, labels, sizes and contents of all that were found, the damaged ones too.
        damaged: names of those that are damaged or missing, and were left out.
    """

    images: Images
    sha256: str
    damaged: tuple[str, ...]

    def as_json(self) -> dict[str, Any]:
        """What the manifest says of it."""
        found = len(self.images) + len(self.damaged)
        return {"sha256": self.sha256, "images": found, "damaged": list(self.damaged)}


def find(name: str, own: Mapping[str, Source] | None = None) -> Source:
    """The source called ``name``, among hubpkg's and those that are a model's ``own``.

    Raises:
        HubpkgError: there is no such dataset.
    """
    known = {**SOURCES, **(own or {})}
    if name not in known:
        raise HubpkgError(
            f"expected one of the datasets that hubpkg reads ({', '.join(known)}), found {name!r}; a model's extension "
            "can define others"
        )
    return known[name]


def check_recipe(recipe: Mapping[str, Any], source: Source | None = None) -> None:
    """Refuse a recipe whose network would not fit the images and classes of its dataset.

    Raises:
        HubpkgError: naming the keys.
    """
    source = source or find(recipe["dataset"])
    faults = []
    if source.channels is None and recipes.of_images(recipe):
        faults.append("input_shape: expected this key, as the samples are no images, found those of images")
    wanted = {"in_channels": source.channels, "num_classes": source.classes}
    for key, value in wanted.items():
        if value is not None and recipe.get(key) != value:
            faults.append(f"{key}: expected {value}, found {recipe.get(key, 'no such key')}")
    if faults:
        raise HubpkgError(f"the recipe does not fit the dataset {recipe['dataset']}: {'; '.join(faults)}")


def load(
    recipe: Mapping[str, Any], split: str, data_dir: Path | None, *, skip_damaged: bool, source: Source | None = None
) -> Split:
    """The samples of a split, each of them read once, now or when they were last other ones.

    Args:
        recipe: the recipe, for the dataset's name and number of classes.
        split: ``train`` or ``test``.
        data_dir: where the dataset's files are, for a dataset that has files.
        skip_damaged: whether to leave out images that are damaged or missing, and go on.
        source: the dataset; None for hubpkg's of that name.

    Raises:
        HubpkgError: there are no such data, they do not fit the recipe, or an image is damaged.
    """
    images = (source or find(recipe["dataset"])).read(split, data_dir)
    if not recipes.is_regression(recipe) and images.classes not in {None, recipe["num_classes"]}:
        raise HubpkgError(
            f"the recipe does not fit the data in {data_dir}: num_classes: expected {images.classes}, as many as there "
            f"are folders of classes, found {recipe['num_classes']}"
        )
    images = _fitting(images, recipe, split)
    found = survey.take(images)
    if found.damaged and not skip_damaged:
        index, reason = next(iter(found.damaged.items()))
        raise HubpkgError(
            f"{images.place(index)}: expected an image that can be read, found: {reason}; {len(found.damaged)} of "
            f"{len(images)} images are damaged or missing: get them again, or leave them out with --skip-damaged"
        )
    good = [index for index in range(len(images)) if index not in found.damaged]
    if not good:
        raise HubpkgError(f"{images.place(0)}: expected at least one image that can be read, found none")
    damaged = tuple(images.names[index] for index in found.damaged)
    contents = [found.contents[index] for index in good] if images.encoded else None
    return Split(images.chosen(good, contents), found.sha256, damaged)


def _fitting(images: Images, recipe: Mapping[str, Any], split: str) -> Images:
    """The samples, once they are known to be what the recipe says.

    Raises:
        HubpkgError: there are none, their inputs are of another shape or type, or a label can't be one.
    """
    where = f"{recipe['dataset']}, {split}"
    if not len(images):
        raise HubpkgError(f"{where}: expected at least one sample, found none")
    if not recipes.of_images(recipe):
        _check_rows(images, recipe, where)
    elif not images.encoded:
        found = images.read(0)
        if found.dtype != np.uint8 or found.shape[2:] != (recipe["in_channels"],):
            raise HubpkgError(
                f"{where}: expected images of uint8 and shape (height, width, {recipe['in_channels']}), found "
                f"{found.dtype} of shape {found.shape}"
            )
    if recipes.is_regression(recipe):
        targets = [(float(label),) if isinstance(label, (int, float)) else label for label in images.labels]
        images = replace(images, labels=targets)
    elif images.classes is None:
        images = replace(images, classes=recipe["num_classes"])
    for index, label in enumerate(images.labels):
        if not _is_label(label, recipe):
            wanted = (
                f"a target of {recipe['num_outputs']} finite numbers, as num_outputs says"
                if recipes.is_regression(recipe)
                else f"a label from 0 to {recipe['num_classes'] - 1}, as num_classes says"
            )
            raise HubpkgError(f"{where}: {images.place(index)}: expected {wanted}, found {label}")
    return images


def _check_rows(images: Images, recipe: Mapping[str, Any], where: str) -> None:
    shape, dtype = recipes.input_shape(recipe), recipes.input_dtype(recipe)
    found = None if images.encoded else images.read(0)
    if found is None or (found.shape, str(found.dtype)) != (shape, dtype):
        shown = "images" if found is None else f"{found.dtype} of shape {found.shape}"
        raise HubpkgError(f"{where}: expected inputs of {dtype} and shape {shape}, as the recipe says, found {shown}")
    wrong = next((index for index in range(len(images)) if not _is_input(images.read(index), recipe)), None)
    if wrong is not None:
        wanted = f"numbers from 0 to {recipe['vocab_size'] - 1}" if "vocab_size" in recipe else "finite numbers"
        raise HubpkgError(f"{where}: {images.place(wrong)}: expected {wanted}, found others")


def _is_input(row: Any, recipe: Mapping[str, Any]) -> bool:
    if "vocab_size" in recipe:
        return bool(row.min() >= 0 and row.max() < recipe["vocab_size"])
    return bool(np.isfinite(row).all())


def _is_label(label: Label, recipe: Mapping[str, Any]) -> bool:
    if isinstance(label, tuple):
        fits = recipes.is_regression(recipe) and len(label) == recipe["num_outputs"]
        return fits and bool(np.isfinite(label).all())
    return not recipes.is_regression(recipe) and 0 <= label < recipe["num_classes"]


SOURCES = {
    "digits": Source(
        channels=1,
        classes=10,
        title="Digits",
        preparation=(
            "Digits is the test part of the Optical Recognition of Handwritten Digits data (E. Alpaydin, C. Kaynak):\n"
            "1,797 grey images of 8x8 pixels in ten classes. scikit-learn holds it: there is nothing to download."
        ),
        argument="",
        read=digits.images,
    ),
    "imagenet2012": Source(
        channels=3,
        classes=1000,
        title="ImageNet-1K",
        preparation=(
            "Get the [ImageNet-1K](https://www.image-net.org/challenges/LSVRC/2012/index.php) images. The\n"
            "validation images may lie in folders, `val/<synset>/*.JPEG`; or as they come, in `val/` or in\n"
            "`ILSVRC2012_img_val.tar`, with the devkit unpacked beside them in `ILSVRC2012_devkit_t12/`; or in tars\n"
            "with `val` in their names, of `<synset>/*.JPEG` or of `*.jpg` and `*.cls`. Training images lie in\n"
            "`train/<synset>/*.JPEG`."
        ),
        argument=" --data-dir /path/to/imagenet",
        read=imagenet.images,
    ),
    "cifar10": Source(
        channels=3,
        classes=10,
        title="CIFAR-10",
        preparation=(
            "Get the binary version of [CIFAR-10](https://www.cs.toronto.edu/~kriz/cifar.html), and unpack it."
        ),
        argument=" --data-dir /path/to/cifar-10-batches-bin",
        read=cifar10.images,
    ),
    "mnist": Source(
        channels=1,
        classes=10,
        title="MNIST",
        preparation=(
            "Get the four files of [MNIST](https://yann.lecun.org/exdb/mnist/index.html), and leave them as they come."
        ),
        argument=" --data-dir /path/to/mnist",
        read=mnist.mnist,
    ),
    "fashion-mnist": Source(
        channels=1,
        classes=10,
        title="Fashion-MNIST",
        preparation=(
            "Get the four files of [Fashion-MNIST](https://github.com/zalandoresearch/fashion-mnist), and name their\n"
            "folder with `--data-dir`; or install Debian's package `dataset-fashion-mnist`, which is found by itself."
        ),
        argument="",
        read=mnist.fashion_mnist,
    ),
    "imagefolder": Source(
        channels=3,
        classes=None,
        title="Image folder",
        preparation=(
            "Lay the images out as `train/<class>/*.jpg` and `val/<class>/*.jpg`, or as `<class>/*.jpg` to evaluate\n"
            "only. The names of the classes' folders, sorted, give their numbers."
        ),
        argument=" --data-dir /path/to/images",
        read=imagefolder.images,
    ),
}
