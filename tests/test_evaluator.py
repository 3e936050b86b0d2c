"""Evaluation on every path: engines, batch sizes, processes, and after a kill."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from conftest import OWN_CACHE, SMALL

from hubpkg import checkpoint as checkpoints
from hubpkg import evaluation, predictions
from hubpkg.job import Job
from hubpkg.runtime import workers
from hubpkg.spec import read_spec

PREDICTIONS, FIGURES = f"{SMALL}_digits.predictions.csv", f"{SMALL}_digits.evaluation.json"


pytestmark = pytest.mark.usefixtures("mode")  # an evaluation sets graph mode


@pytest.fixture(scope="module")
def checkpoint(small_package):
    (file,) = small_package.glob("*.ckpt")
    return file


@pytest.fixture
def evaluate(hubpkg, here, checkpoint, tmp_path):
    """Runs hubpkg evaluate, and gives its figures and predictions."""

    def run(*arguments, env=None):
        command = hubpkg if "--workers" in arguments else here
        done = command("evaluate", SMALL, "--checkpoint", checkpoint, "--out", tmp_path, "--json", *arguments, env=env)
        assert done.returncode == 0, done.stderr
        result = json.loads(done.stdout)
        assert json.loads((tmp_path / FIGURES).read_text()) == result
        return result, list(predictions.read(tmp_path / PREDICTIONS))

    return run


@pytest.mark.compat
@pytest.mark.parametrize(
    ("arguments", "tolerance"),
    [
        (["--engine", "mindspore"], evaluation.ENGINE_TOLERANCE),
        (["--batch-size", "7"], evaluation.LOGIT_TOLERANCE),
        (["--workers", "3", "--engine", "mindspore", "--batch-size", "5"], evaluation.ENGINE_TOLERANCE),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, list) else "",
)
def test_every_path_gives_the_same_numbers(evaluate, small_package, arguments, tolerance):
    result, found = evaluate(*arguments)
    assert_same_numbers(small_package, result, found, tolerance)
    assert result["engine"] == ("mindspore" if "mindspore" in arguments else "onnxruntime")
    assert result["workers"] == (int(arguments[1]) if arguments[0] == "--workers" else 1)


def assert_same_numbers(small_package, result, found, tolerance):
    """They are those of the package."""
    stored = list(predictions.read(small_package / predictions.FILE))
    manifest = json.loads((small_package / "hubpkg.json").read_bytes())["evaluation"]
    assert manifest["engine"]["name"] == "onnxruntime"
    assert manifest["engine"]["compared"]["images"] == 64
    assert [p.image for p in found] == [p.image for p in stored]
    assert evaluation.compare(stored, found, tolerance).differing == ()
    assert result["metrics"] == {key: manifest[key]["percent"] for key in ("top1", "top5")}
    assert result["close"] == manifest["close"]


CRASHING = """
import atexit, os, signal, time
if os.environ.get("MS_ROLE") == "MS_WORKER":
    atexit.register(os.kill, os.getpid(), signal.SIGKILL)  # after all that is registered later
    from pathlib import Path
    from hubpkg import job, predictions

    def write(*given, now=predictions.write):
        time.sleep(4)  # which the first one alone does, while others could end
        now(*given)

    def tell(now=job.tell_launcher):  # the last one is done when the first one could have ended
        while not Path(os.environ["HUBPKG_LAUNCHED"], "done-0").exists():
            time.sleep(0.1)
        time.sleep(4)
        now()

    predictions.write = write
    if os.environ["RANK_ID"] == "2":
        job.tell_launcher = tell
"""


@pytest.mark.compat
def test_workers_that_crash_when_their_work_is_done_have_done_it(evaluate, small_package, tmp_path):
    """As MindSpore's native code does now and then on a busy machine."""
    (tmp_path / "sitecustomize.py").write_text(CRASHING, encoding="utf-8")
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    result, found = evaluate("--workers", "3", env={"PYTHONPATH": os.pathsep.join(paths)})
    assert_same_numbers(small_package, result, found, evaluation.LOGIT_TOLERANCE)
    assert (result["workers"], result["engine"]) == (3, "onnxruntime")


HANGING = """
import atexit, os, signal, time
if os.environ.get("RANK_ID") == "1":
    atexit.register(open, os.environ["WOKEN"], "w")  # after the sleep: what is registered last is done first
    atexit.register(time.sleep, 100)
    atexit.register(signal.pthread_sigmask, signal.SIG_BLOCK, signal.valid_signals())
"""


def test_a_worker_that_hangs_when_its_work_is_done_has_done_it(evaluate, small_package, tmp_path):
    """As MindSpore's native code does now and then."""
    (tmp_path / "sitecustomize.py").write_text(HANGING, encoding="utf-8")
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    woken = tmp_path / "woken"
    result, found = evaluate("--workers", "2", env={"PYTHONPATH": os.pathsep.join(paths), "WOKEN": str(woken)})
    assert_same_numbers(small_package, result, found, evaluation.LOGIT_TOLERANCE)
    assert not woken.exists()


def rows_in(cache):
    return sum(file.read_text().count("\n") for file in cache.glob("evaluation/*/*.csv"))


@pytest.fixture
def cache(tmp_path):
    return tmp_path / OWN_CACHE


SLOWER = """
import time
from hubpkg.runtime import engines

times = iter(50 * [0.02])

def run_network(network, images, run=engines.run_network):
    time.sleep(next(times, 300))
    return run(network, images)

engines.run_network = run_network
"""


@pytest.fixture
def started(start, checkpoint, cache, tmp_path):
    """Starts an evaluation into tmp_path / "out" with a cache of its own, and waits for the journal's beginning.

    In each process it comes to a halt after 50 images, so that on no machine it is over before it is stopped.
    """
    (tmp_path / "slower").mkdir()
    (tmp_path / "slower" / "sitecustomize.py").write_text(SLOWER, encoding="utf-8")
    paths = [str(tmp_path / "slower"), *filter(None, [os.environ.get("PYTHONPATH")])]

    def run(*arguments):
        options = ("--checkpoint", checkpoint, "--out", tmp_path / "out", "--engine=mindspore", "--batch-size=1")
        process = start("evaluate", SMALL, *options, *arguments, env={"PYTHONPATH": os.pathsep.join(paths)})
        deadline = time.monotonic() + 600
        while rows_in(cache) < 20:
            assert process.poll() is None, process.communicate()
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return process

    return run


@pytest.fixture(scope="module")
def whole(here, checkpoint, tmp_path_factory):
    """The figures and predictions of an evaluation by MindSpore that nobody stopped."""
    out = tmp_path_factory.mktemp("whole")
    done = here("evaluate", SMALL, "--checkpoint", checkpoint, "--out", out, "--engine", "mindspore", "--json")
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), list(predictions.read(out / PREDICTIONS))


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_an_evaluation_that_was_stopped_goes_on_from_there(  # noqa: PLR0913, PLR0917 - fixtures
    started, evaluate, whole, cache, tmp_path, number
):
    process = started()
    process.send_signal(number)
    process.communicate(timeout=300)
    assert process.returncode == (-9 if number == signal.SIGKILL else 130)
    kept = rows_in(cache)
    assert 20 <= kept < 361
    assert not (tmp_path / "out" / PREDICTIONS).exists()
    result, found = evaluate("--engine", "mindspore", env={"HUBPKG_CACHE": str(cache)})
    assert 0 < result["resumed"] < kept
    assert len(found) == 360
    assert not list(cache.glob("evaluation/*"))
    again, expected = whole
    assert (again["resumed"], again["metrics"]) == (0, result["metrics"])
    assert evaluation.compare(expected, found, evaluation.LOGIT_TOLERANCE).differing == ()


def workers_of(cache):
    """The processes of workers that leave their results in ``cache``, by rank."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            command, environment = ((folder / name).read_bytes() for name in ("cmdline", "environ"))
        except OSError:
            continue
        variables = dict(entry.split(b"=", 1) for entry in environment.split(b"\0") if b"=" in entry)
        if str(cache).encode() in command and b"MS_ROLE" in variables and b"-m\0hubpkg" in command:
            found[variables[b"MS_ROLE"], int(variables[b"RANK_ID"])] = int(folder.name)
    return found


def wait_for_their_end(cache):
    """Wait until no worker is left: the system may take its time with one that was killed."""
    deadline = time.monotonic() + 120
    while workers_of(cache):
        assert time.monotonic() < deadline
        time.sleep(0.1)


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system does not tell processes' environments")
def test_a_worker_that_dies_ends_the_run_with_its_log(started, evaluate, cache):
    process = started("--workers=2")
    os.kill(workers_of(cache)[b"MS_WORKER", 1], signal.SIGKILL)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 2
    assert "hubpkg: error: expected 2 workers to end well, found that the process " in errors
    assert " ended with -9; " in errors
    log = next(line for line in errors.splitlines() if line.endswith("worker_1.log:"))
    assert Path(log[:-1]).is_file()
    wait_for_their_end(cache)
    result, _ = evaluate("--engine", "mindspore", env={"HUBPKG_CACHE": str(cache)})
    assert result["resumed"] > 0


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="the system does not tell processes' environments")
def test_ctrl_c_ends_the_workers_too(started, cache):
    process = started("--workers=2")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=300)
    assert process.returncode == 130
    wait_for_their_end(cache)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a process that its parent was killed")
def test_workers_end_when_their_launcher_is_killed(started, cache):
    process = started("--workers=2")
    assert len(workers_of(cache)) == 3
    process.kill()
    process.communicate()
    wait_for_their_end(cache)
    assert rows_in(cache) < 360
    assert not list(cache.rglob(FIGURES))


def test_what_a_worker_found_wrong_is_told(hubpkg, checkpoint, tmp_path):
    done = hubpkg(
        *("evaluate", SMALL, "--checkpoint", checkpoint, "--out", tmp_path, "--workers", "2"), "--msrun=--bind_cores=1"
    )
    assert done.returncode == 2
    assert "msrun ended with 2" in done.stderr
    assert "unrecognized" in done.stderr or "--bind_cores" in done.stderr


def test_a_port_that_is_used_seconds_later_is_none_that_the_system_gives_out(monkeypatch):
    assert max(workers._PORTS) < 32_768  # noqa: SLF001 - where Linux begins, unless it was told otherwise; macOS at 49,152
    with socket.create_server(("127.0.0.1", workers.free_port())) as taken:
        ports = iter([taken.getsockname()[1], workers.free_port()])
        monkeypatch.setattr(workers.secrets, "choice", lambda _: next(ports))
        assert workers.free_port() != taken.getsockname()[1]


def test_msrun_starts_evaluate_on_its_own(checkpoint, models, small_package, tmp_path):
    """As on many machines, where nothing but msrun starts the processes."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    command = [
        *(sys.executable, "-m", "mindspore.parallel.cluster.run", "--worker_num=2", "--local_worker_num=2"),
        *("--join=True", f"--master_port={workers.free_port()}", f"--log_dir={tmp_path / 'logs'}", "--bind_core=True"),
        *("python", "-m", "hubpkg", "evaluate", SMALL, "--checkpoint", str(checkpoint), "--out", str(tmp_path)),
    ]
    cache = tmp_path / "cache"
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        command,
        env={**os.environ, "PATH": path, "HUBPKG_MODELS": str(models), "HUBPKG_CACHE": str(cache)},
        cwd=tmp_path,
        capture_output=True,
        check=True,
        timeout=300,
    )
    stored = list(predictions.read(small_package / predictions.FILE))
    found = list(predictions.read(tmp_path / PREDICTIONS))
    assert [p.image for p in found] == [p.image for p in stored]
    assert evaluation.compare(stored, found, evaluation.LOGIT_TOLERANCE).differing == ()
    first, second = ((tmp_path / "logs" / f"worker_{rank}.log").read_text() for rank in (0, 1))
    assert "top-1" in first
    assert "top-1" not in second


def test_workers_leave_damaged_images_out_too(hubpkg, models, monkeypatch, tmp_path):
    """Of an image folder: the recipe for digits, for images of one channel, has to be one for it."""
    from PIL import Image

    shutil.copytree(models, tmp_path / "models")
    small = tmp_path / "models" / SMALL
    recipe = (small / "recipes" / "digits.yaml").read_text(encoding="utf-8")
    for old, new in (
        ("digits", "imagefolder"),
        ("num_classes: 10", "num_classes: 2"),
        ("in_channels: 1", "in_channels: 3"),
    ):
        recipe = recipe.replace(old, new)
    recipe = recipe.replace("mean: [0.5]", "mean: [0.5, 0.5, 0.5]").replace("std: [0.5]", "std: [0.5, 0.5, 0.5]")
    (small / "recipes" / "imagefolder.yaml").write_text(recipe, encoding="utf-8")
    for name in ("a", "b"):
        (tmp_path / "images" / "val" / name).mkdir(parents=True)
        for index in range(4):
            Image.effect_noise((40, 40), 50).convert("RGB").save(tmp_path / "images" / "val" / name / f"{index}.png")
    (tmp_path / "images" / "val" / "a" / "0.png").write_bytes(b"none")
    env = {"HUBPKG_MODELS": str(tmp_path / "models")}
    arguments = (SMALL, "--dataset", "imagefolder", "--data-dir", tmp_path / "images", "--out", tmp_path)
    made = tmp_path / "made.ckpt"
    monkeypatch.setenv("HUBPKG_MODELS", env["HUBPKG_MODELS"])
    checkpoints.save(Job(read_spec(SMALL, "imagefolder"), None, "CPU", print).network(), made)
    options = ("--checkpoint", made, "--workers", "2", "--engine", "mindspore", "--json")
    assert hubpkg("evaluate", *arguments, *options, env=env).returncode == 2
    done = hubpkg("evaluate", *arguments, *options, "--skip-damaged", env=env)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert (result["samples"], result["damaged"], result["workers"]) == (7, 1, 2)


def test_no_other_command_runs_under_msrun(here, small_package):
    done = here("verify", small_package, env={"MS_ROLE": "MS_WORKER"})
    assert (done.returncode, done.stdout) == (2, "")
    assert "expected train, evaluate or benchmark under msrun" in done.stderr


# tanh is off by 1e-4 in MindSpore's CPU kernel, and erf is not among what MindSpore can export.
CHANGES = {
    "differs": ("return self.head(", "return 1e4 * ops.tanh(self.head(", "found a difference of "),
    "not-exported": ("return self.head(", "return ops.erf(self.head(", "that MindSpore can export as ONNX"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_an_engine_that_cannot_be_trusted_is_refused(here, checkpoint, models, tmp_path, change):
    old, new, found = CHANGES[change]
    shutil.copytree(models, tmp_path / "models")
    network = tmp_path / "models" / SMALL / f"{SMALL}_network.py"
    source = network.read_text(encoding="utf-8")
    line = next(line for line in source.splitlines() if old in line)
    network.write_text(source.replace(line, line.replace(old, new) + ")"), encoding="utf-8")
    env = {"HUBPKG_MODELS": str(tmp_path / "models")}
    arguments = ("evaluate", SMALL, "--checkpoint", checkpoint, "--out", tmp_path, "--json")
    refused = here(*arguments, "--engine", "onnxruntime", env=env)
    assert (refused.returncode, refused.stdout) == (2, "")
    assert found in refused.stderr.splitlines()[-1]
    by_itself = here(*arguments, env=env)
    assert by_itself.returncode == 0, by_itself.stderr
    assert "engine: mindspore, as onnxruntime was refused: " in by_itself.stderr
    assert json.loads(by_itself.stdout)["engine"] == "mindspore"


def without_onnxruntime(*arguments, models, cache):
    code = "import sys; sys.modules['onnxruntime'] = None; from hubpkg.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        env={**os.environ, "HUBPKG_MODELS": str(models), "HUBPKG_CACHE": str(cache)},
        capture_output=True,
        text=True,
        check=False,
    )


def test_without_onnxruntime_mindspore_evaluates(checkpoint, models, shared_cache, tmp_path):
    arguments = ("evaluate", SMALL, "--checkpoint", checkpoint, "--out", tmp_path, "--json")
    done = without_onnxruntime(*arguments, models=models, cache=shared_cache)
    assert json.loads(done.stdout)["engine"] == "mindspore"
    refused = without_onnxruntime(*arguments, "--engine=onnxruntime", models=models, cache=shared_cache)
    assert refused.returncode == 2
    assert "expected onnxruntime, found none; install 'hubpkg[onnxruntime]'" in refused.stderr


def test_onnxruntime_is_for_the_cpu(here, checkpoint, tmp_path):
    arguments = ("evaluate", SMALL, "--checkpoint", checkpoint, "--out", tmp_path, "--device", "Ascend")
    done = here(*arguments, "--engine", "onnxruntime")
    assert done.returncode == 2
    assert "expected the device CPU, found Ascend" in done.stderr


def test_a_journal_is_of_one_network_data_and_engine_alone(monkeypatch, tmp_path):
    from hubpkg.runtime import datasets, engines, inference

    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path))

    def key(identity="network", data="data", damaged=(), batch_size=None, **facts):
        split = datasets.Split(None, data, damaged)
        task = engines.Task(None, {"checkpoint": identity}, split, {}, batch_size, None)
        engine = SimpleNamespace(facts={"name": "mindspore", "version": "2.8.0", "compared": None, **facts})
        return inference.journal_of(task, engine).key

    others = [{"identity": "x"}, {"data": "x"}, {"damaged": ("x",)}, {"name": "onnxruntime"}, {"version": "2.9.0"}]
    assert len({key(), *(key(**other) for other in others)}) == 1 + len(others)
    assert key(batch_size=3) == key(compared=1) == key()


def test_msrun_options_are_for_workers(here, checkpoint):
    done = here("evaluate", SMALL, "--checkpoint", checkpoint, "--msrun=--bind_core=True")
    assert done.returncode == 2
    assert "--msrun: expected it with --workers, found it alone" in done.stderr
    done = here("evaluate", SMALL, "--checkpoint", checkpoint, "--workers=2", "--msrun='")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
