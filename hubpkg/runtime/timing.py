"""How long a network takes: training steps, inference latency and throughput."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hubpkg.performance import InferenceTiming, Parameter, TrainingTiming
from hubpkg.progress import track
from hubpkg.runtime import training

STEPS = 20
LATENCY_SAMPLES = 100
BATCHES = 10
WARMUP = 3


def time_training(network: Any, recipe: Mapping[str, Any]) -> TrainingTiming:
    """Wall times of training steps of ``network`` by the recipe's loss and optimizer, on one batch of random images.

    ``network`` is changed by them.
    """
    import mindspore

    labels = np.random.default_rng(1).integers(recipe["num_classes"], size=recipe["batch_size"])
    batch = _images(recipe["batch_size"], recipe), mindspore.Tensor(labels.astype(np.int32))
    steps = training.WARMUP_STEPS + STEPS
    cell = training.step_cell(network, recipe, [recipe["lr"]] * steps)
    return training.timing_of(_time(lambda: cell(*batch), "time steps", steps), recipe)


def time_inference(network: Any, recipe: Mapping[str, Any]) -> InferenceTiming:
    """Wall times of ``network`` on random images, compiling and warm-up left out.

    Args:
        network: a MindSpore cell, images of shape (B, channels, size, size) to logits.
        recipe: the recipe, for the shape of the images and the batch size.
    """
    network.set_train(False)
    image, batch = _images(1, recipe), _images(recipe["batch_size"], recipe)
    return InferenceTiming(
        latency_ms=_time(lambda: network(image), "time x1", WARMUP + LATENCY_SAMPLES)[WARMUP:],
        batch_size=recipe["batch_size"],
        batch_ms=_time(lambda: network(batch), f"time x{recipe['batch_size']}", WARMUP + BATCHES)[WARMUP:],
    )


def _images(count: int, recipe: Mapping[str, Any]) -> Any:
    import mindspore

    shape = (count, recipe["in_channels"], recipe["image_size"], recipe["image_size"])
    return mindspore.Tensor(np.random.default_rng(0).standard_normal(shape).astype(np.float32))


def _time(run: Callable[[], Any], label: str, samples: int) -> list[float]:
    """Milliseconds of each of ``samples`` calls of ``run``, until the result is there."""
    milliseconds = []
    for _ in track(range(samples), label, samples):
        started = time.perf_counter()
        run().asnumpy()
        milliseconds.append(round((time.perf_counter() - started) * 1e3, 3))
    return milliseconds


def parameters(network: Any) -> list[Parameter]:
    """The parameters of ``network``, in its order."""
    return [Parameter(p.name, tuple(p.shape), str(p.dtype), bool(p.requires_grad)) for p in network.get_parameters()]
