"""Timing samples and a list of parameters -> the figures of the card's performance table."""

import csv
import json
import math
import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hubpkg import documents
from hubpkg.errors import HubpkgError

TIMING = "evidence/timing.json"  # in a package, as the next
PARAMETERS = "evidence/parameters.csv"


OTHER_CPUS = 0.1  # of the machine's CPUs: what others may use of them before a measurement is noisy
LOAD = 1.0  # what the load average may be above what a measurement explains, where others' use of CPUs is not known
SPREAD = 1.25  # of samples: their 90th percentile over their median


@dataclass(frozen=True)
class Conditions:
    """What went on in the machine during a measurement; None is what the system does not tell.

    Attributes:
        cpus: logical CPUs of the machine.
        own_cpus: how many of them the measurement kept busy, on average.
        other_cpus: how many of them all else kept busy, other guests of a virtual machine's host included.
        load_before: load average over one minute, before; likewise after.
        throttled: how often the process was stopped because its share of CPU time was used up.
        overheated: how often a CPU was slowed down because it was hot.
    """

    cpus: int
    own_cpus: float
    other_cpus: float | None
    load_before: float | None
    load_after: float | None
    throttled: int | None
    overheated: int | None

    def noise(self) -> Iterator[str]:
        """What may have disturbed the measurement.

        It is noisy if other processes kept more than ``OTHER_CPUS`` of the machine's CPUs busy; or, where that is not
        known, if the load average after it is more than ``LOAD`` above the CPUs that it kept busy itself. The load
        average alone would not do: it lags by a minute, and so tells more of what ran before. It is noisy too if the
        process was throttled, or a CPU.
        """
        if self.other_cpus is not None:
            if self.other_cpus > OTHER_CPUS * self.cpus:
                yield f"other processes kept {self.other_cpus:.2f} of {self.cpus} CPUs busy"
        elif self.load_after is not None and self.load_after > self.own_cpus + LOAD:
            yield f"the load average was {self.load_after:.2f}, of which the run explains {self.own_cpus:.2f}"
        if self.throttled:
            yield f"the process was throttled in {self.throttled} periods"
        if self.overheated:
            yield f"CPUs were slowed down by heat {self.overheated} times"


@dataclass(frozen=True)
class Timing:
    """How long one kind of call took, a training step or the inference of a batch.

    Attributes:
        engine: what ran the network: ``mindspore`` or ``onnxruntime``.
        devices: how many processes were timed at once, each with a device and batches of its own.
        batch_size: images a call and device.
        image_size: their height and width in pixels; None where they are no images.
        jit_level: MindSpore's, O0, O1 or O2.
        precision: of the network's arithmetic: float32, float16 or bfloat16.
        compile_seconds: wall time of the first call, less the median of ``ms``.
        warmup: calls before the first sample, that first one included.
        ms: wall time of each call after these, in milliseconds.
        conditions: what went on in the machine meanwhile.
    """

    engine: str
    devices: int
    batch_size: int
    image_size: int | None
    jit_level: str
    precision: str
    compile_seconds: float
    warmup: int
    ms: Sequence[float]
    conditions: Conditions

    @property
    def images_per_second(self) -> float:
        """Devices x batch size / the median of ``ms``."""
        return self.devices * self.batch_size / statistics.median(self.ms) * 1e3

    def noise(self) -> Iterator[str]:
        """What makes the samples noisy: :meth:`Conditions.noise`, or a 90th percentile above ``SPREAD`` medians."""
        yield from self.conditions.noise()
        spread = percentile(self.ms, 90) / statistics.median(self.ms)
        if spread > SPREAD:
            yield f"the 90th percentile is {spread:.2f} medians"


@dataclass(frozen=True)
class Timings:
    """What was timed of a network: training, if it was, and inference, each timing of a batch size or image size."""

    training: Timing | None
    inference: Sequence[Timing]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a network; ``trainable`` is false for the running statistics of a normalisation."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool


@dataclass(frozen=True)
class Throughput:
    """How many images a second inference makes in batches of ``batch_size``: devices x batch size / median time."""

    batch_size: int
    batches: int
    images_per_second: float


@dataclass(frozen=True)
class Performance:
    """The figures of the performance table.

    Attributes:
        parameters_m: trainable parameters, in millions.
        batch_size: of a training step; jit_level, precision and compile_seconds are training's too.
        ms_per_step: median wall time of a training step.
        images_per_second: devices x batch size / ms_per_step.
        engine: what inference ran on, in ``inference_precision``.
        latency_p50_ms: median wall time of one image; likewise p90 and p99 (nearest rank).
        throughput: of inference, one entry a batch size.
        noise: what makes the figures less sure, as :meth:`Timing.noise` defines it; empty if nothing was found.
    """

    parameters_m: float
    devices: int
    batch_size: int
    image_size: int | None
    jit_level: str
    precision: str
    compile_seconds: float
    steps: int
    ms_per_step: float
    images_per_second: float
    engine: str
    inference_precision: str
    latency_samples: int
    latency_p50_ms: float
    latency_p90_ms: float
    latency_p99_ms: float
    throughput: list[Throughput]
    noise: list[str]

    def as_json(self) -> dict[str, Any]:
        """The figures as the manifest holds them; inputs that are no images have no size in pixels."""
        return asdict(self, dict_factory=_without_size)


def measure(timings: Timings, parameters: Sequence[Parameter]) -> Performance:
    """The figures that the samples show, rounded to three decimals (parameters to a hundred).

    Raises:
        HubpkgError: training or single images were not timed.
    """
    training, latency = timings.training, next((t for t in timings.inference if t.batch_size == 1), None)
    if training is None or latency is None:
        missing = "training steps" if training is None else "the inference of single images"
        raise HubpkgError(f"expected timing samples of {missing}, found none; measure again")
    named = [("training", training), *((f"inference x{t.batch_size}", t) for t in timings.inference)]
    trainable = sum(math.prod(parameter.shape) for parameter in parameters if parameter.trainable)
    return Performance(
        parameters_m=round(trainable / 1e6, 4),
        devices=training.devices,
        batch_size=training.batch_size,
        image_size=training.image_size,
        jit_level=training.jit_level,
        precision=training.precision,
        compile_seconds=round(training.compile_seconds, 3),
        steps=len(training.ms),
        ms_per_step=round(statistics.median(training.ms), 3),
        images_per_second=round(training.images_per_second, 3),
        engine=latency.engine,
        inference_precision=latency.precision,
        latency_samples=len(latency.ms),
        latency_p50_ms=round(percentile(latency.ms, 50), 3),
        latency_p90_ms=round(percentile(latency.ms, 90), 3),
        latency_p99_ms=round(percentile(latency.ms, 99), 3),
        throughput=[
            Throughput(timing.batch_size, len(timing.ms), round(timing.images_per_second, 3))
            for timing in timings.inference
        ],
        noise=[f"{what}: {', '.join(reasons)}" for what, timing in named if (reasons := list(timing.noise()))],
    )


def exponent(costs: Mapping[int, float]) -> float:
    """The power of size that cost grows with: the slope of a straight line through (log size, log cost).

    Args:
        costs: the cost of each of at least two sizes.
    """
    sizes, values = [math.log(size) for size in costs], [math.log(cost) for cost in costs.values()]
    return statistics.linear_regression(sizes, values).slope


def percentile(samples: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest sample that ``percent`` of the samples do not exceed."""
    return sorted(samples)[max(0, math.ceil(len(samples) * percent / 100) - 1)]


def write_timings(path: Path, timings: Timings) -> None:
    """Write the samples as JSON."""
    data = {key: value for key, value in asdict(timings, dict_factory=_without_size).items() if value is not None}
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def _without_size(fields: list[tuple[str, Any]]) -> dict[str, Any]:
    return {key: value for key, value in fields if key != "image_size" or value is not None}


def read_timings(path: Path) -> Timings:
    """Read what :func:`write_timings` wrote.

    Raises:
        HubpkgError: the file is not of that form; names each key that is not.
    """
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise HubpkgError(f"{path}: expected JSON, found: {error}") from None
    faults = documents.faults_of(data, "timing")
    if faults:
        raise HubpkgError(f"{path}: " + "; ".join(message for _, message in faults))
    training = timing_of(data["training"]) if "training" in data else None
    return Timings(training, [timing_of(timing) for timing in data["inference"]])


def timing_of(data: Mapping[str, Any]) -> Timing:
    """The timing that ``data`` hold as JSON values."""
    return Timing(**{"image_size": None, **data, "conditions": Conditions(**data["conditions"])})


_HEADER = ["name", "shape", "dtype", "trainable"]
_LARGEST = 2**53  # values of one parameter


def write_parameters(path: Path, parameters: Sequence[Parameter]) -> None:
    """Write ``parameters`` as CSV, shapes as ``64x3x3x3``."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(_HEADER)
        for p in parameters:
            writer.writerow([p.name, "x".join(map(str, p.shape)), p.dtype, "yes" if p.trainable else "no"])


def read_parameters(path: Path) -> list[Parameter]:
    """Read what :func:`write_parameters` wrote.

    Raises:
        HubpkgError: the file is not of that form; names the line.
    """
    parameters: list[Parameter] = []
    try:
        with path.open(encoding="utf-8", newline="") as file:
            reader = csv.reader(file, strict=True)
            if (header := next(reader, [])) != _HEADER:
                raise HubpkgError(f"{path}:1: expected the header {','.join(_HEADER)}, found {','.join(header)}")
            for row in reader:
                try:
                    name, shape, dtype, trainable = row
                    sizes = tuple(int(size) for size in shape.split("x")) if shape else ()
                    if min(sizes, default=1) < 1 or math.prod(sizes) > _LARGEST:
                        raise ValueError  # noqa: TRY301 - as int() does
                    parameters.append(Parameter(name, sizes, dtype, {"yes": True, "no": False}[trainable]))
                except (ValueError, KeyError):
                    raise HubpkgError(
                        f"{path}:{reader.line_num}: expected a name, a shape such as 64x3x3x3, a dtype "
                        f"and yes or no, found {','.join(row)[:80]!r}"
                    ) from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise HubpkgError(f"{path}: expected CSV in UTF-8, found: {error}") from None
    return parameters
