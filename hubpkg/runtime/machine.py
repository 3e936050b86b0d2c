"""What goes on in the machine while something is timed, and how many processes are timed at once."""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from hubpkg.performance import Conditions

N = TypeVar("N", int, float)

_IDLE = (3, 4)  # of /proc/stat's times: idle, and waiting for a disk
_TIMES = 8  # of them that count each moment once; those of guests, which follow, are in the others


def devices() -> int:
    """How many processes of one run there are: those that msrun started, or 1."""
    return int(os.environ.get("MS_WORKER_NUM", "1")) if os.environ.get("MS_ROLE") == "MS_WORKER" else 1


@dataclass(frozen=True)
class Moment:
    """What the system's counters said at one moment; None where it has no such counter.

    Attributes:
        seconds: of a clock that runs evenly.
        own_seconds: CPU time of this process.
        all_seconds: CPU time of everything, other guests of a virtual machine's host included.
        load: load average over one minute.
        throttled: how often the process's control groups were stopped since their share of CPU time was used up.
        overheated: how often a CPU core was slowed down because it was hot.
    """

    seconds: float
    own_seconds: float
    all_seconds: float | None
    load: float | None
    throttled: int | None
    overheated: int | None


def look(root: Path = Path("/")) -> Moment:
    """The counters as they are now.

    Args:
        root: where the folders ``proc`` and ``sys`` are.
    """
    load = None
    with suppress(OSError):
        load = round(os.getloadavg()[0], 2)
    heat = (root / "sys/devices/system/cpu").glob("cpu[0-9]*/thermal_throttle/core_throttle_count")
    return Moment(
        seconds=time.perf_counter(),
        own_seconds=time.process_time(),
        all_seconds=_busy_seconds(root / "proc/stat"),
        load=load,
        throttled=_sum(_throttled(root)),
        overheated=_sum(int(file.read_text(encoding="ascii")) for file in heat),
    )


def between(before: Moment, after: Moment) -> Conditions:
    """What went on between two moments."""
    passed = after.seconds - before.seconds
    own = (after.own_seconds - before.own_seconds) / passed * devices()  # each process of a run does the same
    everything = _difference(before.all_seconds, after.all_seconds)
    return Conditions(
        cpus=os.cpu_count() or 1,
        own_cpus=round(own, 3),
        other_cpus=None if everything is None else round(max(0.0, everything / passed - own), 3),
        load_before=before.load,
        load_after=after.load,
        throttled=_difference(before.throttled, after.throttled),
        overheated=_difference(before.overheated, after.overheated),
    )


def _difference(before: N | None, after: N | None) -> N | None:
    return None if before is None or after is None else after - before


def _sum(counts: Iterator[int]) -> int | None:
    found = list(counts)
    return sum(found) if found else None


def _busy_seconds(stat: Path) -> float | None:
    try:
        ticks = [int(value) for value in stat.read_text(encoding="ascii").splitlines()[0].split()[1 : 1 + _TIMES]]
    except OSError:
        return None
    busy = sum(ticks) - sum(ticks[i] for i in _IDLE)
    return busy / os.sysconf("SC_CLK_TCK") if busy else None  # some sandboxes show zeros


def _throttled(root: Path) -> Iterator[int]:
    """``nr_throttled`` of the process's control groups: version 2's, and version 1's of the controller cpu."""
    try:
        groups = (root / "proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return
    for line in groups:
        _, controllers, name = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        # In a container the group may be mounted as the root.
        for folder in (root / "sys/fs/cgroup" / controllers / name.lstrip("/"), root / "sys/fs/cgroup" / controllers):
            with suppress(OSError):
                counts = dict(entry.split() for entry in (folder / "cpu.stat").read_text(encoding="ascii").splitlines())
                if "nr_throttled" in counts:
                    yield int(counts["nr_throttled"])
                    break
