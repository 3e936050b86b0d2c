"""The samples of a dataset's split, images or rows of an array, and the files that they lie in."""

import hashlib
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path, PurePath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubpkg.errors import HubpkgError

Label = int | tuple[float, ...]
SUFFIXES = frozenset({".jpeg", ".jpg", ".png", ".bmp"})  # of the files that MindSpore and Pillow both decode


@dataclass(frozen=True)
class Images:
    """The images of one split, or its other samples, in a fixed order.

    Attributes:
        names: identity of each image.
        labels: class of each image, from 0; of a regression, the numbers that are its target.
        read: the image at an index: uint8 of shape (height, width, channels), or, if ``encoded``, a file's bytes;
            raises OSError where there are none. Of samples that are no images, float32 or int32 of any shape.
        encoded: whether ``read`` gives a file's bytes, such as a JPEG's.
        classes: how many there are, with images or without; None where the recipe says it.
        what: what the card calls the images.
        place: where the image at an index is, for messages.
        files: the files that hold the contents.
    """

    names: Sequence[str]
    labels: Sequence[Label]
    read: Callable[[int], NDArray[Any]]
    encoded: bool
    classes: int | None
    what: str
    place: Callable[[int], str]
    files: Sequence[str | Path]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> tuple[NDArray[Any], NDArray[Any]]:
        return self.read(int(index)), targets([self.labels[int(index)]])[0]

    def chosen(self, indices: Sequence[int], contents: Sequence[str] | None) -> "Images":
        """Those at ``indices``, in that order; ``read`` refuses one whose SHA-256 is not the one in ``contents``.

        MindSpore's decoder, given a damaged image, can end the process.
        """

        def read(index: int) -> NDArray[Any]:
            try:
                data = self.read(indices[index])
            except OSError as error:
                found = error.strerror or str(error)
            else:
                if contents is None or hashlib.sha256(data.data).hexdigest() == contents[index]:
                    return data
                found = "other bytes"
            raise HubpkgError(
                f"{self.place(indices[index])}: expected the image as it was when the run began, found: {found}; "
                "run it again"
            )

        return replace(
            self,
            names=[self.names[i] for i in indices],
            labels=[self.labels[i] for i in indices],
            read=read,
            place=lambda index: self.place(indices[index]),
        )


@dataclass(frozen=True, slots=True)
class Located:
    """An encoded image: ``size`` bytes from ``offset`` on of the file ``path``, or all of it.

    Attributes:
        name: identity of the image.
        label: its class, from 0.
        path: the file that it is, or that it is a part of; no Path, which is ten times as large.
        member: what the part is called; empty for a whole file.
        offset: where the part begins, in bytes.
        size: of the part, in bytes; None for a whole file.
    """

    name: str
    label: int
    path: str
    member: str = ""
    offset: int = 0
    size: int | None = None

    @property
    def place(self) -> str:
        """Where it is, for messages."""
        return f"{self.path}: {self.member}" if self.member else self.path

    def read(self) -> NDArray[np.uint8]:
        """Its bytes."""
        with Path(self.path).open("rb") as file:
            file.seek(self.offset)
            return np.frombuffer(file.read(-1 if self.size is None else self.size), np.uint8)


def from_files(located: Iterable[Located], classes: int, what: str) -> Images:
    """Images in files, ordered by class and name, so that each layout of the same images gives the same order.

    Raises:
        HubpkgError: two have the same name.
    """
    located = list(located)
    for image in located:
        try:
            image.name.encode()
        except UnicodeEncodeError:
            raise HubpkgError(f"{image.place!r}: expected a name in UTF-8, found other bytes; rename it") from None
    ordered = sorted(located, key=lambda image: (image.label, image.name))
    for first, second in pairwise(ordered):
        if first.name == second.name:
            raise HubpkgError(
                f"{second.place}: expected one image called {second.name}, found another one, {first.place}; "
                "move one of them away"
            )
    return Images(
        names=[image.name for image in ordered],
        labels=[image.label for image in ordered],
        read=lambda index: ordered[index].read(),
        encoded=True,
        classes=classes,
        what=what,
        place=lambda index: ordered[index].place,
        files=list(dict.fromkeys(image.path for image in ordered)),
    )


def from_array(  # noqa: PLR0913, PLR0917 - what an image needs
    pixels: NDArray[np.uint8],
    labels: Sequence[Label],
    names: Sequence[str],
    what: str,
    files: Sequence[Path] = (),
    classes: int | None = None,
) -> Images:
    """Images in memory.

    Args:
        pixels: of shape (images, height, width, channels).
        labels: the class of each image, from 0; or, of a regression, a tuple with its target's numbers.
        names: identity of each.
        what: what the card calls them.
        files: that they were read from: while these do not change, the pixels are not looked at again.
        classes: how many there are; None where the recipe says it.
    """
    return Images(
        names=names,
        labels=labels,
        read=lambda index: pixels[index],
        encoded=False,
        classes=classes,
        what=what,
        place=lambda index: names[index],
        files=files,
    )


def from_rows(inputs: Any, labels: Any, what: str, names: Sequence[str] | None = None) -> Images:
    """Samples that are no images: the rows of an array.

    Args:
        inputs: of shape (samples, ...); floating numbers become float32, whole ones int32.
        labels: whole numbers of shape (samples,), which are classes from 0; or, of a regression, numbers of shape
            (samples,) or (samples, outputs).
        what: what the card calls them, such as "the test split, a fifth of the 442 patients".
        names: identity of each; by default its index.

    Raises:
        HubpkgError: they do not fit each other.
    """
    inputs, targeted = np.asarray(inputs), np.asarray(labels)
    dtype = {"f": np.float32, "i": np.int32, "u": np.int32}.get(inputs.dtype.kind)
    if dtype is None or inputs.ndim < 1:
        raise HubpkgError(f"from_rows: expected inputs that are an array of numbers, found {inputs.dtype}")
    if targeted.dtype.kind not in "fiu" or targeted.ndim not in {1, 2} or len(targeted) != len(inputs):
        raise HubpkgError(
            f"from_rows: expected a label or a row of targets for each of {len(inputs)} inputs, found "
            f"{targeted.dtype} of shape {targeted.shape}"
        )
    rows = inputs.astype(dtype)
    named = [f"{index:0{len(str(len(rows)))}d}" for index in range(len(rows))] if names is None else list(names)
    if len(set(named)) != len(rows):
        raise HubpkgError(f"from_rows: expected {len(rows)} names, each once, found {len(set(named))} different ones")
    classes = targeted.dtype.kind in "iu" and targeted.ndim == 1
    found = targeted.tolist() if classes else list(map(tuple, targeted.astype(float).reshape(len(rows), -1).tolist()))
    return Images(
        names=named,
        labels=found,
        read=lambda index: rows[index],
        encoded=False,
        classes=None,
        what=what,
        place=lambda index: named[index],
        files=(),
    )


def targets(labels: Sequence[Label]) -> NDArray[Any]:
    """What a loss takes: classes as int32 of shape (B,), or a regression's numbers as float32 of shape (B, outputs)."""
    found = np.asarray(labels)
    return found.astype(np.float32 if found.ndim > 1 else np.int32)


def folder_of(dataset: str, data_dir: Path | None, layout: str) -> Path:
    """The folder given as ``--data-dir``.

    Raises:
        HubpkgError: none was given, or there is none; says that ``layout`` was expected.
    """
    if data_dir is None:
        raise HubpkgError(f"{dataset}: expected --data-dir, {layout}, found none given")
    if not data_dir.is_dir():
        found = "a file" if data_dir.exists() else "none"
        raise HubpkgError(f"{dataset}: expected --data-dir to be {layout}, found {found} at {data_dir}")
    return data_dir


def images_in(folder: Path) -> list[str]:
    """The names of the image files in the folder of one class; what is hidden is not looked at.

    Raises:
        HubpkgError: there is something else in it.
    """
    with os.scandir(folder) as entries:
        found = {entry.name: entry.is_dir() for entry in entries if not entry.name.startswith(".")}
    for name in sorted(found):
        if found[name] or PurePath(name).suffix.lower() not in SUFFIXES:
            raise HubpkgError(
                f"{folder / name}: expected nothing but images in the folder of a class "
                f"({', '.join(sorted(SUFFIXES))}), found a {'folder' if found[name] else 'file of another kind'}; "
                "move it away"
            )
    return sorted(found)


def share(found: int, whole: int, called: str, complete: str) -> str:
    """What ``found`` images are called, ``complete`` if they are all of the ``whole``."""
    return complete if found == whole else f"{found:,} of the {whole:,} {called}"
