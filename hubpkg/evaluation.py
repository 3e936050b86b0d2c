"""Predictions -> metrics with intervals, and the comparison of two sets of predictions."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import zip_longest
from typing import Any

from hubpkg.errors import HubpkgError
from hubpkg.predictions import TOP_K, Output, Prediction, Record

# Logits of one network on one image move by about 2e-6 with batch size and thread count; this leaves room for other
# processors' kernels. Classes whose logits lie closer than twice this may change places.
LOGIT_TOLERANCE = 1e-4
ENGINE_TOLERANCE = 1e-3  # likewise between engines
# Likewise between devices. An Ascend computes in half precision where it is told nothing else; on the CPU that moves
# logits that go up to 4.6 by up to 0.0073 (XCiT's, on images of digits).
DEVICE_TOLERANCE = 0.05
_Z_95 = 1.959963984540054  # two-sided 95 % quantile of the normal distribution


@dataclass(frozen=True)
class Metric:
    """A share of the samples in percent, with its 95 % Wilson score interval (E. B. Wilson, JASA 1927)."""

    percent: float
    low: float
    high: float


@dataclass(frozen=True)
class Evaluation:
    """What predictions show.

    Attributes:
        samples: how many images there are.
        top1: the share of them whose first class is the label; None of a regression.
        top5: the share of them with the label among the first five; None of a regression.
        ranked: how many logits are stored of each; none of a regression.
        close: images that another engine may count otherwise, since logits lie within twice the tolerance between
            engines of each other; on every other image all engines, batch sizes and numbers of workers agree.
    """

    samples: int
    top1: Metric | None
    top5: Metric | None
    close: tuple[str, ...]
    ranked: int

    def as_json(self) -> dict[str, Any]:
        """The metrics as the manifest holds them; five classes or fewer make no top-5."""
        shares = {"top1": self.top1, "top5": self.top5 if self.ranked > TOP_K else None}
        found = {key: asdict(share) for key, share in shares.items() if share is not None}
        return {"samples": self.samples, **found, "close": list(self.close)}


def evaluate(predictions: Iterable[Record]) -> Evaluation:
    """Metrics of ``predictions``, which are gone through once.

    Raises:
        HubpkgError: there are none.
    """
    samples = top1 = top5 = ranked = 0
    close = []
    for prediction in predictions:
        samples += 1
        if isinstance(prediction, Output):
            continue
        ranked = len(prediction.ranked)
        top1 += prediction.label == prediction.classes[0]
        top5 += prediction.label in prediction.classes
        if _is_close(prediction, ENGINE_TOLERANCE):
            close.append(prediction.image)
    if not samples:
        raise HubpkgError("expected at least one prediction, found none")
    if not ranked:
        return Evaluation(samples, None, None, (), 0)
    return Evaluation(samples, wilson(top1, samples), wilson(top5, samples), tuple(close), ranked)


def _is_close(prediction: Prediction, tolerance: float) -> bool:
    """Whether moving each logit by the tolerance can change what the image counts for."""
    known = prediction.ranked
    # The label may be any class that is not among those stored, and so have the last logit that is known.
    place = prediction.classes.index(prediction.label) if prediction.label in prediction.classes else len(known) - 1
    rivals = [known[0 if place else 1]] if len(known) > 1 else []  # for the first place
    if prediction.next_logit is not None:  # for one among the five
        rivals.append(prediction.next_logit if place < len(prediction.classes) else prediction.logits[-1])
    return any(abs(known[place] - rival) <= 2 * tolerance for rival in rivals)


def wilson(successes: int, samples: int) -> Metric:
    """The share of ``successes`` among ``samples`` in percent, rounded to 1e-4, with its 95 % Wilson interval."""
    share = successes / samples
    spread = _Z_95**2 / samples
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    low, high = max(0.0, centre - half), min(1.0, centre + half)
    return Metric(*(round(100 * value, 4) for value in (share, low, high)))


def values(measured: Mapping[str, Any]) -> dict[str, float]:
    """The figures of an evaluation, as the manifest holds it, by their metrics; shares in percent."""
    shares = {key: measured[key]["percent"] for key in ("top1", "top5") if key in measured}
    return {**shares, **{name: entry["value"] for name, entry in measured.get("metrics", {}).items()}}


@dataclass(frozen=True)
class Claim:
    """An accuracy that others report, beside the one that was measured.

    Attributes:
        source: who reports it, and where.
        link: leads there; None if there is none.
        metric: ``top1`` or ``top5``.
        percent: what they report.
        measured: what was measured.
    """

    source: str
    link: str | None
    metric: str
    percent: float
    measured: Metric

    @property
    def lies(self) -> str:
        """Where it lies: ``within`` or ``outside`` the measured 95 % interval."""
        return "within" if self.measured.low <= self.percent <= self.measured.high else "outside"


def claims(reported: Iterable[Mapping[str, Any]], measured: Mapping[str, Any]) -> list[Claim]:
    """The figures ``reported`` by others, each beside its like in ``measured``, both as the manifest holds them."""
    return [
        Claim(entry["source"], entry.get("link"), metric, entry[metric], Metric(**measured[metric]))
        for entry in reported
        for metric in ("top1", "top5")
        if metric in entry and metric in measured
    ]


@dataclass(frozen=True)
class Comparison:
    """How a rerun differs from stored predictions.

    Attributes:
        differing: images whose logits, classes or outputs differ by more than the tolerance, each as a sentence.
        reranked: images on which classes changed places, their logits lying within the tolerance.
        largest: the largest difference of a logit; of a regression's output, as a share of it where it is above 1.
        moved: by how many images the counts of right ones differ, of top-1 and top-5 the one that differs more.
        allowed: what that may be, if chance decides how each image counts for which it hangs on the tolerance: three
            standard deviations of their sum.
    """

    differing: tuple[str, ...]
    reranked: tuple[str, ...]
    largest: float
    moved: int
    allowed: int

    @property
    def ok(self) -> bool:
        """Whether the predictions are the same within the tolerance, by image and in total."""
        return not self.differing and self.moved <= self.allowed


def compare(stored: Iterable[Record], rerun: Iterable[Record], tolerance: float) -> Comparison:
    """Compare predictions by image: equal classes, and other ranks only where logits lie within the tolerance.

    If no logit moves by more than ``tolerance``, then neither does the n-th largest, nor the logarithm of the sum of
    their exponentials, and classes that change places lie within twice the tolerance of each other; all are checked on
    what is stored. Both are gone through once, side
    by side: what is kept of them is what is not in the same order.
    """
    differing: list[str] = []
    reranked: list[str] = []
    largest = 0.0
    close = 0
    right = Counter[str]()
    unmatched: tuple[dict[str, Record], dict[str, Record]] = {}, {}
    for pair in zip_longest(stored, rerun):
        for predictions, prediction, sign in zip(unmatched, pair, (1, -1), strict=True):
            if prediction is not None:
                predictions[prediction.image] = prediction
                if isinstance(prediction, Prediction):
                    right["top1"] += sign * (prediction.label == prediction.classes[0])
                    right["top5"] += sign * (prediction.label in prediction.classes)
        close += isinstance(pair[0], Prediction) and _is_close(pair[0], tolerance)
        for image in dict.fromkeys(prediction.image for prediction in pair if prediction is not None):
            if all(image in predictions for predictions in unmatched):
                old, new = (predictions.pop(image) for predictions in unmatched)
                move, found = _difference(old, new, tolerance)
                largest = max(largest, move)
                if found:
                    differing.append(f"{image}: {found}")
                elif isinstance(old, Prediction) and isinstance(new, Prediction) and old.classes != new.classes:
                    reranked.append(f"{image}: {old.classes} became {new.classes}")
    differing += [f"{image}: not in the dataset any more" for image in unmatched[0]]
    differing += [f"{image}: not among the stored predictions" for image in unmatched[1]]
    moved = max(map(abs, right.values()), default=0)
    return Comparison(tuple(differing), tuple(reranked), largest, moved, min(close, math.floor(3 * math.sqrt(close))))


def _largest_move(old: Prediction, new: Prediction) -> float:
    was: Mapping[int, float] = dict(zip(old.classes, old.logits, strict=True))
    now: Mapping[int, float] = dict(zip(new.classes, new.logits, strict=True))
    moves = [abs(a - b) for a, b in zip(old.ranked, new.ranked, strict=False)]
    if old.log_sum is not None and new.log_sum is not None:  # which moves no further than a logit does
        moves.append(abs(old.log_sum - new.log_sum))
    moves += [abs(logit - now[c]) for c, logit in was.items() if c in now]
    # A class that is not among the five has at most the logit of the last one that is.
    moves += [logit - new.logits[-1] for c, logit in was.items() if c not in now]
    moves += [logit - old.logits[-1] for c, logit in now.items() if c not in was]
    return max(moves)


def share_moved(expected: Sequence[float], found: Sequence[float]) -> float:
    """The largest difference of two regressions' outputs, each as a share of its size where that is above 1."""
    return max(abs(a - b) / max(1.0, abs(a), abs(b)) for a, b in zip(expected, found, strict=True))


def _difference(old: Record, new: Record, tolerance: float) -> tuple[float, str | None]:
    """How far the two lie apart, and why they can't be what one network says of one image, if so."""
    if isinstance(old, Prediction) and isinstance(new, Prediction):
        move = _largest_move(old, new)
        return move, _difference_of_classes(old, new, move, tolerance)
    if isinstance(old, Output) and isinstance(new, Output) and len(old.outputs) == len(new.outputs):
        move = share_moved(old.outputs, new.outputs)
        return move, _difference_of_outputs(old, new, move, tolerance)
    return 0.0, f"expected {','.join(old.header)}, found {','.join(new.header)}"


def _difference_of_classes(old: Prediction, new: Prediction, move: float, tolerance: float) -> str | None:
    if old.label != new.label:
        return f"expected label {old.label}, found {new.label}"
    if len(old.ranked) != len(new.ranked):
        return f"expected {len(old.ranked)} logits, found {len(new.ranked)}"
    if move > tolerance:
        return f"expected classes {old.classes}, found {new.classes}; a logit moved by {move:.2g}, over {tolerance:g}"
    return None


def _difference_of_outputs(old: Output, new: Output, move: float, tolerance: float) -> str | None:
    if old.label != new.label:
        return f"expected target {old.label}, found {new.label}"
    if move > tolerance:
        return f"expected outputs {old.outputs}, found {new.outputs}; one moved by {move:.2g}, over {tolerance:g}"
    return None
