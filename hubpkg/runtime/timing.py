"""How long a network takes: training steps, inference latency and throughput.

A measurement goes on until it has ``SAMPLES`` samples (``LATENCY_SAMPLES`` of single images), or until it has taken
``SECONDS`` seconds, whichever comes first; but it has at least ``FEWEST`` samples, however long they take.
"""

import hashlib
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hubpkg import interrupts
from hubpkg import recipe as recipes
from hubpkg.errors import HubpkgError
from hubpkg.performance import Parameter, Timing
from hubpkg.progress import track
from hubpkg.runtime import datasets, framework, machine, training, workers

SAMPLES = 50
LATENCY_SAMPLES = 100  # of single images, whose 99th percentile is shown
SECONDS = 10.0
FEWEST = 5  # samples, however long they take
WARMUP = 4  # calls, the first one, which compiles, included

Array = npt.NDArray[Any]


def throughput_sizes(recipe: Mapping[str, Any]) -> list[int]:
    """The batch sizes that inference is timed at: 1, 8, and the recipe's, which is the largest."""
    return sorted({1, min(8, recipe["batch_size"]), recipe["batch_size"]})


def digest(network: Any) -> str:
    """The SHA-256 of the parameters of ``network``."""
    total = hashlib.sha256()
    for parameter in network.get_parameters():
        total.update(parameter.name.encode())
        total.update(parameter.asnumpy().tobytes())
    return total.hexdigest()


def random_split(recipe: Mapping[str, Any]) -> datasets.Split:
    """64 random images or other inputs, the same ones each time, for engines to be compared on."""
    if not recipes.of_images(recipe):
        rows = datasets.from_rows(_inputs(recipe, 64), np.zeros(64, int), "random inputs")
        return datasets.Split(rows, f"random {(64, *recipes.input_shape(recipe))}", ())
    shape = (64, recipe["image_size"], recipe["image_size"], recipe["in_channels"])
    pixels = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    names = [f"random {index}" for index in range(len(pixels))]
    images = datasets.from_array(pixels, [0] * len(pixels), names, "random images", [])
    return datasets.Split(images, f"random {shape}", ())


def set_precision(network: Any, precision: str, recipe: Mapping[str, Any]) -> None:
    """Let the MindSpore cell ``network`` compute in ``precision``: float32, float16 or bfloat16.

    Args:
        network: images to logits; not yet called in graph mode, since a graph once compiled stays as it is.
        precision: what inputs and weights are cast to where they are used; the weights stay what they are.
        recipe: the recipe, for the shape of the images.

    Raises:
        HubpkgError: the device does not run the network so.
    """
    import mindspore

    if precision == "float32":  # what networks are made in
        return
    network.to_float(getattr(mindspore, precision))
    try:
        mindspore.set_context(mode=mindspore.PYNATIVE_MODE)  # in graph mode a refusal leaves files behind
        network.set_train(False)(mindspore.Tensor(_inputs(recipe, 1)))
    except (RuntimeError, TypeError, ValueError) as error:
        raise HubpkgError(
            f"--precision: expected one that MindSpore {framework.version()} runs this network in on the "
            f"{mindspore.get_context('device_target')}, such as float32, found {precision}: {framework.reason(error)}"
        ) from None
    finally:
        mindspore.set_context(mode=mindspore.GRAPH_MODE)


def time_training(network: Any, recipe: Mapping[str, Any], precision: str | None = None) -> Timing:
    """Time training steps of ``network`` by the recipe's loss and optimizer, on one batch of random inputs.

    Args:
        network: a MindSpore cell, images to logits; changed by the steps.
        recipe: the recipe, for loss, optimizer and sizes.
        precision: what :func:`set_precision` set the network to, in place of the recipe's ``amp_level``.

    Raises:
        HubpkgError: the step does not run.
    """
    import mindspore

    from hubpkg.runtime.step import Step

    if precision is not None:
        recipe = {**recipe, "amp_level": "O0"}
    count = recipe["batch_size"]
    label = f"time steps x{count}"
    with framework.explained(label, recipe):
        batch = mindspore.Tensor(_inputs(recipe, count)), mindspore.Tensor(_targets(recipe, count))
        cell = Step(network, {**recipe, "devices": 1}, [recipe["lr"]] * (training.WARMUP_STEPS + SAMPLES))
        timed = _time(lambda: [output.asnumpy() for output in cell(*batch)], label, SAMPLES, training.WARMUP_STEPS)
    used = precision or training.precision_of(recipe)
    return Timing(engine="mindspore", batch_size=count, precision=used, **_setting(recipe), **timed)


def time_inference(
    run: Callable[[Array], Array],
    recipe: Mapping[str, Any],
    batch_sizes: Sequence[int],
    *,
    engine: str = "mindspore",
    precision: str = "float32",
) -> Iterator[Timing]:
    """Time ``run`` on random inputs, from NumPy array to NumPy array, in batches of each of ``batch_sizes``.

    Args:
        run: inputs of shape (B, channels, size, size), or as the recipe has them, to logits or outputs.
        recipe: the recipe, for shape and type of the inputs.
        batch_sizes: the values of B.
        engine: what ``run`` runs on, for the record.
        precision: what it computes in, for the record.

    Yields:
        The timing of each batch size, when it is done.

    Raises:
        HubpkgError: a batch does not run.
    """
    for count in batch_sizes:
        label = f"time x{count}"
        with framework.explained(label, recipe):
            images = _inputs(recipe, count)
            wanted = LATENCY_SAMPLES if count == 1 else SAMPLES
            timed = _time(lambda: run(images), label, wanted, WARMUP)  # noqa: B023 - called now
        yield Timing(engine=engine, batch_size=count, precision=precision, **_setting(recipe), **timed)


def _setting(recipe: Mapping[str, Any]) -> dict[str, Any]:
    return {"devices": machine.devices(), "image_size": recipe.get("image_size"), "jit_level": recipe["jit_level"]}


def _inputs(recipe: Mapping[str, Any], count: int) -> Array:
    draw, shape = np.random.default_rng(0), (count, *recipes.input_shape(recipe))
    if "vocab_size" in recipe:
        return draw.integers(recipe["vocab_size"], size=shape).astype(np.int32)
    return draw.standard_normal(shape, np.float32)


def _targets(recipe: Mapping[str, Any], count: int) -> Array:
    draw = np.random.default_rng(1)
    if recipes.is_regression(recipe):
        return draw.standard_normal((count, recipes.outputs(recipe)), np.float32)
    return draw.integers(recipe["num_classes"], size=count).astype(np.int32)


def _time(call: Callable[[], Any], label: str, wanted: int, warmup: int) -> dict[str, Any]:
    """The attributes of a Timing that calling ``call`` shows.

    The warm-up is ``warmup`` calls: the first one, at least one more, and then no more of them once ``SECONDS`` have
    passed. After it calls are timed until there are ``wanted`` samples, or until ``SECONDS`` have passed and there are
    at least ``FEWEST`` samples.
    """
    first_ms = _milliseconds(call)
    warm = 1 + len([_milliseconds(call) for _ in _until(warmup - 1, 1)])
    workers.group().meet()  # none is timed while another one compiles
    before = machine.look()
    ms = [_milliseconds(call) for _ in track(_until(wanted, FEWEST), label, wanted)]
    conditions = machine.between(before, machine.look())
    compile_ms = max(0.0, first_ms - statistics.median(ms))
    return {"compile_seconds": round(compile_ms / 1e3, 3), "warmup": warm, "ms": ms, "conditions": conditions}


def _until(wanted: int, fewest: int) -> Iterator[int]:
    started = time.perf_counter()
    for done in range(wanted):
        if done >= fewest and time.perf_counter() - started >= SECONDS:
            return
        yield done


def _milliseconds(call: Callable[[], Any]) -> float:
    with interrupts.deferred():
        started = time.perf_counter()
        call()
    return round((time.perf_counter() - started) * 1e3, 3)


def parameters(network: Any) -> list[Parameter]:
    """The parameters of ``network``, in its order."""
    return [Parameter(p.name, tuple(p.shape), str(p.dtype), bool(p.requires_grad)) for p in network.get_parameters()]
