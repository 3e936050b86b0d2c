"""A model's own datasets and metrics: the Python file that its ``model.yaml`` names as ``extension``."""

import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubpkg import entrypoint
from hubpkg import recipe as recipes
from hubpkg.errors import HubpkgError
from hubpkg.predictions import Output, Prediction, Record
from hubpkg.runtime.datasets import SOURCES, Images, Source

PERCENT = "%"
_NAME = re.compile(
    r"([^\s|:<>`0-9.][^\s|:<>`]*)?[^\s|:<>`0-9.-]"
)  # in the card's evaluation its number follows at once
_TAKEN = frozenset({"top1", "top5", "top1acc", "top5acc"})
_RESAMPLES = 1000
_LARGEST = 1_000_000  # values of labels and outputs up to which resampling is quick
_CLOSE = 1e-5  # of each other, and so the same figure, computed by other versions of libraries

Array = NDArray[Any]


@dataclass(frozen=True)
class Metric:
    """How good predictions are, as a number.

    Attributes:
        function: of labels and outputs. Of a classification, labels are int64 of shape (N,) and outputs the logits,
            float64 of shape (N, classes); of more than five classes those that are not among a sample's five largest
            are -inf, since the evidence does not hold them. Of a regression both are float64 of shape (N, outputs).
        unit: of the number: ``%``, for which it is 0 to 100; any other, such as ``mm``; or none.
        higher_is_better: whether more of it is better.
    """

    function: Callable[[Array, Array], float]
    unit: str = ""
    higher_is_better: bool = True


@dataclass(frozen=True)
class Extension:
    """What a model's extension defines, by name; ``place`` is where it is, for messages."""

    place: str = ""
    datasets: Mapping[str, Source] = field(default_factory=dict)
    metrics: Mapping[str, Metric] = field(default_factory=dict)

    def measure(self, predictions: Iterable[Record], recipe: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """The value of each metric, with its unit and, where resampling is quick and well-defined, a 95 % interval.

        The interval is the percentile bootstrap's (B. Efron, The Annals of Statistics 1979), of 1,000 resamples drawn
        with a fixed seed.

        Raises:
            HubpkgError: a metric raises, or gives no finite number; or predictions are of other classes or outputs.
        """
        if not self.metrics:
            return {}
        labels, outputs = _arrays(predictions, recipe)
        return {
            name: {
                "value": _rounded(_value(f"{self.place}: {name}", metric, labels, outputs)),
                **_interval(metric, labels, outputs),
                "unit": metric.unit,
                "higher_is_better": metric.higher_is_better,
            }
            for name, metric in self.metrics.items()
        }


NONE = Extension()


def load(folder: Path, sources: Mapping[str, bytes], file: str) -> Extension:
    """The extension in ``file``, one of the entry folder's files ``sources``.

    Raises:
        HubpkgError: there is no such file, running it raises, or it defines something else.
    """
    place = str(folder / file)
    if file not in sources:
        raise HubpkgError(f"{place}: expected the extension that model.yaml names, found no such file")
    try:
        with entrypoint.imported(folder, sources, Path(file).stem) as module:
            datasets, metrics = getattr(module, "DATASETS", {}), getattr(module, "METRICS", {})
    except (Exception, SystemExit) as error:  # the model's code may raise anything
        raise HubpkgError(f"{place}: expected to run it, found {_told(error)}") from error
    for name, found, kind in (("DATASETS", datasets, Source), ("METRICS", metrics, Metric)):
        fits = isinstance(found, Mapping) and all(isinstance(key, str) for key in found)
        if not fits or not all(isinstance(value, kind) for value in found.values()):
            raise HubpkgError(f"{place}: {name}: expected a dict of {kind.__name__} by name, found {found!r:.80}")
    if not datasets and not metrics:
        raise HubpkgError(f"{place}: expected it to define DATASETS or METRICS, found neither")
    if taken := sorted(datasets.keys() & SOURCES.keys()):
        raise HubpkgError(f"{place}: DATASETS: expected names that hubpkg has no datasets of, found {taken[0]}")
    for name, metric in metrics.items():
        if not _NAME.fullmatch(name) or name in _TAKEN or not callable(metric.function):
            raise HubpkgError(
                f"{place}: METRICS: expected functions by names such as F1score, which begin and end with no digit "
                f"or '.', end in no '-', have no space, ':' or '|', and are none of {', '.join(sorted(_TAKEN))}, "
                f"found {name!r}"
            )
        if not isinstance(metric.unit, str) or re.search(r"[|<>`]|[^ -~\u00a0-\U0010ffff]", metric.unit):
            raise HubpkgError(f"{place}: {name}: expected a unit that is text on one line, found {metric.unit!r}")
    return Extension(place, {name: replace(s, read=_reader(place, name, s)) for name, s in datasets.items()}, metrics)


def differences(claimed: Mapping[str, Mapping[str, Any]], found: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """What of the metrics ``claimed`` is not as it was ``found``, each a sentence."""
    faults = [f"{name}: expected no such metric, as the extension has none" for name in claimed.keys() - found.keys()]
    for name, entry in found.items():
        if name not in claimed:
            faults.append(f"{name}: expected this metric, which the extension has, found it missing")
            continue
        faults += [
            f"{name}: {key}: expected {entry.get(key, 'none')}, found {claimed[name].get(key, 'none')}"
            for key in sorted(entry.keys() | claimed[name].keys())
            if not _same(entry.get(key), claimed[name].get(key))
        ]
    return sorted(faults)


def _same(first: Any, second: Any) -> bool:
    if isinstance(first, float) and isinstance(second, (int, float)):
        return math.isclose(first, second, rel_tol=_CLOSE, abs_tol=_CLOSE)
    return bool(first == second)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"


def _reader(place: str, name: str, source: Source) -> Callable[[str, Path | None], Images]:
    """The source's function, whose errors name the extension."""

    def read(split: str, data_dir: Path | None) -> Images:
        if data_dir is None and "--data-dir" in source.argument:
            raise HubpkgError(f"{place}: {name}: expected --data-dir, the folder with its files, found none given")
        try:
            images = source.read(split, data_dir)
        except HubpkgError as error:
            raise HubpkgError(f"{place}: {name}, {split}: {error}") from None
        except (Exception, SystemExit) as error:
            raise HubpkgError(f"{place}: {name}, {split}: expected its samples, found {_told(error)}") from error
        if not isinstance(images, Images):
            raise HubpkgError(
                f"{place}: {name}, {split}: expected what from_rows, from_array or from_files give, found "
                f"{type(images).__name__}"
            )
        return images

    return read


def _arrays(predictions: Iterable[Record], recipe: Mapping[str, Any]) -> tuple[Array, Array]:
    """Labels and outputs, as :class:`Metric` has them."""
    found, width = list(predictions), recipes.outputs(recipe)
    if recipes.is_regression(recipe):
        records = [record for record in found if isinstance(record, Output) and len(record.outputs) == width]
        labels = np.array([record.label for record in records], np.float64)
        outputs = np.array([record.outputs for record in records], np.float64)
        fits = len(records) == len(found)
    else:
        ranked = [record for record in found if isinstance(record, Prediction)]
        labels = np.array([record.label for record in ranked], np.int64)
        fits = len(ranked) == len(found) and all(max(r.label, *r.classes) < width for r in ranked)
        outputs = np.full((len(found), width if fits else 0), -np.inf)
        for row, record in zip(outputs, ranked if fits else (), strict=False):
            row[list(record.classes)] = record.logits
    if not fits:
        raise HubpkgError(f"expected predictions of {width} classes or outputs, as the recipe says, found others")
    labels.setflags(write=False)
    outputs.setflags(write=False)
    return labels, outputs


def _value(where: str, metric: Metric, labels: Array, outputs: Array) -> float:
    try:
        found = metric.function(labels, outputs)
    except (Exception, SystemExit) as error:
        raise HubpkgError(f"{where}: expected a number, found {_told(error)}") from error
    if isinstance(found, bool) or not isinstance(found, (int, float, np.integer, np.floating)):
        raise HubpkgError(f"{where}: expected a number, found {type(found).__name__}")
    if not math.isfinite(found) or (metric.unit == PERCENT and not 0 <= found <= 100):  # noqa: PLR2004 - percent
        wanted = "a number from 0 to 100, as its unit is %" if metric.unit == PERCENT else "a finite number"
        raise HubpkgError(f"{where}: expected {wanted}, found {found}")
    return float(found)


def _interval(metric: Metric, labels: Array, outputs: Array) -> dict[str, float]:
    """The 95 % bootstrap interval; none where there are too many values, or a resample has no value."""
    if labels.size + outputs.size > _LARGEST:
        return {}
    draw, values = np.random.default_rng(0), []
    with suppress(HubpkgError), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for _ in range(_RESAMPLES):
            chosen = draw.integers(len(labels), size=len(labels))
            values.append(_value("", metric, labels[chosen], outputs[chosen]))
        low, high = np.percentile(values, (2.5, 97.5)).tolist()
        return {"low": _rounded(low), "high": _rounded(high)}
    return {}


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")
