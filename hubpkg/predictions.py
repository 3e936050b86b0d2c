"""What a network says of each image, as CSV: the evidence of an evaluation, and its journal while it runs."""

import csv
import io
import math
import shutil
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, pairwise
from pathlib import Path
from typing import BinaryIO

from hubpkg import cache
from hubpkg.errors import HubpkgError

FILE = "evidence/predictions.csv"  # in a package
TOP_K = 5


@dataclass(frozen=True)
class Prediction:
    """One image's label and its most likely classes.

    Attributes:
        image: identity of the image in its dataset.
        label: the true class.
        classes: up to five classes, most likely first.
        logits: the logits of ``classes``.
        next_logit: the largest logit of the other classes, which tells how sure it is that they are not among the
            five; None where there are no others.
    """

    image: str
    label: int
    classes: tuple[int, ...]
    logits: tuple[float, ...]
    next_logit: float | None = None

    @property
    def ranked(self) -> tuple[float, ...]:
        """All logits that are known, falling."""
        return self.logits if self.next_logit is None else (*self.logits, self.next_logit)

    def row(self) -> list[str | int | float]:
        """The cells of its line."""
        return [self.image, self.label, *self.classes, *self.ranked]


def write(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write ``predictions``, all of as many classes: image, label, up to five classes, most likely first, their logits.

    With more classes than five, the sixth largest logit follows.
    """
    each = iter(predictions)
    first = next(each)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_header(len(first.classes), len(first.ranked)))
        writer.writerows(prediction.row() for prediction in chain([first], each))


def _header(classes: int, logits: int) -> list[str]:
    return ["image", "label", *(f"class{i + 1}" for i in range(classes)), *(f"logit{i + 1}" for i in range(logits))]


_HEADERS = {tuple(_header(k, k)): k for k in range(1, TOP_K + 1)} | {tuple(_header(TOP_K, TOP_K + 1)): TOP_K}


def read(path: Path) -> Iterator[Prediction]:
    """Read what :func:`write` wrote, one after the other: few of them are ever in memory.

    Raises:
        HubpkgError: the file is not of that form, or holds an image twice; names the line.
    """
    images: set[str] = set()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            if tuple(header) not in _HEADERS:
                expected = ",".join(_header(TOP_K, TOP_K + 1))
                raise HubpkgError(f"{path}:1: expected the header {expected}, found {','.join(header)}")
            width = _HEADERS[tuple(header)]
            for row in reader:
                prediction = _parse(row, width) if len(row) == len(header) else None
                if prediction is None or prediction.image in images:
                    raise HubpkgError(
                        f"{path}:{reader.line_num}: expected one image's label, {width} different "
                        f"classes and falling logits, found {','.join(row)[:80]!r}"
                    )
                images.add(prediction.image)
                yield prediction
    except (UnicodeDecodeError, csv.Error) as error:
        raise HubpkgError(f"{path}: expected CSV in UTF-8, found: {error}") from None


def _parse(row: Sequence[str], width: int) -> Prediction | None:
    try:
        label, *classes = (int(cell) for cell in row[1 : 2 + width])
        logits = tuple(float(cell) for cell in row[2 + width :])
    except ValueError:
        return None
    falling = all(first >= second for first, second in pairwise(logits))
    if not all(map(math.isfinite, logits)) or not falling or len(set(classes)) != width or min(label, *classes) < 0:
        return None
    return Prediction(row[0], label, tuple(classes), logits[:width], *logits[width:])


class Journal:
    """Predictions of one evaluation as it runs, kept in the cache, so that one that was stopped goes on from there.

    Several processes may write to one journal, each to a file of its own; a line that was cut short is left out.

    Attributes:
        key: what its predictions depend on.
        folder: of the files.
    """

    def __init__(self, key: str) -> None:
        """Open the journal of the evaluation ``key``, a digest of all that its predictions depend on."""
        self.key = key
        self.folder = cache.folder() / "evaluation" / key
        self._file = self.folder / f"{uuid.uuid4().hex}.csv"

    def earlier(self) -> Iterator[Prediction]:
        """What other runs have predicted, as far as it can be read; of an image that several had, each one's."""
        for path in sorted(self.folder.glob("*.csv")):
            if path == self._file:
                continue
            with suppress(OSError, ValueError, KeyError, csv.Error), path.open("rb") as file:
                reader = csv.reader(_whole_lines(file), strict=True)
                header = next(reader, [])
                width = _HEADERS[tuple(header)]
                for row in reader:
                    if len(row) == len(header) and (prediction := _parse(row, width)):
                        yield prediction

    def add(self, predictions: Iterable[Prediction]) -> None:
        """Write ``predictions`` down."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        for prediction in predictions:
            if not text.tell() and not self._file.exists():
                writer.writerow(_header(len(prediction.classes), len(prediction.ranked)))
            writer.writerow(prediction.row())
        with cache.writing():
            self.folder.mkdir(parents=True, exist_ok=True)
            with self._file.open("ab") as file:
                file.write(text.getvalue().encode())

    def remove(self) -> None:
        """Forget it: the evaluation is over and its result kept elsewhere."""
        shutil.rmtree(self.folder, ignore_errors=True)


def _whole_lines(file: BinaryIO) -> Iterator[str]:
    for line in file:
        if line.endswith(b"\n"):
            yield line.decode()
