"""Run an engine over a dataset: samples -> predictions."""

import base64
import json
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubpkg import manifest
from hubpkg import recipe as recipes
from hubpkg.errors import HubpkgError, LogitsError
from hubpkg.predictions import TOP_K, Journal, Output, Prediction, Record
from hubpkg.progress import track
from hubpkg.runtime import datasets, engines, workers

_NO_CLASS = -1
# A prediction in 48 bytes, where the object takes a kilobyte; places for more classes than there are hold no class.
_ROW = np.dtype([("classes", "<i4", TOP_K), ("logits", "<f4", TOP_K + 1), ("log_sum", "<f4")])


class Predictions(Iterable[Record]):
    """What is known of the samples of a split, in their order.

    Attributes:
        rows: of each image, the classes and logits of its prediction, as an array; or, of a regression, the outputs.
    """

    def __init__(self, images: datasets.Images, outputs: int | None = None) -> None:
        """Know nothing yet of ``images``; ``outputs`` is how many numbers a regression gives, None of classes."""
        self._images = images
        self._outputs = outputs
        blank = np.array((_NO_CLASS, np.nan, np.nan), _ROW)
        if outputs is not None:
            blank = np.array((np.nan,), [("logits", "<f4", (outputs,))])
        self.rows = np.full(len(images), blank)

    @property
    def known(self) -> NDArray[np.bool_]:
        """Whether there is a prediction, of each image."""
        found: NDArray[np.bool_] = ~np.isnan(self.rows["logits"][:, 0])
        return found

    def add(self, indices: Sequence[int], logits: NDArray[np.float32]) -> None:
        """Take ``logits``, of shape (images, classes or outputs), for the images at ``indices``."""
        if self._outputs is not None:
            self.rows["logits"][indices] = logits
            return
        order = np.argsort(-logits, axis=1, kind="stable")[:, : TOP_K + 1]
        self.rows["classes"][indices, : order.shape[1]] = order[:, :TOP_K]
        self.rows["logits"][indices, : order.shape[1]] = np.take_along_axis(logits, order, 1)
        self.rows["log_sum"][indices] = np.logaddexp.reduce(logits, axis=1, dtype=np.float64)

    def add_earlier(self, predictions: Iterable[Record], wanted: Iterable[int]) -> None:
        """Take those of ``predictions`` that are of the images at ``wanted``."""
        index = {self._images.names[i]: i for i in wanted}
        for prediction in predictions:
            if prediction.image not in index:
                continue
            row = self.rows[index[prediction.image]]
            if isinstance(prediction, Output):
                if len(prediction.outputs) == self._outputs:
                    row["logits"] = prediction.outputs
            elif prediction.log_sum is not None and max(prediction.classes) < (self._images.classes or 0):
                row["classes"][: len(prediction.classes)] = prediction.classes
                row["logits"][: len(prediction.ranked)] = prediction.ranked
                row["log_sum"] = prediction.log_sum

    def of(self, indices: Iterable[int]) -> Iterator[Record]:
        """The predictions of the images at ``indices``, which are known."""
        for index in indices:
            name, label, logits = self._images.names[index], self._images.labels[index], self.rows[index]["logits"]
            ranked = [_exact(logit) for logit in logits[~np.isnan(logits)]]
            if isinstance(label, tuple):
                yield Output(name, label, tuple(ranked))
            else:
                classes = self.rows[index]["classes"]
                known = tuple(classes[classes != _NO_CLASS].tolist())
                following = ranked[TOP_K] if len(ranked) > TOP_K else None
                log_sum = _exact(self.rows[index]["log_sum"])
                yield Prediction(name, int(label), known, tuple(ranked[:TOP_K]), following, log_sum)

    def __iter__(self) -> Iterator[Record]:
        """Those of all images; all are known."""
        return self.of(range(len(self.rows)))


@dataclass(frozen=True)
class Run:
    """What a network says of a dataset.

    Attributes:
        predictions: of every image; in a group of processes, only the first one has all.
        images_per_second: those predicted in this run, over the wall time of its loop, decoding included; None if
            all were predicted before.
        resumed: how many were predicted by an earlier run that was stopped.
        engine: what the manifest says of the engine.
        journal: to be removed when the predictions are kept elsewhere.
    """

    predictions: Predictions
    images_per_second: float | None
    resumed: int
    engine: Mapping[str, Any]
    journal: Journal


def journal_of(task: engines.Task, engine: engines.Engine) -> Journal:
    """The journal of the evaluation of ``task`` by ``engine``; the batch size makes no difference."""
    facts = {key: engine.facts[key] for key in ("name", "version")}
    inputs = {"network": task.identity, "data": task.split.sha256, "damaged": task.split.damaged, "engine": facts}
    return Journal(manifest.digest(inputs)[:32])


def predict(task: engines.Task, engine: engines.Engine) -> Run:
    """The predictions of ``engine`` for the images of ``task``, every one once and in their order.

    Those that a run that was stopped has left in the journal are taken from there. In a group of processes each
    predicts its share, and the first one gets them all.

    Raises:
        LogitsError: logits are not finite.
        HubpkgError: an image can't be read, or the processes of the group do not evaluate the same.
    """
    group, images = workers.group(), task.split.images
    recipe = task.recipe
    journal = journal_of(task, engine)
    found = Predictions(images, recipes.outputs(recipe) if recipes.is_regression(recipe) else None)
    share = group.share(len(images))
    found.add_earlier(journal.earlier(), share)
    known = found.known
    missing = [index for index in share if not known[index]]
    started = time.perf_counter()
    if missing:
        size = engine.batch_size
        list(engine.each([engines.blank(recipe, size)]))
        started = time.perf_counter()  # compiled
        batches = engine.each(engines.padded(images.chosen(missing, None), recipe, size))
        for start, batch in zip(count(0, size), track(batches, "evaluate", -(-len(missing) // size)), strict=False):
            indices = missing[start : start + size]
            logits = batch[: len(indices)]
            if not np.isfinite(logits).all():
                raise LogitsError(
                    f"expected finite {_called(recipe)}, found others for one of {images.names[indices[0]]} and the "
                    f"{len(indices) - 1} after it"
                )
            found.add(indices, logits)
            journal.add(found.of(indices))
    seconds = time.perf_counter() - started
    mine = {"key": journal.key, "seconds": seconds, "predicted": len(missing), "resumed": len(share) - len(missing)}
    rows = base64.b64encode(found.rows[share.start :: share.step].tobytes()).decode()
    parts = [json.loads(part) for part in group.collect(json.dumps({**mine, "rows": rows}))]
    if any(part["key"] != journal.key for part in parts):
        raise HubpkgError(
            f"expected all {group.size} processes to evaluate the same checkpoint on the same data by the same engine "
            "and code, found others; give each machine the same, and run it again"
        )
    for rank, part in enumerate(parts):
        found.rows[rank :: group.size] = np.frombuffer(base64.b64decode(part["rows"]), found.rows.dtype)
    parts = parts or [mine]  # of one that is not the first
    predicted, resumed = (sum(part[key] for part in parts) for key in ("predicted", "resumed"))
    rate = predicted / max(part["seconds"] for part in parts) if predicted else None
    return Run(found, rate, resumed, engine.facts, journal)


def _exact(value: np.float32) -> float:
    """The number that the shortest text for this float32 says."""
    return float(str(value))


def _called(recipe: Mapping[str, Any]) -> str:
    return "outputs" if recipes.is_regression(recipe) else "logits"
