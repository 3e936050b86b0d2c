"""The datasets that models are trained and evaluated on, as sources of images and as MindSpore pipelines.

A source says where its images are and what its card says of it; decoding, resizing and batching are
``mindspore.dataset``'s.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubpkg.errors import HubpkgError
from hubpkg.runtime.datasets import cifar10, digits, imagefolder, imagenet, mnist, survey
from hubpkg.runtime.datasets.batching import batches, explained, pipeline
from hubpkg.runtime.datasets.images import Images, from_array
from hubpkg.runtime.datasets.streaming import steps_per_epoch, stream

__all__ = [
    "SOURCES",
    "Images",
    "Source",
    "Split",
    "batches",
    "check_recipe",
    "explained",
    "find",
    "from_array",
    "load",
    "pipeline",
    "steps_per_epoch",
    "stream",
]


@dataclass(frozen=True)
class Source:
    """A dataset that hubpkg can read.

    Attributes:
        channels: of its images.
        classes: how many there are; None where the data decide it.
        title: what the card calls it.
        preparation: how to get it, for the card.
        argument: what the commands in the card need after ``--dataset``.
        images: the split ``train`` or ``test``, with no image read yet where each is a file or a part of one.
    """

    channels: int
    classes: int | None
    title: str
    preparation: str
    argument: str
    images: Callable[[str, Path | None], Images]

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
    wanted = {"in_channels": source.channels, "num_classes": source.classes or recipe["num_classes"]}
    faults = [f"{key}: expected {value}, found {recipe[key]}" for key, value in wanted.items() if recipe[key] != value]
    if faults:
        raise HubpkgError(f"the recipe does not fit the dataset {recipe['dataset']}: {'; '.join(faults)}")


def load(recipe: Mapping[str, Any], split: str, data_dir: Path | None, *, skip_damaged: bool) -> Split:
    """The images of a split, each of them read once, now or when they were last other ones.

    Args:
        recipe: the recipe, for the dataset's name and number of classes.
        split: ``train`` or ``test``.
        data_dir: where the dataset's files are, for a dataset that has files.
        skip_damaged: whether to leave out images that are damaged or missing, and go on.

    Raises:
        HubpkgError: there are no such data, they do not fit the recipe, or an image is damaged.
    """
    images = find(recipe["dataset"]).images(split, data_dir)
    if images.classes != recipe["num_classes"]:
        raise HubpkgError(
            f"the recipe does not fit the data in {data_dir}: num_classes: expected {images.classes}, as many as there "
            f"are folders of classes, found {recipe['num_classes']}"
        )
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
        images=digits.images,
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
        images=imagenet.images,
    ),
    "cifar10": Source(
        channels=3,
        classes=10,
        title="CIFAR-10",
        preparation=(
            "Get the binary version of [CIFAR-10](https://www.cs.toronto.edu/~kriz/cifar.html), and unpack it."
        ),
        argument=" --data-dir /path/to/cifar-10-batches-bin",
        images=cifar10.images,
    ),
    "mnist": Source(
        channels=1,
        classes=10,
        title="MNIST",
        preparation=(
            "Get the four files of [MNIST](https://yann.lecun.org/exdb/mnist/index.html), and leave them as they come."
        ),
        argument=" --data-dir /path/to/mnist",
        images=mnist.mnist,
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
        images=mnist.fashion_mnist,
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
        images=imagefolder.images,
    ),
}
