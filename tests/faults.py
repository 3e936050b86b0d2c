"""The fault table: what is injected, what must happen, and what did. ``python3 dev.py faults`` prints it."""

import importlib
import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

MODULES = ("faults_fetch", "faults_cache", "faults_load")
TABLE = []


@dataclass(frozen=True)
class Fault:
    """One row.

    Attributes:
        area: heading under which it stands.
        injected: what goes wrong.
        must: what has to happen.
        run: makes it happen in an empty folder of its own, with ``HUBPKG_CACHE`` in it; asserts that what must happen
            did, that no wrong byte was handed over and that a plain retry then works; says, of what it saw, what did.
    """

    area: str
    injected: str
    must: str
    run: Callable[[Path, pytest.MonkeyPatch], str]

    @property
    def name(self):
        return re.sub(r"\W+", "-", self.injected.lower()).strip("-")


def fault(area, injected, must):
    """Make a row of the function below."""

    def add(run):
        TABLE.append(Fault(area, injected, must, run))
        return run

    return add


def rows():
    for module in MODULES:
        importlib.import_module(module)
    return TABLE


def happen(row):
    """What did happen, in a folder and with an environment that are as before afterwards."""
    with tempfile.TemporaryDirectory(prefix="fault-") as outer, pytest.MonkeyPatch.context() as monkeypatch:
        folder = Path(outer, "own")  # what is written outside of it is seen beside it
        folder.mkdir()
        folder.parent.chmod(0o755)  # for rows that another user plays a part in
        monkeypatch.setenv("HUBPKG_CACHE", str(folder / "cache"))
        return row.run(folder, monkeypatch)


def main():
    print("# What goes wrong, and what happens then")
    print("\nEvery row was made to happen, on loopback, by `python3 dev.py faults`, which prints this page. After each")
    print("of them no wrong byte was loaded, and a plain retry worked, with nothing cleaned up by hand.")
    area = None
    for row in rows():
        if row.area != area:
            area = row.area
            print(f"\n## {area}\n\n| injected | must happen | did |\n|---|---|---|")
        print(f"| {row.injected} | {row.must} | {happen(row)} |", flush=True)


if __name__ == "__main__":
    import faults  # the module that the rows register with, and not this script of the same text

    faults.main()
