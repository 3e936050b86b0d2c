"""Results of stages: reused for equal inputs, made again when damaged, and never half there."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from hubpkg import stages

INPUTS = {"recipe": {"lr": 1e-3, "mean": [0.5]}, "data": None}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


class Stage:
    """Runs the stage ``train``, and keeps how often its results were made and what was reported."""

    def __init__(self):
        self.made = 0
        self.said = []

    def produce(self, folder):
        self.made += 1
        (folder / "weights").write_bytes(b"\x00\xff" * 100)
        (folder / "log.jsonl").write_text(f"{self.made}\n", encoding="utf-8")

    def run(self, inputs=INPUTS, name="train"):
        return stages.run(name, inputs, self.produce, self.said.append)


@pytest.fixture
def stage():
    return Stage()


def results(cache):
    """What the cache holds beside lock files."""
    return sorted(path.name for path in (cache / "stage").iterdir())


def test_equal_inputs_are_not_run_again_whatever_their_order(stage):
    folder = stage.run()
    assert stage.run(dict(reversed(INPUTS.items()))) == folder
    assert stage.made == 1
    assert (folder / "log.jsonl").read_text(encoding="utf-8") == "1\n"
    assert stage.said[0] == "train: running"
    assert stage.said[1].startswith("train: done in ")
    assert stage.said[2] == "train: reused, its inputs have not changed"


@pytest.mark.parametrize(
    "inputs",
    [
        {**INPUTS, "data": "x"},
        {**INPUTS, "more": None},
        {"data": None},
        {**INPUTS, "recipe": {"lr": 2e-3, "mean": [0.5]}},
        {**INPUTS, "recipe": {"lr": 1e-3, "mean": [0.5, 0.5]}},
    ],
)
def test_other_inputs_are_run_and_the_results_of_the_first_kept(stage, inputs):
    first = stage.run()
    assert stage.run(inputs) != first
    assert stage.made == 2
    assert stage.run() == first
    assert stage.made == 2


def test_another_stage_with_the_same_inputs_has_its_own_results(stage):
    assert stage.run() != stage.run(name="evaluate")
    assert stage.made == 2


def change_a_byte(file):
    raw = bytearray(file.read_bytes())
    raw[len(raw) // 2] ^= 1
    file.write_bytes(raw)


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda folder: change_a_byte(folder / "weights"), id="a byte changed"),
        pytest.param(lambda folder: (folder / "weights").write_bytes(b""), id="a file emptied"),
        pytest.param(lambda folder: (folder / "weights").unlink(), id="a file missing"),
        pytest.param(lambda folder: (folder / "more").touch(), id="a file added"),
        pytest.param(lambda folder: (folder / "more").mkdir(), id="a folder added"),
        pytest.param(lambda folder: (folder / "stage.json").unlink(), id="the record missing"),
        *(
            pytest.param(lambda folder, raw=raw: (folder / "stage.json").write_bytes(raw), id=f"the record {raw}")
            for raw in (b"", b"[]", b"{}", b'{"files": 3}', b'{"files": {}}', b'{"files": {"a": 1}}', b"\xff")
        ),
    ],
)
def test_damaged_results_are_made_again(stage, damage):
    folder = stage.run()
    damage(folder)
    assert stage.run() == folder
    assert stage.made == 2
    assert sorted(path.name for path in folder.iterdir()) == ["log.jsonl", "stage.json", "times.json", "weights"]
    stage.run()
    assert stage.made == 2


def test_a_change_of_any_byte_of_the_record_is_found(stage):
    record = stage.run() / "stage.json"
    for offset in range(len(record.read_bytes())):
        raw = bytearray(record.read_bytes())
        raw[offset] ^= 1
        record.write_bytes(raw)
        made = stage.made
        stage.run()
        assert stage.made == made + 1, offset


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, OSError(28, "No space left on device"), ValueError])
def test_a_stage_that_fails_leaves_nothing_and_can_be_run_again(cache, stage, error):
    def fail(folder):
        stage.produce(folder)
        raise error

    with pytest.raises(error if isinstance(error, type) else type(error)):
        stages.run("train", INPUTS, fail, print)
    assert results(cache) == []
    folder = stage.run()
    assert results(cache) == [folder.name]


PROGRAM = """
import sys, time
from contextlib import contextmanager
from pathlib import Path
from hubpkg import stages

def produce(folder):
    (folder / "weights").write_text("half")
    with open(sys.argv[1], "a") as made:
        made.write("x")
    print("producing", flush=True)
    while not Path(sys.argv[2]).exists():
        time.sleep(0.01)
    (folder / "weights").write_text("whole")

print(stages.run("train", {}, produce, lambda line: print(line, flush=True)), flush=True)
"""


@contextmanager
def start(tmp_path, until):
    """Starts a process whose stage lasts until there is a file ``until``."""
    command = [sys.executable, "-c", PROGRAM, tmp_path / "made", until]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def test_a_stage_that_is_killed_is_run_again(tmp_path, cache):
    with start(tmp_path, tmp_path / "never") as process:
        assert [process.stdout.readline() for _ in range(2)] == ["train: running\n", "producing\n"]
        os.kill(process.pid, signal.SIGKILL)
    (partial,) = results(cache)
    assert partial.endswith(".partial")
    with start(tmp_path, tmp_path) as process:
        *_, folder = process.stdout.read().splitlines()
    assert (Path(folder) / "weights").read_text(encoding="utf-8") == "whole"
    assert results(cache) == [Path(folder).name]
    assert (tmp_path / "made").read_text(encoding="utf-8") == "xx"


def test_of_two_processes_at_once_one_produces_and_the_other_waits(tmp_path):
    enough = tmp_path / "enough"
    with start(tmp_path, enough) as first:
        assert [first.stdout.readline() for _ in range(2)] == ["train: running\n", "producing\n"]
        with start(tmp_path, enough) as second:
            waits = second.stdout.readline()
            enough.touch()
            reused, folder = second.stdout.read().splitlines()
        assert first.stdout.read().splitlines()[-1] == folder
    assert waits.startswith("waiting for another hubpkg that holds ")
    assert reused == "train: reused, its inputs have not changed"
    assert (Path(folder) / "weights").read_text(encoding="utf-8") == "whole"
    assert (tmp_path / "made").read_text(encoding="utf-8") == "x"
