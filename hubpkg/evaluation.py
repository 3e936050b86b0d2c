"""Predictions -> metrics with intervals, and the comparison of two sets of predictions."""

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from hubpkg.errors import HubpkgError

PREDICTIONS = "evidence/predictions.csv"  # in a package
TOP_K = 5
# Logits of one network on one image move by about 2e-6 with batch size and thread count; this leaves room for other
# processors' kernels. Classes whose logits lie closer than twice this may change places.
LOGIT_TOLERANCE = 1e-4
_Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


@dataclass(frozen=True)
class Prediction:
    """One image's label and its most likely classes.

    Attributes:
        image: identity of the image in its dataset.
        label: the true class.
        classes: up to five classes, most likely first.
        logits: the logits of ``classes``.
    """

    image: str
    label: int
    classes: tuple[int, ...]
    logits: tuple[float, ...]


@dataclass(frozen=True)
class Metric:
    """A share of the samples in percent, with its 95 % Wilson score interval (E. B. Wilson, JASA 1927)."""

    percent: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """What predictions show: ``samples`` images, and the share with the label first, and among the first five."""

    samples: int
    top1: Metric
    top5: Metric

    def as_json(self) -> dict[str, Any]:
        """The metrics as the manifest holds them."""
        return asdict(self)


def evaluate(predictions: Sequence[Prediction]) -> Evaluation:
    """Metrics of ``predictions``.

    Raises:
        HubpkgError: there are none.
    """
    if not predictions:
        raise HubpkgError("expected at least one prediction, found none")
    samples = len(predictions)
    top1 = sum(prediction.label == prediction.classes[0] for prediction in predictions)
    top5 = sum(prediction.label in prediction.classes for prediction in predictions)
    return Evaluation(samples, wilson(top1, samples), wilson(top5, samples))


def wilson(successes: int, samples: int) -> Metric:
    """The share of ``successes`` among ``samples`` in percent, rounded to 1e-4, with its 95 % Wilson interval."""
    share = successes / samples
    spread = _Z_95**2 / samples
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Metric(*(round(100 * value, 4) for value in (share, low, high)))


def write_predictions(path: Path, predictions: Iterable[Prediction]) -> None:
    """Write ``predictions`` as CSV: image, label, then up to five classes and their logits, most likely first."""
    rows = [[p.image, p.label, *p.classes, *p.logits] for p in predictions]
    width = (len(rows[0]) - 2) // 2 if rows else 0
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_header(width))
        writer.writerows(rows)


def _header(width: int) -> list[str]:
    return ["image", "label", *(f"class{i}" for i in range(1, width + 1)), *(f"logit{i}" for i in range(1, width + 1))]


def read_predictions(path: Path) -> list[Prediction]:
    """Read what :func:`write_predictions` wrote.

    Raises:
        HubpkgError: the file is not of that form, or holds an image twice; names the line.
    """
    predictions: list[Prediction] = []
    images: set[str] = set()
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            header = next(reader, [])
            width = (len(header) - 2) // 2
            if not 1 <= width <= TOP_K or header != _header(width):
                raise HubpkgError(f"{path}:1: expected the header {','.join(_header(TOP_K))}, found {','.join(header)}")
            for row in reader:
                prediction = _parse_row(row, width)
                if prediction is None or prediction.image in images:
                    raise HubpkgError(
                        f"{path}:{reader.line_num}: expected one image's label, {width} different "
                        f"classes and falling logits, found {','.join(row)[:80]!r}"
                    )
                images.add(prediction.image)
                predictions.append(prediction)
    except (UnicodeDecodeError, csv.Error) as error:
        raise HubpkgError(f"{path}: expected CSV in UTF-8, found: {error}") from None
    return predictions


def _parse_row(row: list[str], width: int) -> Prediction | None:
    if len(row) != 2 + 2 * width:
        return None
    try:
        label, *classes = (int(cell) for cell in row[1 : 2 + width])
        logits = tuple(float(cell) for cell in row[2 + width :])
    except ValueError:
        return None
    falling = all(first >= second for first, second in pairwise(logits))
    if not all(map(math.isfinite, logits)) or not falling or len(set(classes)) != width or min(label, *classes) < 0:
        return None
    return Prediction(row[0], label, tuple(classes), logits)


@dataclass(frozen=True)
class Comparison:
    """How a rerun differs from stored predictions.

    Attributes:
        differing: images whose logits or classes differ by more than the tolerance, each as a sentence.
        reranked: images on which classes changed places, their logits lying within the tolerance.
        largest: the largest difference of a logit.
    """

    differing: tuple[str, ...]
    reranked: tuple[str, ...]
    largest: float


def compare(stored: Sequence[Prediction], rerun: Sequence[Prediction], tolerance: float) -> Comparison:
    """Compare predictions by image: equal classes, and other ranks only where logits lie within the tolerance.

    If no logit moves by more than ``tolerance``, then neither does the n-th largest, and classes that change places
    lie within twice the tolerance of each other; both are checked on the stored five.
    """
    differing: list[str] = []
    reranked: list[str] = []
    largest = 0.0
    again = {prediction.image: prediction for prediction in rerun}
    for old in stored:
        new = again.pop(old.image, None)
        if new is None:
            differing.append(f"{old.image}: not in the dataset any more")
            continue
        was: Mapping[int, float] = dict(zip(old.classes, old.logits, strict=True))
        now: Mapping[int, float] = dict(zip(new.classes, new.logits, strict=True))
        moves = [abs(a - b) for a, b in zip(old.logits, new.logits, strict=False)]
        moves += [abs(logit - now[c]) for c, logit in was.items() if c in now]
        # A class that is not among the five has at most the logit of the last one that is.
        moves += [logit - new.logits[-1] for c, logit in was.items() if c not in now]
        moves += [logit - old.logits[-1] for c, logit in now.items() if c not in was]
        move = max(moves)
        largest = max(largest, move)
        if old.label != new.label:
            differing.append(f"{old.image}: expected label {old.label}, found {new.label}")
        elif len(old.classes) != len(new.classes):
            differing.append(f"{old.image}: expected {len(old.classes)} classes, found {len(new.classes)}")
        elif move > tolerance:
            differing.append(
                f"{old.image}: expected classes {old.classes}, found {new.classes}; "
                f"a logit moved by {move:.2g}, over {tolerance:g}"
            )
        elif old.classes != new.classes:
            reranked.append(f"{old.image}: {old.classes} became {new.classes}")
    differing += [f"{image}: not among the stored predictions" for image in again]
    return Comparison(tuple(differing), tuple(reranked), largest)
