"""Timing samples and a list of parameters -> the figures of the card's performance table."""

import csv
import json
import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hubpkg import documents
from hubpkg.errors import HubpkgError

TIMING = "evidence/timing.json"  # in a package, as the next
PARAMETERS = "evidence/parameters.csv"


@dataclass(frozen=True)
class TrainingTiming:
    """How long training took: ``step_ms`` holds every step after the first ``warmup_steps``, as wall time."""

    devices: int
    batch_size: int
    image_size: int
    jit_level: str
    compile_seconds: float
    warmup_steps: int
    step_ms: Sequence[float]


@dataclass(frozen=True)
class InferenceTiming:
    """How long inference took: single images, and batches of ``batch_size``, after warm-up, as wall time."""

    latency_ms: Sequence[float]
    batch_size: int
    batch_ms: Sequence[float]


@dataclass(frozen=True)
class Parameter:
    """One parameter of a network; ``trainable`` is false for the running statistics of a normalisation."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    trainable: bool


@dataclass(frozen=True)
class Performance:
    """The figures of the performance table.

    Attributes:
        parameters_m: trainable parameters, in millions.
        ms_per_step: median wall time of a training step.
        images_per_second: devices x batch size / ms_per_step.
        latency_p50_ms: median wall time of one image; likewise p90 and p99 (nearest rank).
        throughput: images a second in batches of ``throughput_batch_size``, from the median batch.
    """

    parameters_m: float
    devices: int
    batch_size: int
    image_size: int
    jit_level: str
    compile_seconds: float
    steps: int
    ms_per_step: float
    images_per_second: float
    latency_samples: int
    latency_p50_ms: float
    latency_p90_ms: float
    latency_p99_ms: float
    throughput_batch_size: int
    throughput_batches: int
    throughput: float

    def as_json(self) -> dict[str, Any]:
        """The figures as the manifest holds them."""
        return asdict(self)


def measure(training: TrainingTiming, inference: InferenceTiming, parameters: Sequence[Parameter]) -> Performance:
    """The figures that the samples show, rounded to three decimals (parameters to a hundred)."""
    step_ms = statistics.median(training.step_ms)
    batch_ms = statistics.median(inference.batch_ms)
    trainable = sum(math.prod(parameter.shape) for parameter in parameters if parameter.trainable)
    return Performance(
        parameters_m=round(trainable / 1e6, 4),
        devices=training.devices,
        batch_size=training.batch_size,
        image_size=training.image_size,
        jit_level=training.jit_level,
        compile_seconds=round(training.compile_seconds, 3),
        steps=len(training.step_ms),
        ms_per_step=round(step_ms, 3),
        images_per_second=round(training.devices * training.batch_size / step_ms * 1e3, 3),
        latency_samples=len(inference.latency_ms),
        latency_p50_ms=round(percentile(inference.latency_ms, 50), 3),
        latency_p90_ms=round(percentile(inference.latency_ms, 90), 3),
        latency_p99_ms=round(percentile(inference.latency_ms, 99), 3),
        throughput_batch_size=inference.batch_size,
        throughput_batches=len(inference.batch_ms),
        throughput=round(inference.batch_size / batch_ms * 1e3, 3),
    )


def percentile(samples: Sequence[float], percent: float) -> float:
    """The nearest-rank percentile: the smallest sample that ``percent`` of the samples do not exceed."""
    return sorted(samples)[max(0, math.ceil(len(samples) * percent / 100) - 1)]


def write_timing(path: Path, training: TrainingTiming, inference: InferenceTiming) -> None:
    """Write the samples as JSON."""
    data = {"training": asdict(training), "inference": asdict(inference)}
    path.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


def read_timing(path: Path) -> tuple[TrainingTiming, InferenceTiming]:
    """Read what :func:`write_timing` wrote.

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
    return TrainingTiming(**data["training"]), InferenceTiming(**data["inference"])


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
