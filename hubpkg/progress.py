"""Progress bars, shown on a terminal only."""

import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")
_QUIET_SECONDS = 60.0  # without a line, where there is no terminal


def track(items: Iterable[T], label: str, total: int) -> Iterator[T]:
    """Yield ``items`` while a bar on stderr shows how many of ``total`` are done."""
    if not sys.stderr.isatty():
        yield from items
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = [
        TextColumn("{task.description:12}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    ]
    with _bar(columns) as bar:
        yield from bar.track(items, total=total, description=label)


@contextmanager
def training(
    total: int, done: int, report: Callable[[str], None], unit: str = "img/s"
) -> Iterator[Callable[..., None]]:
    """Show a training run: on a terminal after each step, elsewhere in a line an epoch, and each minute.

    Gives what to call after each step with its entry of the log, the number of epochs, and, after an epoch, what
    validation found.
    """
    told = time.monotonic()

    def line(entry: Mapping[str, Any], epochs: int, validated: Mapping[str, Mapping[str, float]] | None) -> None:
        nonlocal told
        if validated or (not sys.stderr.isatty() and time.monotonic() - told >= _QUIET_SECONDS):
            told = time.monotonic()
            found = [_quality(kind, value) for kind, value in (validated or {}).items()]
            place = f"epoch {entry['epoch']} of {epochs}, step {entry['step']} of {total}"
            report(f"train: {place}: {'; '.join([_state(entry, unit), ', '.join(found)]).removesuffix('; ')}")

    if not sys.stderr.isatty():
        yield line
        return
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

    state = TextColumn("{task.fields[state]}", markup=False)
    columns = [TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), state, TimeRemainingColumn()]
    with _bar(columns) as bar:
        task = bar.add_task("train", total=total, completed=done, state="compiling")

        def show(entry: Mapping[str, Any], epochs: int, validated: Mapping[str, Mapping[str, float]] | None) -> None:
            text = f"epoch {entry['epoch']}/{epochs}, {_state(entry, unit)}"
            bar.update(task, completed=entry["step"], state=text)
            line(entry, epochs, validated)

        yield show


def _quality(kind: str, validated: Mapping[str, float]) -> str:
    name, value = next(iter(validated.items()))
    return f"top-1 of the {kind} {value:.2f} %" if name == "top1" else f"{name} of the {kind} {value:.4g}"


def _state(entry: Mapping[str, Any], unit: str) -> str:
    return f"loss {entry['loss']:.4f}, lr {entry['lr']:.3g}, {entry['images_per_second']:.1f} {unit}"


@contextmanager
def transfer(label: str, done: int, total: int | None) -> Iterator[Callable[[int], None]]:
    """Show how many of ``total`` bytes were transferred, ``done`` before, at what rate, and how long it will take.

    Gives what to call with the number of bytes that came.
    """
    if not sys.stderr.isatty():
        yield lambda _: None
        return
    from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = [
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    ]
    with _bar(columns) as bar:
        task = bar.add_task(label, total=total, completed=done)
        yield lambda size: bar.advance(task, size)


def _bar(columns: list[Any]) -> Any:
    from rich.console import Console
    from rich.progress import Progress

    return Progress(*columns, console=Console(stderr=True))
