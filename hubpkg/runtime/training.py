"""Train a network by a recipe: images -> weights, with a log, validation and snapshots to go on from."""

import fnmatch
import json
import math
import resource
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hubpkg import checkpoint, interrupts, progress
from hubpkg import recipe as recipes
from hubpkg.errors import HubpkgError
from hubpkg.performance import Timing
from hubpkg.recipe import learning_rates, updates
from hubpkg.runtime import datasets, engines, framework, machine, snapshot, training_log, workers
from hubpkg.trained import BEST, LOG, MODEL, Trained

WARMUP_STEPS = 5  # left out of timings: the first one compiles, the next ones fill the pipeline and the caches
_SNAPSHOT_SECONDS = 60.0  # after which the next one is due, besides those at the ends of epochs
_SNAPSHOT_SHARE = 20  # times as long as writing one takes, the next one is not due
_KEEP = 4  # what is drawn, beside the stream's own
_OVERFLOWS = 50  # updates in a row whose gradients are not finite: no loss scale will help


@dataclass(frozen=True)
class Task:
    """A network to train.

    Attributes:
        network: a MindSpore cell with the weights to start from, images of shape (B, channels, size, size), or what the
            recipe's inputs are, to logits of shape (B, classes) or a regression's numbers; trained in place.
        twin: another cell like it, for validation.
        recipe: the recipe, by the keys of ``schemas/recipe.schema.json``.
        images: those to train on.
        test: those to validate on.
        report: told, in one line each, what is done.
    """

    network: Any
    twin: Any
    recipe: Mapping[str, Any]
    images: datasets.Images
    test: datasets.Images
    report: Callable[[str], None]


def check(recipe: Mapping[str, Any], images: datasets.Images, devices: int) -> None:
    """Refuse data that can't be trained on by the recipe.

    Raises:
        HubpkgError: a batch is larger than the data, labels are out of range, or there is one class only.
    """
    datasets.steps_per_epoch(len(images), recipe, devices)
    if recipes.is_regression(recipe):
        return
    labels = np.asarray(images.labels)
    wrong = np.flatnonzero((labels < 0) | (labels >= recipe["num_classes"]))
    if len(wrong):
        raise HubpkgError(
            f"{images.place(int(wrong[0]))}: expected a label from 0 to {recipe['num_classes'] - 1}, as num_classes "
            f"says, found {labels[wrong[0]]}; {len(wrong)} of {len(labels)} images have such labels"
        )
    if len(np.unique(labels)) == 1:
        raise HubpkgError(
            f"{recipe['dataset']}: expected training images of at least two classes, found {len(labels)} images, all "
            f"of class {labels[0]}; there is nothing to tell apart"
        )


def freeze(network: Any, patterns: list[str]) -> list[str]:
    """Take the parameters with names like ``patterns`` out of training, and their normalisations' statistics too.

    Args:
        network: a cell.
        patterns: such as ``patch_embed.*``, by the rules of :mod:`fnmatch`.

    Returns:
        The names.

    Raises:
        HubpkgError: a pattern has no such parameter, or none is left to train.
    """
    from mindspore import nn

    trained, frozen = network.trainable_params(), []
    for pattern in patterns:
        found = [p for p in trained if fnmatch.fnmatchcase(p.name, pattern)]
        if not found:
            raise HubpkgError(
                f"freeze: expected a pattern of parameters that are trained, found {pattern!r}, which none fits"
            )
        for parameter in found:
            parameter.requires_grad = False
        frozen += [parameter.name for parameter in found if parameter.name not in frozen]
    if not network.trainable_params():
        raise HubpkgError("freeze: expected parameters that are left to train, found none")
    for _, cell in network.cells_and_names():
        if isinstance(cell, (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)) and cell.gamma.name in frozen:
            cell.use_batch_statistics = False
    return frozen


def train(task: Task, run: Path) -> Trained | None:
    """Train by the recipe, from the newest snapshot in the folder ``run`` on, if there is one.

    Leaves in ``run`` the final weights, ``model.ckpt``, the best ones, ``best.ckpt``, and the log, ``training.jsonl``:
    a line a step (step from 1, epoch, loss, lr, grad_norm, scale, ms, images_per_second, memory_mb) and a line a
    validation. In a group of processes the first one writes.

    Returns:
        What came of it; None in a process of a group that is not the first one.

    Raises:
        HubpkgError: the recipe, the data or the loss are not fit to go on with, or memory is short; snapshots are kept.
    """
    with interrupts.deferred():
        training = _Training(task, run)
    try:
        with training.log:
            training.run_on()
    except BaseException as error:
        if training.group.is_first:
            if isinstance(error, KeyboardInterrupt) and training.whole:
                training.keep()
            kept = snapshot.newest(run)
            task.report(f"train: stopped; {f'step {kept.batches}' if kept else 'nothing'} is kept to go on from")
        raise
    return training.result() if training.group.is_first else None


class _Training:
    """A run under way."""

    def __init__(self, task: Task, run: Path) -> None:
        from hubpkg.runtime.step import Step

        self.task, self.folder, self.recipe = task, run, task.recipe
        self.group = workers.group()
        if frozen := self.recipe.get("freeze"):
            names = freeze(task.network, frozen)
            task.report(f"train: {len(names)} parameters are frozen, by {', '.join(frozen)}")
        self.epoch_batches = datasets.steps_per_epoch(len(task.images), self.recipe, self.group.size)
        self.accumulation = self.recipe.get("grad_accumulation", 1)
        self.total = total_steps(len(task.images), self.recipe, self.group.size)
        if self.total <= WARMUP_STEPS:
            raise HubpkgError(
                f"epochs: expected more than {WARMUP_STEPS} steps in all, found {self.total}; each epoch has "
                f"{self.epoch_batches} batches, and grad_accumulation is {self.accumulation}"
            )
        self.rates = learning_rates(self.recipe, self.epoch_batches)
        self.step = Step(task.network, self.recipe, self.rates)
        self._kinds = ("weights",) if self.step.decay is None else ("weights", "average")
        kept = snapshot.newest(run) if self.group.is_first else None
        self.done = 0
        self.state: dict[str, Any] = {"resumed": [], "best": None, "validated_after": 0}
        if kept:
            checkpoint.restore(self.step, kept.file)
            self.done, self.state = kept.batches, {**kept.state, "resumed": [*kept.state["resumed"], kept.batches]}
            task.report(f"train: goes on after step {self.done} of {self.total}")
        if self.group.size > 1:
            self._share()
        self.log = training_log.Log(run / LOG, self.done, self.state["validated_after"], writes=self.group.is_first)
        self.whole = True  # between steps, when a snapshot can be written
        self.due = time.monotonic() + _SNAPSHOT_SECONDS
        self.overflows = 0
        self.applied = int(self.step.optimizer.global_step.asnumpy().item())  # updates that did not overflow
        self.entry: dict[str, Any] = {}

    def _share(self) -> None:
        """Give every process the first one's parameters, and how far it is."""
        mindspore = framework.load()
        broadcast = mindspore.ops.Broadcast(0)
        place = mindspore.Tensor([self.done, self.state["validated_after"]], mindspore.int32)
        self.done, self.state["validated_after"] = broadcast((place,))[0].asnumpy().tolist()
        for parameter in self.step.get_parameters():
            parameter.set_data(broadcast((parameter,))[0])

    def run_on(self) -> None:
        """Train to the end."""
        before = machine.look()
        unit = "img/s" if recipes.of_images(self.recipe) else "samples/s"
        with progress.training(self.total, self.done, self.task.report, unit) as show:
            self._end_epoch(show)  # of an earlier run that was stopped before it had
            self.last = time.perf_counter()
            for batch in self._batches():
                with interrupts.deferred():
                    self.whole = False
                    self._train_on(batch)
                    self.whole = True
                show(self.entry, self.recipe["epochs"], None)
                self._end_epoch(show)
                if time.monotonic() > self.due:
                    self.keep()
        self.conditions = machine.between(before, machine.look())

    def _batches(self) -> Iterator[Any]:
        """The batches that remain; None in place of each where they go to the device by themselves."""
        mindspore = framework.load()
        remaining = range(self.done, self.total)
        if not remaining:  # of a run that was stopped after its last step
            return
        data = _data(self.task, self.done, self.group, self.epoch_batches)
        if self.recipe.get("sink"):
            if mindspore.get_context("device_target") != "CPU":
                self.run_step = mindspore.data_sink(self.step, data, sink_size=1)
                yield from (None for _ in remaining)
                return
            self.task.report("train: sink is not used: MindSpore has none on the CPU")
        with datasets.explained():
            for _, batch in zip(remaining, data.create_tuple_iterator(num_epochs=1), strict=False):
                yield batch

    def _train_on(self, batch: Any) -> None:
        """Make a step, and write it to the log."""
        started = time.perf_counter()
        with framework.explained(f"step {self.done + 1}", self.recipe):
            outputs = self.run_step() if batch is None else self.step(*batch)
            loss, norm, scale, overflow = (output.asnumpy().item() for output in outputs)
        now, self.done = time.perf_counter(), self.done + 1
        images = self.group.size * (self.recipe["batch_size"] if batch is None else len(batch[0]))
        updates = self.done % self.accumulation == 0
        lr = self.rates[min(self.applied, len(self.rates) - 1)]
        self.applied += updates and not overflow
        self.entry = {
            "step": self.done,
            "epoch": (self.done - 1) // self.epoch_batches + 1,
            "loss": loss,
            "lr": lr,
            "grad_norm": norm if updates and not overflow else None,
            "scale": scale,
            "images": images,
            "ms": round((now - started) * 1e3, 3),
            "images_per_second": round(images / (now - self.last), 3),
            "memory_mb": _memory(),
        }
        self.last = now
        self.log.add(self.entry)
        if updates:
            self.overflows = self.overflows + 1 if overflow else 0
        self._check(self.entry)

    def _check(self, entry: Mapping[str, Any]) -> None:
        where = f"at step {entry['step']}, epoch {entry['epoch']}, lr {entry['lr']:g}"
        if not math.isfinite(entry["loss"]):
            raise HubpkgError(f"expected a finite loss, found {entry['loss']} {where}; try a lower lr, or clip_norm")
        if self.overflows and self.recipe.get("amp_level", "O0") == "O0":
            raise HubpkgError(f"expected finite gradients, found others {where}; try a lower lr, or clip_norm")
        if self.overflows == _OVERFLOWS:
            raise HubpkgError(
                f"expected finite gradients, found others in {_OVERFLOWS} updates in a row, the last one {where} and "
                f"loss scale {entry['scale']:g}; try loss_scale: dynamic, or amp_level: O0"
            )

    def _end_epoch(self, show: Callable[..., None]) -> None:
        """After the last step of an epoch, measure the weights and their averages, and keep the best ones."""
        if self.done not in {0, self.state["validated_after"]} and self._epoch_is_over():
            epoch = (self.done - 1) // self.epoch_batches + 1
            validated = {kind: self._validate(epoch, kind) for kind in self._kinds}
            self.state |= {"validated_after": self.done, "validated": validated}
            self.log.add({"step": self.done, "epoch": epoch, "validation": validated})
            if self.entry and self.group.is_first:
                show(self.entry, self.recipe["epochs"], validated)
            self.keep()
            self.group.wait_for_first()
            self.last = time.perf_counter()

    def _epoch_is_over(self) -> bool:
        return self.done % self.epoch_batches == 0 or self.done == self.total

    def _validate(self, epoch: int, kind: str) -> Mapping[str, float] | None:
        self._fill_twin(kind)
        with framework.explained("validation", self.recipe):
            found = _quality(self.task, self.group)
        best = self.state["best"]
        key, sign = (recipes.loss(self.recipe), -1) if recipes.is_regression(self.recipe) else ("top1", 1)
        if found is not None and (best is None or sign * found[key] > sign * best[key]):
            self.state["best"] = {key: found[key], "epoch": epoch, "kind": kind}
            partial = self.folder / f"partial-{BEST}"
            partial.unlink(missing_ok=True)
            checkpoint.save(self.task.twin, partial)
            partial.replace(self.folder / BEST)
        return found

    def _fill_twin(self, kind: str) -> None:
        mindspore = framework.load()
        sources = self.step.averages if kind == "average" else self.task.network.get_parameters()
        values = [mindspore.Tensor(parameter.asnumpy()) for parameter in sources]
        with interrupts.deferred():
            for parameter, value in zip(self.task.twin.get_parameters(), values, strict=True):
                # The first one's are kept; those of others differ in their batches' statistics.
                parameter.set_data(value if self.group.size == 1 else mindspore.ops.Broadcast(0)((value,))[0])

    def keep(self) -> None:
        """Write a snapshot, and set when the next one is due."""
        started = time.monotonic()
        if self.group.is_first:
            snapshot.write(self.folder, self.step, self.done, self.state)
        now = time.monotonic()
        self.due = now + max(_SNAPSHOT_SECONDS, _SNAPSHOT_SHARE * (now - started))

    def result(self) -> Trained:
        """Write the final weights, and say what came of it all."""
        kind = self._kinds[-1]
        self._fill_twin(kind)
        (self.folder / MODEL).unlink(missing_ok=True)
        checkpoint.save(self.task.twin, self.folder / MODEL)
        metrics, resumed = self.state["validated"][kind], tuple(self.state["resumed"])
        return Trained(metrics, kind == "average", self.state["best"], self.total, resumed, self._timing())

    def _timing(self) -> Timing:
        """The timing of the steps, of which the first one after each start compiled the graph."""
        starts = self.log.milliseconds(self.recipe["batch_size"] * self.group.size)
        steady = [ms for session in starts for ms in session[WARMUP_STEPS:]] or [
            ms for session in starts for ms in session[1:] or session
        ]
        return Timing(
            engine=engines.MINDSPORE,
            devices=self.group.size,
            batch_size=self.recipe["batch_size"],
            image_size=self.recipe.get("image_size"),
            jit_level=self.recipe["jit_level"],
            precision=precision_of(self.recipe),
            compile_seconds=round(max(0.0, starts[0][0] - float(np.median(steady))) / 1e3, 3),
            warmup=WARMUP_STEPS,
            ms=steady,
            conditions=self.conditions,
        )


def total_steps(images: int, recipe: Mapping[str, Any], size: int) -> int:
    """How many batches each of ``size`` processes trains on in all, with so many training ``images``."""
    accumulation: int = recipe.get("grad_accumulation", 1)
    return updates(recipe, datasets.steps_per_epoch(images, recipe, size)) * accumulation


def _data(task: Task, start: int, group: workers.Group, epoch_batches: int) -> Any:
    """The batches from number ``start`` on, with the residual branches to keep where the recipe drops some."""
    from mindspore import dataset

    recipe = task.recipe
    data = datasets.stream(task.images, recipe, start=start, rank=group.rank, size=group.size)
    rate = recipe.get("drop_path", 0.0)
    if not rate:
        return data
    if not hasattr(task.network, "residual_branches"):
        raise HubpkgError(
            "drop_path: expected a network with the attribute residual_branches, whose construct takes the branches to "
            "keep, found one without it; set drop_path to 0"
        )
    shape = (task.network.residual_branches, recipe["batch_size"])

    def keeps() -> Iterator[tuple[Any]]:
        for batch in range(start, epoch_batches * recipe["epochs"]):
            generator = np.random.default_rng([recipe["seed"], batch, group.rank, _KEEP, _KEEP])
            yield ((generator.random(shape, np.float32) >= rate).astype(np.float32) / np.float32(1 - rate),)

    return dataset.zip((data, dataset.GeneratorDataset(keeps, ["keep"])))


def _quality(task: Task, group: workers.Group) -> dict[str, float] | None:
    """Top-1 and top-5 of the twin on the test samples, in percent, or a regression's loss.

    None in a process that is not the first one.
    """
    size, recipe = task.recipe["batch_size"], task.recipe
    share = list(group.share(len(task.test)))
    images = task.test.chosen(share, None)
    task.twin.set_train(False)
    sums = np.zeros(2)
    for start, batch in enumerate(engines.padded(images, recipe, size)):
        labels = np.asarray(images.labels[start * size : (start + 1) * size])
        outputs = engines.run_network(task.twin, batch)[: len(labels)]
        if recipes.is_regression(recipe):
            errors = np.abs(outputs - labels)
            sums += [(errors**2).mean(1).sum(), errors.mean(1).sum()]
        else:
            order = np.argsort(-outputs, axis=1, kind="stable")
            sums += [(order[:, :k] == labels[:, None]).any(1).sum() for k in (1, 5)]
    found = [json.loads(part) for part in group.collect(json.dumps(sums.tolist()))]
    if not group.is_first:
        return None
    first, second = (sum(part[k] for part in found) / len(task.test) for k in range(2))
    if recipes.is_regression(recipe):
        loss = recipes.loss(recipe)
        return {loss: float(f"{first if loss == 'mse' else second:.6g}")}
    return {"top1": round(100 * first, 4), "top5": round(100 * second, 4)}


def _memory() -> float:
    """The largest memory that this process has had, in MB; on a device, the device's."""
    mindspore = framework.load()
    if mindspore.get_context("device_target") != "CPU":
        return round(float(mindspore.runtime.max_memory_allocated()) / 2**20, 1)
    unit = 1 if sys.platform == "darwin" else 1024  # of ru_maxrss, in bytes
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20, 1)


def precision_of(recipe: Mapping[str, Any]) -> str:
    """The precision that the recipe trains in."""
    return "float32" if recipe.get("amp_level", "O0") == "O0" else "float16"
