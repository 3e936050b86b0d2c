"""The results of a build's stages, kept by their inputs, so that no stage is run twice for the same ones."""

import json
import os
import shutil
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hubpkg import cache, manifest
from hubpkg.errors import HubpkgError

_RECORD = "stage.json"
_TIMES = "times.json"


def run(name: str, inputs: Mapping[str, Any], produce: Callable[[Path], None], report: Callable[[str], None]) -> Path:
    """The folder with the results of the stage ``name`` for ``inputs``.

    ``produce`` is called to write them, unless they are there, whole, from an earlier run. It writes into a folder
    that takes its place only when it is complete: a stage that is interrupted leaves no result.

    Args:
        name: what the stage is called.
        inputs: everything that its results depend on, as JSON values.
        produce: writes the results into the folder it is given.
        report: told, in one line, that the stage was reused.
    """
    folder = cache.folder() / "stage" / f"{name}-{manifest.digest(inputs)[:16]}"
    with cache.locked(cache.lock_of(folder.name), report):
        if _is_whole(folder, inputs):
            with suppress(OSError):
                os.utime(folder)  # when it was last used
            report(f"{name}: reused, its inputs have not changed")
            return folder
        partial = folder.with_suffix(".partial")
        for leftover in (partial, folder):
            if leftover.exists():
                shutil.rmtree(leftover)
        report(f"{name}: running")
        started, began = time.monotonic(), now()
        try:
            with cache.writing():
                partial.mkdir(parents=True)
            produce(partial)
            (partial / _TIMES).write_text(json.dumps({"started": began, "finished": now()}), encoding="utf-8")
            (partial / _RECORD).write_text(_record(partial, inputs), encoding="utf-8")
            partial.rename(folder)
        except BaseException:  # nothing of it can be used, and the disk may be full
            shutil.rmtree(partial, ignore_errors=True)
            raise
        report(f"{name}: done in {time.monotonic() - started:.1f} s")
    return folder


def now() -> str:
    """The time in UTC to the second, as RFC 3339 has it; that of ``SOURCE_DATE_EPOCH``, if it is set.

    Raises:
        HubpkgError: it is set to something else.
    """
    given = os.environ.get("SOURCE_DATE_EPOCH") or str(time.time())
    try:
        return datetime.fromtimestamp(float(given), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    except (ValueError, OverflowError, OSError):
        raise HubpkgError(f"SOURCE_DATE_EPOCH: expected seconds since 1970, found {given!r}") from None


def times(*folders: Path) -> dict[str, str]:
    """When the first of the stages whose results are in ``folders`` was started, and the last was finished."""
    found = [json.loads((folder / _TIMES).read_text(encoding="utf-8")) for folder in folders]
    return {"started": min(t["started"] for t in found), "finished": max(t["finished"] for t in found)}


def _record(folder: Path, inputs: Mapping[str, Any]) -> str:
    """What a stage's record says: its inputs, and every file of its results."""
    files = {path.name: asdict(manifest.record(path)) for path in folder.iterdir() if path.name != _RECORD}
    return json.dumps({"inputs": inputs, "files": files}, indent=1, sort_keys=True)


def _is_whole(folder: Path, inputs: Mapping[str, Any]) -> bool:
    try:
        return (folder / _RECORD).read_text(encoding="utf-8") == _record(folder, inputs)
    except (OSError, UnicodeDecodeError):
        return False
