"""Run an engine over a dataset: images -> predictions."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import count
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubpkg import manifest
from hubpkg.errors import HubpkgError, LogitsError
from hubpkg.predictions import TOP_K, Journal, Prediction
from hubpkg.progress import track
from hubpkg.runtime import datasets, engines, workers


@dataclass(frozen=True)
class Run:
    """What a network says of a dataset.

    Attributes:
        predictions: of every image once, in their order.
        images_per_second: those predicted in this run, over the wall time of its loop, decoding included; None if
            all were predicted before.
        resumed: how many were predicted by an earlier run that was stopped.
        engine: what the manifest says of the engine.
        journal: to be removed when the predictions are kept elsewhere.
    """

    predictions: list[Prediction]
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
    predicts its share, and the first one gets them all; the others get none.

    Raises:
        LogitsError: logits are not finite.
        HubpkgError: an image can't be read, or the processes of the group do not evaluate the same.
    """
    group, images = workers.group(), task.split.images
    journal = journal_of(task, engine)
    share = group.share(len(images))
    done = {index: journal.done[images.names[index]] for index in share if images.names[index] in journal.done}
    missing = [index for index in share if index not in done]
    counts = {"predicted": len(missing), "resumed": len(done)}
    started = time.perf_counter()
    if missing:
        recipe, size = task.recipe, engine.batch_size
        engine(np.zeros((size, recipe["in_channels"], recipe["image_size"], recipe["image_size"]), np.float32))
        started = time.perf_counter()  # compiled
        batches = engines.padded(images.chosen(missing, None), recipe, size)
        for start, batch in zip(count(0, size), track(batches, "evaluate", -(-len(missing) // size)), strict=False):
            indices = missing[start : start + size]
            logits = engine(batch)[: len(indices)]
            if not np.isfinite(logits).all():
                raise LogitsError(
                    f"expected finite logits, found others for an image of {images.names[indices[0]]} and the "
                    f"{len(indices) - 1} after it"
                )
            batch_done = {i: _prediction(images, i, row) for i, row in zip(indices, logits, strict=True)}
            journal.add(batch_done.values())
            done |= batch_done
    journal.done.clear()
    mine = {"key": journal.key, "seconds": time.perf_counter() - started, **counts}
    if group.size == 1:
        return _run_of(done, [mine], engine, journal)
    found = [[index, *asdict(prediction).values()] for index, prediction in done.items()]
    parts = [json.loads(part) for part in group.collect(json.dumps({**mine, "found": found}))]
    if any(part["key"] != journal.key for part in parts):
        raise HubpkgError(
            f"expected all {group.size} processes to evaluate the same checkpoint on the same data by the same engine "
            "and code, found others; give each machine the same, and run it again"
        )
    for part in parts:
        for index, image, label, classes, logits, next_logit in part["found"]:
            done[index] = Prediction(image, label, tuple(classes), tuple(logits), next_logit)
    return _run_of(done if group.is_first else {}, parts, engine, journal)


def _prediction(images: datasets.Images, index: int, logits: NDArray[np.float32]) -> Prediction:
    order = np.argsort(-logits, kind="stable")[: TOP_K + 1].tolist()
    ranked = tuple(float(str(logits[c])) for c in order)  # the shortest text that is this float32
    return Prediction(
        images.names[index], int(images.labels[index]), tuple(order[:TOP_K]), ranked[:TOP_K], *ranked[TOP_K:]
    )


def _run_of(
    done: Mapping[int, Prediction], parts: Sequence[Mapping[str, Any]], engine: engines.Engine, journal: Journal
) -> Run:
    """What the processes, whose counts and seconds are ``parts``, have ``done`` together."""
    predicted, resumed = (sum(part[key] for part in parts) for key in ("predicted", "resumed"))
    rate = predicted / max(part["seconds"] for part in parts) if predicted else None
    return Run([done[index] for index in sorted(done)], rate, resumed, engine.facts, journal)
