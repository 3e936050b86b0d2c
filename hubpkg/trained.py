"""What training leaves: weights, log, curves, and the record of the run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubpkg import manifest
from hubpkg.errors import HubpkgError, InvalidDocumentError
from hubpkg.performance import Timing

MODEL, BEST = "model.ckpt", "best.ckpt"  # the final weights, and the best ones
LOG, CURVES, RECORD = "training.jsonl", "training.svg", "training.json"
RESULTS = (MODEL, BEST, LOG, CURVES, RECORD)
EVIDENCE = {f"evidence/{name}": name for name in (LOG, CURVES, RECORD)}  # in a package


@dataclass(frozen=True)
class Trained:
    """What came of it.

    Attributes:
        metrics: top-1 and top-5 of the final weights on the test images, in percent; of a regression, its loss.
        averaged: whether the final weights are averages (EMA).
        best: top-1 or loss, epoch and kind, ``weights`` or ``average``, of the best weights.
        steps: how many there were.
        resumed: after how many steps the run was resumed, each time.
        timing: wall time of the steps, those after each start left out; conditions of the last session.
    """

    metrics: Mapping[str, float]
    averaged: bool
    best: Mapping[str, Any]
    steps: int
    resumed: tuple[int, ...]
    timing: Timing


def check(package: Path, contents: Mapping[str, Any]) -> str:
    """Compare the record of the training, if there was one, with what the manifest ``contents`` says; tell of it.

    Raises:
        InvalidDocumentError: with every value that is not the manifest's.
        HubpkgError: the record can't be read.
    """
    checkpoint = contents["checkpoint"]
    if checkpoint["source"] != "train":
        return "the weights were made elsewhere"
    name = f"evidence/{RECORD}"
    try:
        record = json.loads((package / name).read_text(encoding="utf-8"))
        steps, found = record["steps"], {key: record[key] for key in ("recipe", "data", "start", "averaged")}
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise HubpkgError(f"{name}: expected the record of a training, found: {error!r}") from None
    expected = {
        "recipe": contents["inputs"]["recipe"],
        "data": contents["inputs"]["data"],
        "start": checkpoint.get("start"),
        "averaged": checkpoint.get("averaged", False),
    }
    faults = [
        f"{name}: {key}: expected that of {manifest.NAME}, found another"
        for key, value in expected.items()
        if found[key] != value
    ]
    if faults:
        raise InvalidDocumentError(faults)
    return f"{steps} steps by the manifest's recipe and data, as {name} says"
