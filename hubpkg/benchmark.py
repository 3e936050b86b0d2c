"""``hubpkg benchmark``: time a network by its recipe, in another setting, or over a range of sizes."""

import csv
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hubpkg import performance, replacement
from hubpkg import recipe as recipes
from hubpkg.errors import HubpkgError
from hubpkg.job import Job
from hubpkg.performance import Timing, Timings

SWEEPS = {"batch-size": "batch_size", "image-size": "image_size"}  # what can be swept, as options and recipes name it
_LOWEST = 2  # how many points a line goes through


@dataclass(frozen=True)
class Setting:
    """What takes the place of the recipe's values; None leaves them as they are.

    Attributes:
        image_size: height and width in pixels.
        batch_size: of training steps, and the largest one of inference.
        jit_level: MindSpore's, O0, O1 or O2.
        precision: float32, float16 or bfloat16; None is float32 in inference, and the recipe's in training.
        engine: what runs inference, ``mindspore`` or ``onnxruntime``; training is MindSpore's.
    """

    image_size: int | None = None
    batch_size: int | None = None
    jit_level: str | None = None
    precision: str | None = None
    engine: str = "mindspore"

    def applied_to(self, job: Job) -> Job:
        """The job with these values in its recipe."""
        keys = ("image_size", "batch_size", "jit_level")
        given = {key: value for key in keys if (value := getattr(self, key)) is not None}
        if "image_size" in given:
            _expect_images(job, "--image-size")
        return _with(job, given)


def _expect_images(job: Job, option: str) -> None:
    if not recipes.of_images(job.spec.recipe):
        raise HubpkgError(f"{option}: expected a model of images, found one of other inputs, {job.spec.name}")


def _with(job: Job, values: Mapping[str, Any]) -> Job:
    """The job with ``values`` in its recipe."""
    return replace(job, spec=replace(job.spec, recipe={**job.spec.recipe, **values}))


def benchmark(job: Job, setting: Setting, out: Path) -> dict[str, Any] | None:
    """Time inference and training of the model of ``job``, with new weights, on random inputs.

    Args:
        job: the model, the dataset whose recipe it is timed by, and the device; the dataset's files are not read.
        setting: what differs from the recipe.
        out: the folder for the samples, which are written after each measurement.

    Returns:
        What ``hubpkg benchmark --json`` prints; None in one of several processes that is not the one to report.

    Raises:
        HubpkgError: the network or the device does not take the setting, or memory is short.
    """
    from hubpkg.runtime import timing

    job = setting.applied_to(job)
    recipe = job.spec.recipe
    network = _network(job, setting)
    kept = _Kept(job, out / f"{job.spec.package_name}.timing.json")
    for size in timing.throughput_sizes(recipe):
        kept.add(_time_inference(job, network, size, setting))
    steps = timing.time_training(_network(job, setting), recipe, setting.precision)
    kept.add_training(steps)
    if not kept.reports:
        return None
    figures = performance.measure(kept.timings, timing.parameters(network))
    named = _named(job, [*kept.timings.inference, steps])
    return _written(out, job, None, {**named, "performance": figures.as_json(), "timing": str(kept.path)})


def sweep(job: Job, setting: Setting, key: str, values: Sequence[int], out: Path) -> dict[str, Any] | None:
    """Time inference of the model of ``job`` at each of ``values``, and draw it.

    Args:
        job: the model, the dataset whose recipe it is timed by, and the device; the dataset's files are not read.
        setting: what differs from the recipe. Without a batch size, image sizes are swept with single images.
        key: what to sweep, one of ``SWEEPS``.
        values: batch sizes, or image sizes in pixels, rising.
        out: the folder for samples, table and plot, which are kept of what was measured when the sweep is stopped.

    Returns:
        What ``hubpkg benchmark --sweep --json`` prints; None in one of several processes that is not to report.

    Raises:
        HubpkgError: the network or the device does not take a value, or memory is short.
    """
    from hubpkg.runtime import plot

    if key == "image-size":
        _expect_images(job, f"--sweep {key}")
    plot.load()  # says, before the work begins, that it is not installed
    setting = replace(setting, batch_size=setting.batch_size or 1)
    base = setting.applied_to(job)
    jobs = [_with(base, {SWEEPS[key]: value}) for value in values]
    networks = [_network(jobs[0], setting)]
    if key == "image-size":  # a network may be made for one size; and refusals come before the work too
        networks += [_network(other, setting) for other in jobs[1:]]
    stem = f"{job.spec.package_name}.{key}"
    kept = _Kept(job, out / f"{stem}.timing.json")
    try:
        for index, swept in enumerate(jobs):
            network = networks[min(index, len(networks) - 1)]
            kept.add(_time_inference(swept, network, swept.spec.recipe["batch_size"], setting))
    finally:
        points = [_point(timed, _patch_size(networks[0])) for timed in kept.timings.inference]
        if points and kept.reports:
            _write_table(out / f"{stem}.csv", points)
            plot.draw(out / f"{stem}.svg", key, points, _title(job, kept.timings.inference[0]))
    if not kept.reports:
        return None
    fitted = {}
    if key == "image-size" and len(points) >= _LOWEST:
        costs = {point["image_size"] ** 2: point["ms_per_image"] for point in points}
        fitted = {"exponent": round(performance.exponent(costs), 3)}
    files = {"csv": str(out / f"{stem}.csv"), "plot": str(out / f"{stem}.svg"), "timing": str(kept.path)}
    result = {**_named(job, kept.timings.inference), "sweep": key, "points": points, **fitted, **files}
    return _written(out, job, key, result)


def in_workers(job: Job, key: str | None, out: Path, arguments: Sequence[str]) -> dict[str, Any]:
    """What ``hubpkg`` with ``arguments``, those of a benchmark or of a sweep of ``key``, finds in the job's workers."""
    from hubpkg.runtime import workers

    workers.launch(job.workers, job.msrun, [*arguments, "--workers=1"], job.report)
    result: dict[str, Any] = json.loads(_result_of(out, job, key).read_text(encoding="utf-8"))
    return result


def _result_of(out: Path, job: Job, key: str | None) -> Path:
    return out / f"{job.spec.package_name}.{key or 'benchmark'}.json"


def _written(out: Path, job: Job, key: str | None, result: dict[str, Any]) -> dict[str, Any]:
    _result_of(out, job, key).write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


class _Kept:
    """The timings so far, which are written whenever one is added."""

    def __init__(self, job: Job, path: Path) -> None:
        from hubpkg.runtime import workers

        self.job = job
        self.path = path
        self.reports = workers.group().is_first
        self.timings = Timings(None, [])

    def add(self, timing: Timing) -> None:
        self._keep(replace(self.timings, inference=[*self.timings.inference, timing]), "inference", timing)

    def add_training(self, timing: Timing) -> None:
        self._keep(replace(self.timings, training=timing), "training", timing)

    def _keep(self, timings: Timings, what: str, timing: Timing) -> None:
        self.timings = timings
        if not self.reports:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with replacement.of(self.path) as partial:
            performance.write_timings(partial, timings)
        at, unit = (f" at {timing.image_size}x{timing.image_size}", "img/s") if timing.image_size else ("", "samples/s")
        self.job.report(
            f"benchmark: {what} x{timing.batch_size}{at}: "
            f"{statistics.median(timing.ms):.2f} ms, {timing.images_per_second:.1f} {unit}, "
            f"{len(timing.ms)} samples, kept in {self.path}"
        )


def _network(job: Job, setting: Setting) -> Any:
    from hubpkg.runtime import timing

    job.mindspore.set_seed(job.spec.recipe["seed"])
    network = job.network()
    if setting.precision is not None:
        timing.set_precision(network, setting.precision, job.spec.recipe)
    return network


def _time_inference(job: Job, network: Any, size: int, setting: Setting) -> Timing:
    from hubpkg.runtime import engines, timing

    identity = {**job.base, "weights": timing.digest(network), "precision": setting.precision}
    task = engines.Task(
        lambda: network, identity, timing.random_split(job.spec.recipe), job.spec.recipe, size, job.report
    )
    engine = engines.prepare(setting.engine, task, job.device)
    precision = setting.precision or "float32"
    (timed,) = timing.time_inference(engine, job.spec.recipe, [size], engine=setting.engine, precision=precision)
    return timed


def _named(job: Job, timings: Sequence[Timing]) -> dict[str, Any]:
    """What was timed, in which environment, and what the machine did from the first of ``timings`` to the last."""
    from hubpkg.runtime import environment

    found = [timing.conditions for timing in timings]
    machine = {
        "load_before": found[0].load_before,
        "load_after": found[-1].load_after,
        "throttled": _total([conditions.throttled for conditions in found]),
        "overheated": _total([conditions.overheated for conditions in found]),
    }
    named = {"model": job.spec.name, "dataset": job.spec.dataset}
    return {**named, "environment": environment.capture(), "machine": machine}


def _total(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _patch_size(network: Any) -> int | None:
    """The side of the patch that makes a token, of a network that says it."""
    found = getattr(network, "patch_size", None)
    return found if isinstance(found, int) and found > 0 else None


def _point(timing: Timing, patch_size: int | None) -> dict[str, Any]:
    p50, p90, p99 = (round(performance.percentile(timing.ms, percent), 3) for percent in (50, 90, 99))
    return {
        "batch_size": timing.batch_size,
        "image_size": timing.image_size,
        "tokens": (timing.image_size // patch_size) ** 2 if patch_size and timing.image_size else None,
        "samples": len(timing.ms),
        "p50_ms": p50,
        "p90_ms": p90,
        "p99_ms": p99,
        "ms_per_image": round(1e3 / timing.images_per_second, 3),
        "images_per_second": round(timing.images_per_second, 3),
        "noise": list(timing.noise()),
    }


def _write_table(path: Path, points: Sequence[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(points[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows({**point, "noise": "; ".join(point["noise"])} for point in points)


def _title(job: Job, timing: Timing) -> str:
    return f"{job.spec.name} on {timing.engine}, {timing.precision}"
