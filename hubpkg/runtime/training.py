"""Train a network by a recipe."""

import json
import math
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from hubpkg.errors import HubpkgError
from hubpkg.performance import Conditions, Timing
from hubpkg.progress import track
from hubpkg.runtime import datasets, machine

WARMUP_STEPS = 5  # left out of timings: the first one compiles, the next ones fill the pipeline and the caches

_SUPPORTED = frozenset({
    "model", "dataset", "seed", "image_size", "in_channels", "num_classes", "interpolation", "crop_pct", "mean", "std",
    "epochs", "batch_size", "devices", "drop_remainder", "optimizer", "lr", "min_lr", "warmup_epochs", "decay_epochs",
    "scheduler", "weight_decay", "label_smoothing", "jit_level", "random_affine",
})  # fmt: skip


def check_supported(recipe: Mapping[str, Any]) -> None:
    """Refuse a recipe with keys that this trainer would not follow.

    Raises:
        HubpkgError: naming them.
    """
    unsupported = sorted(set(recipe) - _SUPPORTED)
    if unsupported or recipe.get("devices", 1) != 1:
        what = ", ".join(unsupported) or f"{recipe['devices']} devices"
        raise HubpkgError(
            f"the recipe for {recipe['dataset']} asks for what hubpkg can't train with yet: {what}; "
            "give trained weights with --checkpoint FILE"
        )


def learning_rates(recipe: Mapping[str, Any], steps_per_epoch: int) -> list[float]:
    """The learning rate of every step: linear warm-up, cosine decay to ``min_lr``, then ``min_lr``."""
    warmup = round(recipe["warmup_epochs"] * steps_per_epoch)
    decay = round(recipe["decay_epochs"] * steps_per_epoch)
    low, high = recipe["min_lr"], recipe["lr"]
    rates = [high * (step + 1) / warmup for step in range(warmup)]
    rates += [low + (high - low) * (1 + math.cos(math.pi * step / decay)) / 2 for step in range(decay)]
    return rates + [low] * (recipe["epochs"] * steps_per_epoch - len(rates))


def train(network: Any, recipe: Mapping[str, Any], images: datasets.Images, log: Path) -> Timing:
    """Train ``network`` in place by ``recipe``, and write one JSON line a step to ``log``.

    Args:
        network: a MindSpore cell, images of shape (B, channels, size, size) to logits of shape (B, classes).
        recipe: the recipe, by the keys of ``schemas/recipe.schema.json``.
        images: those to train on.
        log: the file to write: step (from 1), epoch, loss, lr, ms.

    Returns:
        The wall time of the steps.

    Raises:
        HubpkgError: the recipe, the data or the loss are not fit to go on with.
    """
    epoch_steps = datasets.steps_per_epoch(len(images), recipe, 1)
    data = datasets.stream(images, recipe, start=0)
    rates = learning_rates(recipe, epoch_steps)
    cell = step_cell(network, recipe, rates)
    milliseconds: list[float] = []
    before = machine.look()
    with log.open("w", encoding="utf-8") as lines:
        for step, (batch, labels) in enumerate(track(_batches(data), "train", len(rates))):
            epoch = step // epoch_steps
            started = time.perf_counter()
            loss = float(cell(batch, labels).asnumpy())
            milliseconds.append(round((time.perf_counter() - started) * 1e3, 3))
            if not math.isfinite(loss):
                raise HubpkgError(
                    f"expected a finite loss, found {loss} at step {step + 1}, epoch {epoch + 1}, "
                    f"lr {rates[step]:g}; try a lower lr"
                )
            entry = {"step": step + 1, "epoch": epoch + 1, "loss": loss, "lr": rates[step], "ms": milliseconds[-1]}
            lines.write(json.dumps(entry) + "\n")
    network.set_train(False)
    return _timing_of(milliseconds, recipe, machine.between(before, machine.look()))


def precision_of(recipe: Mapping[str, Any]) -> str:
    """The precision that the recipe trains in."""
    return "float32" if recipe.get("amp_level", "O0") == "O0" else "float16"


def _timing_of(step_ms: list[float], recipe: Mapping[str, Any], conditions: Conditions) -> Timing:
    """The timing of steps that took ``step_ms`` from the first on, which compiled the graph and then ran as the rest.

    Raises:
        HubpkgError: there are no more than the warm-up's.
    """
    steady = step_ms[WARMUP_STEPS:]
    if not steady:
        raise HubpkgError(f"epochs: expected more than {WARMUP_STEPS} steps in all, found {len(step_ms)}")
    return Timing(
        engine="mindspore",
        devices=1,
        batch_size=recipe["batch_size"],
        image_size=recipe["image_size"],
        jit_level=recipe["jit_level"],
        precision=precision_of(recipe),
        compile_seconds=round(max(0.0, step_ms[0] - float(np.median(steady))) / 1e3, 3),
        warmup=WARMUP_STEPS,
        ms=steady,
        conditions=conditions,
    )


def _batches(data: Any) -> Iterator[tuple[Any, Any]]:
    with datasets.explained():
        yield from data.create_tuple_iterator(num_epochs=1)


def step_cell(network: Any, recipe: Mapping[str, Any], rates: list[float]) -> Any:
    """A cell that makes one training step: images and labels to the loss; ``rates`` are the steps' learning rates."""
    from mindspore import amp, nn

    from hubpkg.runtime.optimizer import adamw

    optimizer = adamw(network, rates, recipe["weight_decay"])
    loss = nn.CrossEntropyLoss(label_smoothing=recipe["label_smoothing"])
    scale = recipe.get("loss_scale", 1.0)
    manager = amp.FixedLossScaleManager(scale, drop_overflow_update=False) if scale != 1.0 else None
    level = recipe.get("amp_level", "O0")
    return amp.build_train_network(network, optimizer, loss, level=level, loss_scale_manager=manager).set_train()
