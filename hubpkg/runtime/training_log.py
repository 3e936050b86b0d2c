"""The log of a training: a line of JSON for each start, step and validation, kept when the process is stopped."""

import io
import json
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

_TAIL = 4096  # bytes of a log in which its newest entry is


class Log:
    """The log of a run: JSON lines, of which those of what will be done again are cut off when it is opened."""

    def __init__(self, path: Path, done: int, validated_after: int, *, writes: bool) -> None:
        self.path, self._file = path, None
        if not writes:
            return
        places = {True: validated_after, False: done}
        kept = [line for line in read(path) if line["step"] <= places["validation" in line]]
        partial = path.with_suffix(".partial")
        partial.write_text("".join(f"{json.dumps(line)}\n" for line in [*kept, {"step": done, "started": True}]))
        partial.replace(path)
        self._file = path.open("a", encoding="utf-8")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def add(self, entry: Mapping[str, Any]) -> None:
        """Write a line."""
        if self._file is not None:
            self._file.write(f"{json.dumps(entry)}\n")
            self._file.flush()

    def milliseconds(self, images: int) -> list[list[float]]:
        """Those of the steps after each start that were of so many images."""
        sessions: list[list[float]] = []
        for line in read(self.path):
            if "started" in line:
                sessions.append([])
            elif line.get("images") == images:
                sessions[-1].append(line["ms"])
        return [session for session in sessions if session]


def read(log: Path) -> Iterator[dict[str, Any]]:
    """The lines of a log up to one that was not written whole."""
    with suppress(FileNotFoundError, json.JSONDecodeError), log.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)


def last_entry(log: Path) -> dict[str, Any] | None:
    """The log's newest line of a step; None if there is none yet."""
    with suppress(FileNotFoundError), log.open("rb") as lines:
        lines.seek(max(0, lines.seek(0, io.SEEK_END) - _TAIL))
        for line in reversed(lines.read().splitlines()):
            with suppress(ValueError):  # of which only a part is there
                entry: dict[str, Any] = json.loads(line)
                if "ms" in entry:
                    return entry
    return None
