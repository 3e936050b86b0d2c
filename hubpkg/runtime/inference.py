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
from hubpkg.errors import HubpkgError
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
    """

    predictions: list[Prediction]
    images_per_second: float | None
    resumed: int
    engine: Mapping[str, Any]


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
        HubpkgError: an image can't be read, or logits are not finite.
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
                raise HubpkgError(
                    f"expected finite logits, found others for an image of {images.names[indices[0]]} and the "
                    f"{len(indices) - 1} after it"
                )
            batch_done = {i: _prediction(images, i, row) for i, row in zip(indices, logits, strict=True)}
            journal.add(batch_done.values())
            done |= batch_done
    mine = {"seconds": time.perf_counter() - started, **counts}
    found = [[index, *asdict(prediction).values()] for index, prediction in done.items()]
    every = group.collect(json.dumps({**mine, "found": found}))
    return _joined([json.loads(part) for part in every], engine)


def _prediction(images: datasets.Images, index: int, logits: NDArray[np.float32]) -> Prediction:
    order = np.argsort(-logits, kind="stable")[: TOP_K + 1].tolist()
    ranked = tuple(float(str(logits[c])) for c in order)  # the shortest text that is this float32
    return Prediction(
        images.names[index], int(images.labels[index]), tuple(order[:TOP_K]), ranked[:TOP_K], *ranked[TOP_K:]
    )


def _joined(parts: Sequence[Mapping[str, Any]], engine: engines.Engine) -> Run:
    """What the processes of a group found together."""
    done = {
        index: Prediction(image, label, tuple(classes), tuple(logits), next_logit)
        for part in parts
        for index, image, label, classes, logits, next_logit in part["found"]
    }
    predicted = sum(part["predicted"] for part in parts)
    rate = predicted / max(part["seconds"] for part in parts) if predicted else None
    return Run([done[index] for index in sorted(done)], rate, sum(part["resumed"] for part in parts), engine.facts)
