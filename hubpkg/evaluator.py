"""Evaluate a checkpoint on a job's test images, in this process or in many."""

import json
import shutil
from pathlib import Path
from typing import Any

from hubpkg import cache, checkpoint, evaluation, manifest, predictions, replacement
from hubpkg.errors import HubpkgError
from hubpkg.job import Job, check_writable


def evaluate(job: Job, weights: Path, out: Path) -> dict[str, Any] | None:
    """Evaluate the checkpoint file ``weights`` on the dataset of ``job``; put predictions and figures in ``out``.

    Returns:
        What ``hubpkg evaluate --json`` prints; None in a process whose group has another one to write it.

    Raises:
        HubpkgError: an input can't be used.
    """
    from hubpkg.runtime import engines, workers

    if not weights.is_file() or weights.suffix != ".ckpt":
        what = f"no file {weights}" if not weights.is_file() else weights
        raise HubpkgError(f"--checkpoint: expected a checkpoint file *.ckpt, found {what}")
    engines.choose(job.engine, job.device)  # says, before the work begins, what is missing
    job.test  # noqa: B018 - likewise
    check_writable(out)
    name = f"{job.spec.package_name}.predictions.csv"
    run = measure(job, weights, out / name)
    if not workers.group().is_first:
        return None
    found = evaluation.evaluate(predictions.read(out / name)).as_json()
    own = job.extension.measure(predictions.read(out / name), job.spec.recipe)
    journal = run.pop("journal")
    result = {
        "metrics": evaluation.values({**found, "metrics": own}),
        **({"own_metrics": own} if own else {}),
        "samples": found["samples"],
        "close": found["close"],
        "evaluated": job.test.images.what,
        "damaged": len(job.test.damaged),
        **run,
        "predictions": str(out / name),
        **({"journal": journal} if workers.is_launched() else {}),  # the launcher removes it
    }
    figures = out / f"{job.spec.package_name}.evaluation.json"
    replacement.write(figures, f"{json.dumps(result, indent=2)}\n".encode())
    return result


def measure(job: Job, weights: Path, target: Path) -> dict[str, Any]:
    """Write what the network with ``weights`` says of each test image to ``target``; give engine, rate and workers.

    In a group of processes the first one writes.
    """
    from hubpkg.runtime import workers

    if workers.is_worker():
        return _measure_here(job, weights, target)
    running = manifest.digest({"weights": manifest.record(weights).sha256, "data": job.test.sha256})
    name = f"evaluation-{running[:16]}"
    with cache.locked(cache.lock_of(name), job.report):  # two would do the same work
        if job.workers == 1:
            return _measure_here(job, weights, target)
        return _measure_in_workers(job, weights, target, cache.folder() / "evaluation" / name)


def _measure_here(job: Job, weights: Path, target: Path) -> dict[str, Any]:
    from hubpkg.runtime import workers

    run = _predict(job, weights)
    if workers.group().is_first:
        with replacement.of(target) as partial:
            predictions.write(partial, run.predictions)
        if not workers.is_launched():  # else the launcher has still to put the predictions in place
            run.journal.remove()
    return {
        "journal": run.journal.key,
        "images_per_second": round(run.images_per_second, 3) if run.images_per_second else None,
        "resumed": run.resumed,
        "workers": workers.group().size,
        "engine": run.engine["name"],
        "engine_facts": run.engine,
    }


def _measure_in_workers(job: Job, weights: Path, target: Path, out: Path) -> dict[str, Any]:
    """Measure in processes under msrun, which leave their results in the folder ``out`` of the cache."""
    from hubpkg.runtime import workers

    shutil.rmtree(out, ignore_errors=True)  # of a run that was killed
    try:
        with cache.writing():
            out.mkdir(parents=True)
        given = [*job.worker_arguments(out), f"--checkpoint={weights.absolute()}"]
        options = {"--engine": job.engine, "--batch-size": job.batch_size}
        given += [f"{key}={value}" for key, value in options.items() if value is not None]
        workers.launch(job.workers, job.msrun, ["evaluate", *given], job.report)
        cache.deliver(out / f"{job.spec.package_name}.predictions.csv", target)
        result = json.loads((out / f"{job.spec.package_name}.evaluation.json").read_text(encoding="utf-8"))
    finally:
        shutil.rmtree(out, ignore_errors=True)
    predictions.Journal(result["journal"]).remove()
    keys = ("journal", "images_per_second", "resumed", "workers", "engine", "engine_facts")
    return {key: result[key] for key in keys}


def _predict(job: Job, weights: Path) -> Any:
    """What the network with ``weights`` says of the test images."""
    from hubpkg.runtime import engines, inference, workers

    def network() -> Any:
        made = job.network()
        checkpoint.restore(made, weights)
        return made

    job.mindspore  # noqa: B018 - set up before the group is joined
    workers.group()
    identity = {**job.base, "checkpoint": manifest.record(weights).sha256}
    task = engines.Task(network, identity, job.test, job.spec.recipe, job.batch_size, job.report)
    engine = engines.prepare(job.engine, task, job.device)
    return inference.predict(task, engine)
