"""The pipe: model + dataset -> checkpoint -> evaluation -> performance -> card -> package."""

import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from hubpkg import card, entrypoint, evaluation, manifest, performance, stages, verification
from hubpkg.errors import HubpkgError
from hubpkg.spec import ModelSpec

TRAINING_LOG = "evidence/training.jsonl"


@dataclass(frozen=True)
class Package:
    """A finished package: its folder, and what its manifest says."""

    folder: Path
    contents: Mapping[str, Any]

    def as_json(self) -> dict[str, Any]:
        """What ``hubpkg build --json`` prints."""
        measured = self.contents["evaluation"]
        return {
            "uid": self.contents["uid"],
            "package": str(self.folder),
            "card": str(self.folder / f"{self.contents['package']}.md"),
            "checkpoint": str(self.folder / self.contents["checkpoint"]["file"]),
            "metrics": {"top1": measured["top1"]["percent"], "top5": measured["top5"]["percent"]},
            "samples": measured["samples"],
            "performance": self.contents["performance"],
        }


@dataclass(frozen=True)
class Job:
    """One model on one dataset and one machine: what every stage of a build depends on.

    Attributes:
        spec: the model and the dataset.
        data_dir: where the dataset's files are, for a dataset that has files.
        device: ``CPU`` or ``Ascend``; None for the one that MindSpore was built for.
        report: told, in one line each, what is done.
    """

    spec: ModelSpec
    data_dir: Path | None
    device: str | None
    report: Callable[[str], None]

    @cached_property
    def inputs(self) -> Mapping[str, Any]:
        """What the results of every stage depend on."""
        from hubpkg import runtime
        from hubpkg.runtime import datasets, environment

        code = {file.name: manifest.record(file).sha256 for file in sorted(Path(runtime.__path__[0]).glob("*.py"))}
        entry = {name: manifest.record(file).sha256 for name, file in self.spec.entry_files.items()}
        return {
            "data": datasets.find(self.spec.dataset).fingerprint(self.data_dir),
            "environment": environment.capture(self.device),
            "code": manifest.digest(code),
            "model": manifest.digest(entry),
            "recipe": dict(self.spec.recipe),
        }

    @cached_property
    def mindspore(self) -> Any:
        """MindSpore, ready to run the recipe."""
        from hubpkg.runtime import framework

        return framework.start(self.spec.recipe["jit_level"], self.device)

    def network(self) -> Any:
        """A new network, made by the model's entrypoint as a consumer's machine would."""
        self.mindspore  # noqa: B018 - graph mode first
        sources = {name: file.read_bytes() for name, file in self.spec.entry_files.items()}
        with entrypoint.loaded(self.spec.folder, sources) as create_network:
            return create_network(self.spec.name, **self.spec.network_arguments)


def build(job: Job, checkpoint: str, out: Path) -> Package:
    """Build the package of ``job`` in the folder ``out``.

    Each stage's results are kept in the cache by the stage's inputs, and taken from there when those are the same.
    The package takes its place in ``out`` when it is complete and verified, and not before.

    Args:
        job: the model, the dataset and the machine.
        checkpoint: ``train``, or the path of a checkpoint file.
        out: the folder that the package is put in.

    Raises:
        HubpkgError: an input can't be used; ``out`` is as it was.
    """
    with _output(out, job.spec.package_name, job.report) as partial:
        weights = _train(job) if checkpoint == "train" else _adopt(job, Path(checkpoint))
        evaluated = _evaluate(job, weights)
        timed = _benchmark(job, weights)
        contents = _assemble(partial, job, weights, evaluated, timed)
        return Package(_put_in_place(partial, out / job.spec.package_name, job.report), contents)


def _train(job: Job) -> Path:
    def produce(folder: Path) -> None:
        from hubpkg import checkpoint

        job.mindspore.set_seed(job.spec.recipe["seed"])
        network = job.network()
        timing = training.train(network, job.spec.recipe, job.data_dir, folder / "training.jsonl")
        (folder / "training.json").write_text(json.dumps(asdict(timing)), encoding="utf-8")
        checkpoint.save(network, folder / "model.ckpt")

    from hubpkg.runtime import training

    inputs = job.inputs  # says first of all where the data are missing
    training.check_supported(job.spec.recipe)
    return stages.run("train", inputs, produce, job.report)


def _adopt(job: Job, file: Path) -> Path:
    def produce(folder: Path) -> None:
        from hubpkg import checkpoint

        checkpoint.restore(job.network(), file)
        shutil.copyfile(file, folder / "model.ckpt")

    if not file.is_file():
        raise HubpkgError(f"--checkpoint: expected 'train' or a checkpoint file, found no file {file}")
    return stages.run("checkpoint", {**job.inputs, "checkpoint": manifest.record(file).sha256}, produce, job.report)


def _predict(job: Job, weights: Path) -> Any:
    from hubpkg import checkpoint
    from hubpkg.runtime import inference

    network = job.network()
    checkpoint.restore(network, weights)
    return inference.predict(network, job.spec.dataset, job.data_dir, job.spec.recipe)


def _evaluate(job: Job, weights: Path) -> Path:
    def produce(folder: Path) -> None:
        from hubpkg.runtime import environment

        run = _predict(job, weights / "model.ckpt")
        evaluation.write_predictions(folder / "predictions.csv", run.predictions)
        made = {"measured": _today(), "commit": environment.commit()}
        (folder / "made.json").write_text(json.dumps(made), encoding="utf-8")

    return stages.run("evaluate", {**job.inputs, "checkpoint": _digest(weights)}, produce, job.report)


def _today() -> str:
    seconds = float(os.environ.get("SOURCE_DATE_EPOCH") or time.time())
    return datetime.fromtimestamp(seconds, UTC).date().isoformat()


def _benchmark(job: Job, weights: Path) -> Path:
    timed_steps = weights / "training.json"

    def produce(folder: Path) -> None:
        from hubpkg import checkpoint
        from hubpkg.runtime import timing

        network = job.network()
        checkpoint.restore(network, weights / "model.ckpt")
        inference = timing.time_inference(network, job.spec.recipe)
        if timed_steps.exists():
            training = performance.TrainingTiming(**json.loads(timed_steps.read_text(encoding="utf-8")))
        else:
            training = timing.time_training(job.network(), job.spec.recipe)
        performance.write_timing(folder / "timing.json", training, inference)
        performance.write_parameters(folder / "parameters.csv", timing.parameters(network))

    inputs = {**job.inputs, "checkpoint": _digest(weights), "trained": timed_steps.exists()}
    return stages.run("benchmark", inputs, produce, job.report)


def _digest(weights: Path) -> str:
    return manifest.record(weights / "model.ckpt").sha256


@contextmanager
def _output(out: Path, name: str, report: Callable[[str], None]) -> Iterator[Path]:
    """The path of a folder in ``out`` in which a package can be made; nothing is left of it, whatever happens."""
    out = out.absolute()
    partial, replaced = out / f".{name}.partial", out / f".{name}.replaced"
    lock = stages.cache_folder() / "locks" / f"{manifest.digest([str(out), name])[:16]}.lock"
    with stages.locked(lock, report):
        made_out = not out.exists()
        if replaced.exists() and not (out / name).exists():  # a build was killed between two renames
            replaced.rename(out / name)
        for leftover in (partial, replaced):
            if leftover.exists():
                shutil.rmtree(leftover)
        partial.mkdir(parents=True)  # shows, before the work begins, that it can be made
        partial.rmdir()
        try:
            yield partial
        finally:
            if partial.exists():
                shutil.rmtree(partial)
            if made_out and not any(out.iterdir()):
                out.rmdir()


def _assemble(partial: Path, job: Job, weights: Path, evaluated: Path, timed: Path) -> dict[str, Any]:
    """Write the package's files into ``partial``, and its manifest last; give what the manifest says."""
    from hubpkg.runtime import datasets

    spec = job.spec
    partial.mkdir()
    sha256 = _digest(weights)
    trained = (weights / "training.jsonl").exists()
    files = {
        f"{spec.name}-{sha256[:8]}.ckpt": weights / "model.ckpt",
        evaluation.PREDICTIONS: evaluated / "predictions.csv",
        performance.TIMING: timed / "timing.json",
        performance.PARAMETERS: timed / "parameters.csv",
        **({TRAINING_LOG: weights / "training.jsonl"} if trained else {}),
        **{f"{spec.entry_name}/{name}": file for name, file in spec.entry_files.items()},
    }
    for name, file in files.items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, partial / name)
    (partial / spec.entry_name / entrypoint.DEFAULTS).write_text(
        json.dumps(spec.network_defaults, indent=2) + "\n", encoding="utf-8"
    )
    made = json.loads((evaluated / "made.json").read_text(encoding="utf-8"))
    contents: dict[str, Any] = {
        "format": manifest.FORMAT,
        "template": card.TEMPLATE,
        "published": False,
        "uid": spec.uid,
        "package": spec.package_name,
        "model": spec.name,
        "dataset": spec.dataset,
        "entry": spec.entry_name,
        "card": {
            **spec.card_fields,
            "dataset": datasets.find(spec.dataset).card_text(),
        },
        "checkpoint": {"file": next(iter(files)), "sha256": sha256, "source": "train" if trained else "file"},
        "inputs": {"recipe": dict(spec.recipe), "data": job.inputs["data"], "code": job.inputs["code"]},
        "environment": {**job.inputs["environment"], "commit": made["commit"]},
        "evaluation": {
            **verification.evaluation_of(partial),
            "measured": made["measured"],
            "tolerance": evaluation.LOGIT_TOLERANCE,
        },
        "performance": verification.performance_of(partial),
    }
    (partial / f"{spec.package_name}.md").write_text(card.render(contents), encoding="utf-8")
    contents["files"] = {
        file.relative_to(partial).as_posix(): asdict(manifest.record(file))
        for file in sorted(partial.rglob("*")) if file.is_file()
    }  # fmt: skip
    (partial / manifest.NAME).write_bytes(manifest.seal(contents))
    return contents


def _put_in_place(partial: Path, target: Path, report: Callable[[str], None]) -> Path:
    """Verify the package in ``partial`` and let it take the place of ``target``."""
    failed = [check for check in verification.verify(partial).checks if not check.ok]
    if failed:
        raise HubpkgError("the package that was built does not verify: " + "; ".join(c.detail for c in failed))
    if target.exists():
        if _same(partial, target):
            report(f"package: {target} is up to date")
            return target
        replaced = target.with_name(f".{target.name}.replaced")
        target.rename(replaced)
        partial.rename(target)
        shutil.rmtree(replaced)
    else:
        partial.rename(target)
    report(f"package: {target} written and verified")
    return target


def _same(partial: Path, target: Path) -> bool:
    try:
        same = (partial / manifest.NAME).read_bytes() == (target / manifest.NAME).read_bytes()
    except OSError:
        return False
    return same and verification.verify(target).ok


def train(job: Job, out: Path) -> dict[str, Any]:
    """Train the model of ``job`` by its recipe, and put checkpoint and log in ``out``.

    Returns:
        What ``hubpkg train --json`` prints.

    Raises:
        HubpkgError: an input can't be used.
    """
    out.mkdir(parents=True, exist_ok=True)
    weights = _train(job)
    found = evaluation.evaluate(evaluation.read_predictions(_evaluate(job, weights) / "predictions.csv"))
    return {
        "checkpoint": _deliver(weights / "model.ckpt", out / f"{job.spec.package_name}.ckpt"),
        "epochs": job.spec.recipe["epochs"],
        "metrics": {"top1": found.top1.percent, "top5": found.top5.percent},
        "log": _deliver(weights / "training.jsonl", out / f"{job.spec.package_name}.training.jsonl"),
    }


def evaluate(job: Job, checkpoint: Path, out: Path) -> dict[str, Any]:
    """Evaluate the file ``checkpoint`` on the dataset of ``job``, and put the predictions in ``out``.

    Returns:
        What ``hubpkg evaluate --json`` prints.

    Raises:
        HubpkgError: an input can't be used.
    """
    run = _predict(job, checkpoint)
    out.mkdir(parents=True, exist_ok=True)
    target = out / f"{job.spec.package_name}.predictions.csv"
    partial = target.with_suffix(".partial")
    evaluation.write_predictions(partial, run.predictions)
    partial.replace(target)
    found = evaluation.evaluate(run.predictions)
    return {
        "metrics": {"top1": found.top1.percent, "top5": found.top5.percent},
        "samples": found.samples,
        "images_per_second": round(run.images_per_second, 3),
        "engine": "mindspore",
        "predictions": str(target),
    }


def _deliver(result: Path, target: Path) -> str:
    partial = target.with_suffix(".partial")
    shutil.copyfile(result, partial)
    partial.replace(target)
    return str(target)
