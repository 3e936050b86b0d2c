"""What a training run leaves now and then, to go on from: all parameters of its step, and where it is."""

import json
import os
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubpkg import checkpoint, manifest

_KEPT = 2  # the newest, and the one before, should the newest turn out to be damaged
_FILE, _STATE = "step.ckpt", "state.json"


@dataclass(frozen=True)
class Snapshot:
    """One that is whole.

    Attributes:
        batches: how many batches each process had trained on.
        state: what else the run wants to know, as JSON values.
        file: a checkpoint of the step's parameters.
    """

    batches: int
    state: Mapping[str, Any]
    file: Path


def newest(run: Path) -> Snapshot | None:
    """The newest one in the folder of a run whose bytes are as they were written; None if there is none."""
    for folder in sorted(run.glob("batch-*[0-9]"), reverse=True):
        with suppress(OSError, ValueError, KeyError, TypeError):
            state = json.loads((folder / _STATE).read_text(encoding="utf-8"))
            if manifest.record(folder / _FILE).sha256 == state["sha256"]:
                return Snapshot(state["batches"], state["state"], folder / _FILE)
    return None


def write(run: Path, step: Any, batches: int, state: Mapping[str, Any]) -> None:
    """Add one to the folder ``run``, whole or not at all, and remove the oldest.

    Args:
        run: the folder.
        step: a cell whose parameters are all that training depends on.
        batches: how many batches each process has trained on.
        state: what else the run wants to know, as JSON values.

    Raises:
        HubpkgError: it could not be written; those that were there still are.
        OSError: likewise.
    """
    folder = run / f"batch-{batches:012d}"
    partial = folder.with_suffix(".partial")
    for leftover in run.glob("*.partial"):
        shutil.rmtree(leftover)
    try:
        partial.mkdir()
        checkpoint.save(step, partial / _FILE)
        sha256 = manifest.record(partial / _FILE).sha256
        (partial / _STATE).write_text(json.dumps({"batches": batches, "sha256": sha256, "state": state}))
        for file in partial.iterdir():
            with file.open("rb") as written:
                os.fsync(written.fileno())
        if folder.exists():  # it was damaged
            shutil.rmtree(folder)
        partial.rename(folder)
    except BaseException:  # the disk may be full
        shutil.rmtree(partial, ignore_errors=True)
        raise
    for old in sorted(run.glob("batch-*[0-9]"))[:-_KEPT]:
        shutil.rmtree(old)
