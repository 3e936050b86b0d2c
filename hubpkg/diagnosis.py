"""Predictions -> what they show beyond the metrics: confusion, accuracy by class, calibration, the worst mistakes."""

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hubpkg.evaluation import Metric, wilson
from hubpkg.predictions import Prediction

BINS = 10  # of confidence
MISTAKES = 24  # that are kept


@dataclass(frozen=True)
class ClassAccuracy:
    """How many images of a class were given their label, as a share with its interval."""

    label: int
    images: int
    right: int
    accuracy: Metric


@dataclass(frozen=True)
class Bin:
    """The images whose confidence lies from ``low`` to ``high``.

    Attributes:
        images: how many there are.
        confidence: the mean of theirs; 0 where there are none.
        accuracy: the share of those that were given their label, in percent; None where there are none.
    """

    low: float
    high: float
    images: int
    confidence: float
    accuracy: Metric | None


@dataclass(frozen=True)
class Calibration:
    """How sure the network is, and how often it is right then. Confidence is the softmax of the first class's logit.

    Attributes:
        bins: of equal width over 0 to 1.
        error: the expected calibration error (C. Guo and others, On Calibration of Modern Neural Networks, 2017): the
            mean distance of a bin's accuracy from its confidence, weighted by images; from 0 to 1.
        confidence: the mean over the images.
    """

    bins: tuple[Bin, ...]
    error: float
    confidence: float


@dataclass(frozen=True)
class Mistake:
    """An image that was given another class than its label.

    Attributes:
        margin: by how much the logit of ``predicted`` is above that of ``label``.
        at_least: the label's logit is not known, and the margin is this or more.
    """

    image: str
    label: int
    predicted: int
    margin: float
    at_least: bool


@dataclass(frozen=True)
class Diagnosis:
    """What predictions show.

    Attributes:
        classes: how many there are.
        images: how many there are.
        confusion: how many images with a label, first, were given a class, second.
        by_class: the accuracy on each class that has images, by label.
        calibration: how sure the network is, and how often it is right then; None where the predictions can't tell.
        mistakes: those with the largest margins, falling.
    """

    classes: int
    images: int
    confusion: Mapping[tuple[int, int], int]
    by_class: tuple[ClassAccuracy, ...]
    calibration: Calibration | None
    mistakes: tuple[Mistake, ...]

    @property
    def wrong(self) -> int:
        """How many images were given another class than their label."""
        return sum(count for (label, predicted), count in self.confusion.items() if label != predicted)

    def confused(self, most: int) -> list[tuple[int, int, int]]:
        """The ``most`` frequent mistakes: label, predicted class and number of images."""
        pairs = [(label, given, count) for (label, given), count in self.confusion.items() if label != given]
        return sorted(pairs, key=lambda pair: (-pair[2], pair[0], pair[1]))[:most]


def diagnose(predictions: Iterable[Prediction], classes: int) -> Diagnosis:
    """What ``predictions`` of a network with so many ``classes`` show; they are gone through once.

    Raises:
        ValueError: there are none.
    """
    confusion: Counter[tuple[int, int]] = Counter()
    sums = [[0.0, 0, 0] for _ in range(BINS)]  # confidence, images, right ones
    known = True

    def read() -> Iterable[Mistake]:
        nonlocal known
        for prediction in predictions:
            predicted = prediction.classes[0]
            confusion[prediction.label, predicted] += 1
            sure = confidence(prediction, classes)
            if sure is None:
                known = False
            else:
                place = sums[min(int(sure * BINS), BINS - 1)]
                place[0] += sure
                place[1] += 1
                place[2] += prediction.label == predicted
            if prediction.label != predicted:
                yield _mistake(prediction)

    mistakes = heapq.nsmallest(MISTAKES, read(), key=lambda mistake: (-mistake.margin, mistake.image))
    images = sum(confusion.values())
    if not images:
        raise ValueError("expected at least one prediction, found none")
    calibration = _calibration(sums, images) if known else None
    return Diagnosis(classes, images, confusion, _by_class(confusion), calibration, tuple(mistakes))


def confidence(prediction: Prediction, classes: int) -> float | None:
    """The softmax of the first class's logit; None where neither the sum over all classes nor all logits are known."""
    if prediction.log_sum is not None:
        return math.exp(prediction.logits[0] - prediction.log_sum)
    if len(prediction.ranked) < classes:
        return None
    return 1 / math.fsum(math.exp(logit - prediction.logits[0]) for logit in prediction.ranked)


def _mistake(prediction: Prediction) -> Mistake:
    known = prediction.label in prediction.classes
    place = prediction.classes.index(prediction.label) if known else len(prediction.ranked) - 1
    margin = prediction.logits[0] - prediction.ranked[place]
    return Mistake(prediction.image, prediction.label, prediction.classes[0], margin, not known)


def _by_class(confusion: Mapping[tuple[int, int], int]) -> tuple[ClassAccuracy, ...]:
    images = Counter[int]()
    for (label, _), count in confusion.items():
        images[label] += count
    right = {label: confusion.get((label, label), 0) for label in images}
    return tuple(
        ClassAccuracy(label, images[label], right[label], wilson(right[label], images[label]))
        for label in sorted(images)
    )


def _calibration(sums: Sequence[Sequence[float]], images: int) -> Calibration:
    bins = tuple(
        Bin(
            index / BINS,
            (index + 1) / BINS,
            int(count),
            total / count if count else 0.0,
            wilson(int(right), int(count)) if count else None,
        )
        for index, (total, count, right) in enumerate(sums)
    )
    error = math.fsum(abs(right - total) for total, _, right in sums) / images
    return Calibration(bins, error, math.fsum(total for total, _, _ in sums) / images)
