"""What a network says of each sample, as CSV: the evidence of an evaluation, and its journal while it runs."""

import csv
import io
import math
import shutil
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
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
        log_sum: the logarithm of the sum of the exponentials of all classes' logits, which tells the softmax of each;
            None where it was not kept, as by the first versions of hubpkg.
    """

    image: str
    label: int
    classes: tuple[int, ...]
    logits: tuple[float, ...]
    next_logit: float | None = None
    log_sum: float | None = None

    @property
    def ranked(self) -> tuple[float, ...]:
        """All logits that are known, falling."""
        return self.logits if self.next_logit is None else (*self.logits, self.next_logit)

    @property
    def header(self) -> list[str]:
        """What the cells of its line are called."""
        return _header(len(self.classes), len(self.ranked), has_sum=self.log_sum is not None)

    def row(self) -> list[str | int | float]:
        """The cells of its line."""
        return [self.image, self.label, *self.classes, *self.ranked, *([] if self.log_sum is None else [self.log_sum])]


@dataclass(frozen=True)
class Output:
    """One sample's target and what a regression gives for it.

    Attributes:
        image: identity of the sample in its dataset.
        label: the target, a number for each output.
        outputs: the network's.
    """

    image: str
    label: tuple[float, ...]
    outputs: tuple[float, ...]

    @property
    def header(self) -> list[str]:
        """What the cells of its line are called."""
        return _output_header(len(self.outputs))

    def row(self) -> list[str | int | float]:
        """The cells of its line."""
        return [self.image, *self.label, *self.outputs]


Record = Prediction | Output


def write(path: Path, predictions: Iterable[Record]) -> None:
    """Write ``predictions``, all of one kind: image, label, up to five classes, most likely first, their logits.

    With more classes than five, the sixth largest logit follows; in the end comes the logarithm of the sum of all
    logits' exponentials. Of a regression: sample, targets, outputs.
    """
    each = iter(predictions)
    first = next(each)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(first.header)
        writer.writerows(prediction.row() for prediction in chain([first], each))


def _header(classes: int, logits: int, *, has_sum: bool) -> list[str]:
    ranked = [*(f"class{i + 1}" for i in range(classes)), *(f"logit{i + 1}" for i in range(logits))]
    return ["image", "label", *ranked, *(["logsumexp"] if has_sum else [])]


_ROUNDING = 1e-4  # of a logarithm of a sum, relative above 1
_HEADERS = {
    tuple(_header(classes, logits, has_sum=has_sum)): (classes, has_sum)
    for classes, logits in [*((k, k) for k in range(1, TOP_K + 1)), (TOP_K, TOP_K + 1)]
    for has_sum in (True, False)
}


def _output_header(width: int) -> list[str]:
    return ["sample", *(f"{what}{i + 1}" for what in ("target", "output") for i in range(width))]


def _parser(header: Sequence[str]) -> tuple[Callable[[Sequence[str]], Record | None], str] | None:
    """The function that reads a line under ``header``, and what it expects there; None if there is no such header."""
    if known := _HEADERS.get(tuple(header)):
        width, has_sum = known
        more = ", and the logarithm of the sum of all logits' exponentials" if has_sum else ""
        expected = f"one image's label, {width} different classes and falling logits{more}"
        return lambda row: _parse(row, width, has_sum=has_sum) if len(row) == len(header) else None, expected
    outputs = len(header) // 2
    if outputs and list(header) == _output_header(outputs):
        expected = f"one sample's {outputs} targets and {outputs} outputs, finite numbers"
        return lambda row: _parse_output(row, outputs) if len(row) == len(header) else None, expected
    return None


def read(path: Path) -> Iterator[Record]:
    """Read what :func:`write` wrote, one after the other: few of them are ever in memory.

    Raises:
        HubpkgError: the file is not of that form, or holds an image twice; names the line.
    """
    images: set[str] = set()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            found = _parser(header)
            if found is None:
                expected = ",".join(_header(TOP_K, TOP_K + 1, has_sum=True))
                raise HubpkgError(
                    f"{path}:1: expected the header {expected}, or of a regression {','.join(_output_header(1))}, "
                    f"found {','.join(header)}"
                )
            parse, expected = found
            for row in reader:
                prediction = parse(row)
                if prediction is None or prediction.image in images:
                    raise HubpkgError(f"{path}:{reader.line_num}: expected {expected}, found {','.join(row)[:80]!r}")
                images.add(prediction.image)
                yield prediction
    except (UnicodeDecodeError, csv.Error) as error:
        raise HubpkgError(f"{path}: expected CSV in UTF-8, found: {error}") from None


def _parse(row: Sequence[str], width: int, *, has_sum: bool) -> Prediction | None:
    try:
        label, *classes = (int(cell) for cell in row[1 : 2 + width])
        numbers = [float(cell) for cell in row[2 + width :]]
    except ValueError:
        return None
    log_sum = numbers.pop() if has_sum else None
    logits = tuple(numbers)
    if log_sum is not None and not _least_sum(logits) <= log_sum < math.inf:
        return None
    falling = all(first >= second for first, second in pairwise(logits))
    if not all(map(math.isfinite, logits)) or not falling or len(set(classes)) != width or min(label, *classes) < 0:
        return None
    following = logits[width] if len(logits) > width else None
    return Prediction(row[0], label, tuple(classes), logits[:width], following, log_sum)


def _least_sum(logits: Sequence[float]) -> float:
    """The least that the logarithm of the sum of all logits' exponentials can be, as rounded, with these among them."""
    known = logits[0] + math.log(math.fsum(math.exp(min(0.0, logit - logits[0])) for logit in logits))
    return known - _ROUNDING * max(1.0, abs(known))


def _parse_output(row: Sequence[str], width: int) -> Output | None:
    try:
        numbers = tuple(float(cell) for cell in row[1:])
    except ValueError:
        return None
    return Output(row[0], numbers[:width], numbers[width:]) if all(map(math.isfinite, numbers)) else None


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

    def earlier(self) -> Iterator[Record]:
        """What other runs have predicted, as far as it can be read; of an image that several had, each one's."""
        for path in sorted(self.folder.glob("*.csv")):
            if path == self._file:
                continue
            with suppress(OSError, ValueError, csv.Error), path.open("rb") as file:
                reader = csv.reader(_whole_lines(file), strict=True)
                if found := _parser(next(reader, [])):
                    parse, _ = found
                    yield from (prediction for row in reader if (prediction := parse(row)))

    def add(self, predictions: Iterable[Record]) -> None:
        """Write ``predictions`` down."""
        text = io.StringIO(newline="")
        writer = csv.writer(text, lineterminator="\n")
        for prediction in predictions:
            if not text.tell() and not self._file.exists():
                writer.writerow(prediction.header)
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
