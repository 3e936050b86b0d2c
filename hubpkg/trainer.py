"""Train a job's model by its recipe, in this process or in many, and go on where an earlier run was stopped."""

import json
import shlex
import shutil
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hubpkg import cache, checkpoint, manifest, progress, recipe, stages, trained
from hubpkg.errors import HubpkgError
from hubpkg.job import Job, check_writable

_INPUTS = "inputs.json"  # what a run's weights depend on, in its folder


@dataclass(frozen=True)
class Start:
    """Weights to start from, in place of new ones.

    Attributes:
        given: the package's folder, or the checkpoint file.
        path: the checkpoint file.
        sha256: its digest.
    """

    given: Path
    path: Path
    sha256: str

    def as_json(self) -> dict[str, str]:
        """What the manifest says of it."""
        return {"file": self.path.name, "sha256": self.sha256}


def find_start(given: Path) -> Start:
    """The weights in a package's folder, as its manifest says them, or in a checkpoint file.

    Raises:
        HubpkgError: there are none.
    """
    if given.is_dir():
        contents = manifest.read(given / manifest.NAME)
        return Start(given, given / contents["checkpoint"]["file"], contents["checkpoint"]["sha256"])
    if not given.is_file() or given.suffix != ".ckpt":
        what = f"no file {given}" if not given.is_file() else given
        raise HubpkgError(f"--from: expected a package's folder or a checkpoint file *.ckpt, found {what}")
    return Start(given, given, manifest.record(given).sha256)


@dataclass(frozen=True)
class Plan:
    """How a job is trained.

    Attributes:
        start: the weights to start from; None for new ones.
        resume: whether to go on where an earlier run of the same training was stopped: True also says if there is none,
            None does not, and False refuses to begin anew while there is one.
    """

    start: Start | None
    resume: bool | None


def train(job: Job, plan: Plan, out: Path) -> dict[str, Any] | None:
    """Train the model of ``job``, and put checkpoints, log, curves and the run's facts in ``out``.

    Returns:
        What ``hubpkg train --json`` prints; None in a process whose group has another one to write it.

    Raises:
        HubpkgError: an input can't be used, or training failed; an earlier run's snapshots are kept.
    """
    from hubpkg.runtime import workers

    _check(job)
    check_writable(out)
    if not workers.is_worker():
        return _delivered(job, weights(job, plan), out)
    folder = _run_folder(job, plan)
    job.mindspore  # noqa: B018 - set up before the group is joined
    writes = workers.group().is_first and not workers.is_launched()  # else whoever launched it has the lock
    with cache.locked(_lock_of(folder), job.report) if writes else nullcontext():
        if not _train_here(job, plan, folder):
            return None
        result = _delivered(job, folder, out)
        if writes:
            shutil.rmtree(folder)
    return result


def _delivered(job: Job, folder: Path, out: Path) -> dict[str, Any]:
    """Copies in ``out`` of the results in ``folder``, as ``hubpkg train --json`` tells them."""
    stem = job.spec.package_name
    record = json.loads((folder / trained.RECORD).read_text(encoding="utf-8"))
    delivered = {
        name: str(cache.deliver(folder / name, out / f"{stem}.{name.removeprefix('model.')}"))
        for name in trained.RESULTS
    }
    return {
        "checkpoint": delivered[trained.MODEL],
        "epochs": job.spec.recipe["epochs"],
        "metrics": record["metrics"],
        "log": delivered[trained.LOG],
        "best": {**record["best"], "checkpoint": delivered[trained.BEST]},
        "curves": delivered[trained.CURVES],
        "record": delivered[trained.RECORD],
    }


def weights(job: Job, plan: Plan) -> Path:
    """The folder with what training the model of ``job`` leaves, now or by an earlier run with the same inputs.

    Raises:
        HubpkgError: as :func:`train`.
    """

    def produce(folder: Path) -> None:
        run = _run_folder(job, plan)
        with cache.locked(_lock_of(run), job.report):
            (_train_in_workers if job.workers > 1 else _train_here)(job, plan, run)
        for name in trained.RESULTS:
            shutil.copyfile(run / name, folder / name)

    _check(job)
    folder = stages.run("train", _inputs(job, plan), produce, job.report)
    shutil.rmtree(_run_folder(job, plan), ignore_errors=True)
    return folder


def _check(job: Job) -> None:
    """Say, before the work begins, what is missing or does not fit."""
    from hubpkg.runtime import training

    job.inputs  # noqa: B018 - says where the data are missing
    training.check(job.spec.recipe, job.train.images, job.spec.recipe["devices"])


def _inputs(job: Job, plan: Plan) -> Mapping[str, Any]:
    """Everything that the weights depend on."""
    data = {**job.inputs["data"], "train": job.train.as_json()}
    return {**job.inputs, "data": data, "start": plan.start.as_json() if plan.start else None}


def _run_folder(job: Job, plan: Plan) -> Path:
    """Where a run keeps its snapshots and its log until it is finished."""
    return cache.folder() / "training" / manifest.digest(_inputs(job, plan))[:16]


def _lock_of(run: Path) -> Path:
    return cache.lock_of(f"training-{run.name}")


def _train_here(job: Job, plan: Plan, run: Path) -> bool:
    """Train in this process; whether it is the one that has written the results into the folder ``run``."""
    from hubpkg.runtime import environment, plot, training, training_log, workers

    plot.load()  # says, before the work begins, that it is not installed
    mindspore = job.mindspore
    if workers.group().is_first:
        if not workers.is_launched():
            _begin(job, plan, run)
        with cache.writing():
            run.mkdir(parents=True, exist_ok=True)
            (run / _INPUTS).write_text(json.dumps(_inputs(job, plan)), encoding="utf-8")
    if job.spec.recipe.get("amp_level", "O0") != "O0" and mindspore.get_context("device_target") == "CPU":
        # XCiT-T12/16 at 224x224, 16 images a step: 15.3 s and 12.9 GB in float16, 3.6 s and 4.8 GB in float32.
        job.report(
            "train: MindSpore's float16 takes more time and memory on the CPU; in float32: --set amp_level=O0 "
            "--set loss_scale=null"
        )
    mindspore.set_seed(job.spec.recipe["seed"])
    network = job.network()
    if plan.start is not None:
        parameters = checkpoint.load_verified(plan.start.path, plan.start.sha256)
        outputs = recipe.outputs(job.spec.recipe)
        job.report(f"train: {checkpoint.adapt(network, parameters, plan.start.path, outputs)}")
    task = training.Task(network, job.network(), job.spec.recipe, job.train.images, job.test.images, job.report)
    result = training.train(task, run)
    if result is None:
        return False
    found = {
        "recipe": dict(job.spec.recipe),
        "start": plan.start.as_json() if plan.start else None,
        "data": _inputs(job, plan)["data"],
        "environment": environment.capture(),
        "commit": environment.commit(),
        "threads": workers.threads(),
        **asdict(result),
    }
    (run / trained.RECORD).write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    title = f"{job.spec.name} on {job.spec.dataset}"
    plot.draw_training(run / trained.CURVES, list(training_log.read(run / trained.LOG)), title)
    return True


def _begin(job: Job, plan: Plan, run: Path) -> None:
    """Say what there is to say of the recipe, and of an earlier run in the folder ``run``.

    Raises:
        HubpkgError: there is one that would be lost, or there are others only, which can't be gone on with.
    """
    from hubpkg.runtime import snapshot

    kept = snapshot.newest(run)
    if kept is not None and plan.resume is False:
        raise HubpkgError(
            f"expected no unfinished run of the same training, found one, stopped after step {kept.batches}; go on "
            f"with --resume, or begin anew after: rm -r {shlex.quote(str(run))}"
        )
    if kept is None and plan.resume:
        others = [f"{folder}, with another {', '.join(keys)}" for folder, keys in _others(_inputs(job, plan))]
        if others:
            raise HubpkgError(
                f"--resume: expected an unfinished run of the same training, found {'; '.join(others)}; begin anew "
                "without --resume, or go on with what that run had"
            )
        job.report("train: no earlier run of the same training was stopped; begins anew")
    for note in job.spec.notes:
        job.report(note)


def _others(inputs: Mapping[str, Any]) -> Iterator[tuple[Path, list[str]]]:
    """The unfinished runs of the same model on the same dataset, each with the keys of its ``inputs`` that differ."""
    from hubpkg.runtime import snapshot

    def flat(found: Mapping[str, Any]) -> dict[str, Any]:
        parts = {key: value if isinstance(value, dict) else {"": value} for key, value in found.items()}
        return {f"{key} {name}".strip(): value for key, part in parts.items() for name, value in part.items()}

    now = flat(inputs)
    for file in sorted((cache.folder() / "training").glob(f"*/{_INPUTS}")):
        was = flat(json.loads(file.read_text(encoding="utf-8")))
        same = all(was[key] == now[key] for key in ("recipe model", "recipe dataset"))
        if same and snapshot.newest(file.parent):
            yield file.parent, [key for key in sorted(was.keys() | now.keys()) if was.get(key) != now.get(key)]


def _train_in_workers(job: Job, plan: Plan, run: Path) -> None:
    """Train in processes under msrun, which leave their results in the folder ``run``."""
    from hubpkg.runtime import snapshot, training, training_log, workers

    _begin(job, plan, run)
    total = training.total_steps(len(job.train.images), job.spec.recipe, job.workers)
    with cache.writing():
        run.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=run, prefix="workers-") as out:
        given = [*job.worker_arguments(Path(out)), "--resume"]  # what would be lost without it was looked at
        given += [f"--from={plan.start.given.absolute()}"] if plan.start else []
        try:
            with progress.training(total, 0, job.report) as show:

                def watch() -> None:
                    if sys.stderr.isatty() and (entry := training_log.last_entry(run / trained.LOG)):
                        show(entry, job.spec.recipe["epochs"], None)

                workers.launch(job.workers, job.msrun, ["train", *given], job.report, watch)
        except BaseException:
            kept = snapshot.newest(run)
            job.report(f"train: stopped; {f'step {kept.batches}' if kept else 'nothing'} is kept to go on from")
            raise
