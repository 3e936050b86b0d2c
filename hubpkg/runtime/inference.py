"""Run a network over a dataset: images -> predictions."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hubpkg.errors import HubpkgError
from hubpkg.evaluation import TOP_K, Prediction
from hubpkg.progress import track
from hubpkg.runtime import datasets

BATCH_SIZE = 64


@dataclass(frozen=True)
class Run:
    """What a network says of a dataset, and at what rate: images over the loop's wall time, decoding included."""

    predictions: list[Prediction]
    images_per_second: float


def predict(network: Any, images: datasets.Images, recipe: Mapping[str, Any]) -> Run:
    """The predictions of ``network`` for ``images``, every one once and in their order.

    Args:
        network: a MindSpore cell, images of shape (B, channels, size, size) to logits of shape (B, classes).
        images: those to evaluate on.
        recipe: the recipe, for size and normalisation.

    Raises:
        HubpkgError: an image can't be read, or logits are not finite.
    """
    import mindspore

    network.set_train(False)
    predictions: list[Prediction] = []
    shape = (BATCH_SIZE, recipe["in_channels"], recipe["image_size"], recipe["image_size"])
    network(mindspore.Tensor(np.zeros(shape, np.float32))).asnumpy()  # compiles
    started = time.perf_counter()
    batches = datasets.batches(images, recipe, BATCH_SIZE)
    for batch, _ in track(batches, "evaluate", -(-len(images) // BATCH_SIZE)):
        # The last batch is filled up, so that one graph serves all; what was added is cut off again.
        padded = np.concatenate([batch, np.zeros((BATCH_SIZE - len(batch), *batch.shape[1:]), batch.dtype)])
        logits = network(mindspore.Tensor(padded)).asnumpy()[: len(batch)]
        if not np.isfinite(logits).all():
            raise HubpkgError(
                f"expected finite logits, found others for an image of "
                f"{images.names[len(predictions)]} and the {len(batch) - 1} after it"
            )
        order = np.argsort(-logits, axis=1, kind="stable")[:, :TOP_K]
        for classes, values in zip(order, np.take_along_axis(logits, order, 1), strict=True):
            index = len(predictions)
            predictions.append(
                Prediction(
                    images.names[index],
                    images.labels[index],
                    tuple(int(c) for c in classes),
                    tuple(float(str(value)) for value in values),  # the shortest text that is this float32
                )
            )
    return Run(predictions, len(predictions) / (time.perf_counter() - started))
