"""Progress bars, shown on a terminal only."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

T = TypeVar("T")


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
