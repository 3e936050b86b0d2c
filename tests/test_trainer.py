"""hubpkg train: stopped and resumed, by one process or two, from new weights or given ones."""

import functools
import hashlib
import json
import os
import pty
import resource
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import mindspore
import numpy as np
import pytest
import yaml
from conftest import OWN_CACHE, SMALL

from hubpkg import checkpoint, manifest
from hubpkg.errors import CheckpointError
from hubpkg.job import Job
from hubpkg.runtime import snapshot, workers
from hubpkg.spec import read_spec

STEM = f"{SMALL}_digits"


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def whole(hubpkg, tmp_path_factory):
    """What a run of three epochs that nobody stopped leaves, and the options of that run."""
    out = tmp_path_factory.mktemp("whole")
    options = ["--set", "epochs=3", "--set", "decay_epochs=2.9", "--set", "ema_decay=0.9", "--set", "drop_path=0.1"]
    done = hubpkg("train", SMALL, *options, "--json", "--out", out)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), options


@pytest.fixture
def cache(tmp_path):
    return tmp_path / OWN_CACHE


@pytest.fixture
def train(start, tmp_path):
    """Starts hubpkg train with a cache of its own."""
    return functools.partial(start, "train", SMALL, "--out", tmp_path / "runs")


def wait_for_step(cache, step, process, starts=1):
    """Until that step is in the log, after so many starts."""
    while process.poll() is None:
        for log in cache.glob("training/*/training.jsonl"):
            text = log.read_text()
            if text.count('"started"') == starts and f'\n{{"step": {step}, "epoch"' in text:
                return
        time.sleep(0.02)
    pytest.fail(process.communicate()[1])


def test_results_are_written_and_told(whole):
    result, _ = whole
    assert set(result) == {"checkpoint", "epochs", "metrics", "log", "best", "curves", "record"}
    assert result["epochs"] == 3
    record = json.loads(Path(result["record"]).read_text())
    assert record["metrics"] == result["metrics"]
    assert (record["recipe"]["epochs"], record["recipe"]["devices"], record["recipe"]["seed"]) == (3, 1, 42)
    assert {"sha256", "images"} <= record["data"]["train"].keys()
    assert record["environment"]["mindspore"] == mindspore.__version__
    assert record["steps"] == 66
    assert record["averaged"]
    assert Path(result["curves"]).read_text().startswith("<?xml")


def test_killed_and_interrupted_it_ends_in_the_same_bytes(whole, train, cache, tmp_path):
    result, options = whole
    killed = train(*options)
    wait_for_step(cache, 25, killed)
    killed.kill()
    killed.communicate()
    (run,) = (cache / "training").iterdir()
    kept = snapshot.newest(run).batches
    assert kept in {22, 44}  # the second one where the machine is so busy that the kill came late
    interrupted = train(*options, "--resume")
    wait_for_step(cache, kept + 8, interrupted, starts=2)
    interrupted.send_signal(signal.SIGINT)
    _, log = interrupted.communicate()
    assert interrupted.returncode == 130
    assert f"train: goes on after step {kept} of 66" in log
    *_, stopped, last = log.splitlines()
    assert last == "hubpkg: interrupted; finished stages are kept"
    step = int(stopped.removeprefix("train: stopped; step ").removesuffix(" is kept to go on from"))
    assert step >= kept + 8
    refused = train(*options)
    said = refused.communicate()[1]
    assert f"expected no unfinished run of the same training, found one, stopped after step {step}; go on with" in said
    assert f"with --resume, or begin anew after: rm -r {shlex.quote(str(cache / 'training'))[:-1]}" in said
    assert refused.returncode == 2
    last = train(*options, "--resume", "--json")
    out, log = last.communicate()
    assert last.returncode == 0, log
    again = json.loads(out)
    for file in ("checkpoint", "log"):
        assert Path(again[file]).is_file()
    assert sha256(tmp_path / again["checkpoint"]) == sha256(Path(result["checkpoint"]))
    assert sha256(tmp_path / again["best"]["checkpoint"]) == sha256(Path(result["best"]["checkpoint"]))
    assert json.loads((tmp_path / again["record"]).read_text())["resumed"] == [kept, step]
    assert not list((cache / "training").iterdir())


def test_a_full_disk_stops_it_in_one_line_and_loses_nothing(whole, train, cache, tmp_path):
    """A limit on a file's size stands for the disk's."""
    result, options = whole
    limited = train(
        *options,
        env={"COVERAGE_PROCESS_CONFIG": ""},  # coverage could not write its own file
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    _, log = limited.communicate()
    assert limited.returncode == 2
    assert log.splitlines()[-2] == "train: stopped; nothing is kept to go on from"
    assert "File too large" in log.splitlines()[-1] or "expected to write a checkpoint" in log.splitlines()[-1]
    (run,) = (cache / "training").iterdir()
    assert not list(run.glob("batch-*"))
    done = train(*options, "--resume", "--json")
    out, log = done.communicate()
    assert done.returncode == 0, log
    assert sha256(tmp_path / json.loads(out)["checkpoint"]) == sha256(Path(result["checkpoint"]))


def test_too_little_memory_is_named(train):
    options = ("--set", "image_size=1024", "--set", "batch_size=128")
    limited = train(*options, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (7 * 2**30, 7 * 2**30)))
    _, log = limited.communicate()
    assert limited.returncode == 2
    last = log.splitlines()[-1]
    assert last.startswith("hubpkg: error: step 1, images of 1024x1024: expected memory enough, found too little")
    assert "try a smaller batch_size, in training with grad_accumulation" in last


def test_two_workers_train_together_and_one_writes(hubpkg, here, tmp_path):
    options = ("--workers", "2", "--set", "batch_size=48", "--set", "ema_decay=0.9")
    done = hubpkg("train", SMALL, *options, "--out", tmp_path, "--json")
    assert done.returncode == 0, done.stderr
    assert (
        "global batch 96 (batch_size 48 x grad_accumulation 1 x 2 devices), where the recipe states 64" in done.stderr
    )
    assert "train: epoch 1 of 1, step 14 of 14: loss " in done.stderr
    result = json.loads(done.stdout)
    record = json.loads(Path(result["record"]).read_text())
    assert (record["timing"]["devices"], record["recipe"]["devices"], record["steps"]) == (2, 2, 14)
    entries = [json.loads(line) for line in Path(result["log"]).read_text(encoding="utf-8").splitlines()]
    assert [entry["step"] for entry in entries if "loss" in entry] == list(range(1, 15))
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        Path(path).name
        for path in [*(result[key] for key in ("checkpoint", "log", "curves", "record")), result["best"]["checkpoint"]]
    )
    evaluate = ("evaluate", SMALL, "--checkpoint", result["checkpoint"], "--engine", "mindspore", "--out", tmp_path)
    assert json.loads(here(*evaluate, "--json").stdout)["metrics"]["top1"] == result["metrics"]["top1"]


GRADIENTS = """
import sys
import mindspore
import numpy as np
from mindspore import Tensor, nn
from hubpkg.job import Job
from hubpkg.runtime import workers
from hubpkg.runtime.step import Step
from hubpkg.spec import read_spec

job = Job(read_spec("xcit_small", "digits", devices=1), None, None, print)
job.mindspore.set_seed(1)
network = job.network()
for _, cell in network.cells_and_names():
    if isinstance(cell, nn.BatchNorm2d):
        cell.use_batch_statistics = False
group = workers.group()
step = Step(network, {"weight_decay": 0.05, "label_smoothing": 0.1, "devices": group.size}, [1e-3] * 20)
generator = np.random.default_rng(0)
losses = []
for _ in range(20):
    images = generator.standard_normal((16, 1, 32, 32)).astype(np.float32)
    labels = generator.integers(10, size=16).astype(np.int32)
    outputs = step(Tensor(images[group.rank :: group.size]), Tensor(labels[group.rank :: group.size]))
    losses.append(outputs[0].asnumpy().item())
    if len(losses) == 1:  # the first moments are a tenth of the gradients
        first = {m.name: 10 * m.asnumpy() for m in step.optimizer.moments1}
np.savez(f"{sys.argv[1]}-{group.rank}.npz", losses=losses, **first)
"""


def test_two_workers_with_half_the_batch_have_the_gradients_of_one_with_the_whole(models, tmp_path):
    script, python = tmp_path / "gradients.py", tmp_path / "bin" / "python"
    script.write_text(GRADIENTS)
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"
    env = {**os.environ, "HUBPKG_MODELS": str(models), "HUBPKG_CACHE": str(tmp_path / "cache"), "PATH": path}
    msrun = [sys.executable, "-m", "mindspore.parallel.cluster.run", "--worker_num=2", "--local_worker_num=2"]
    msrun.append(f"--master_port={workers.free_port()}")  # its own is the same for all of this machine
    for name, launcher in (("one", [python]), ("two", [*msrun, "--join=True", f"--log_dir={tmp_path}", "python"])):
        command = [*launcher, str(script), str(tmp_path / name)]
        subprocess.run(command, env=env, capture_output=True, check=True, timeout=600)
    one, first, second = (np.load(tmp_path / f"{name}.npz") for name in ("one-0", "two-0", "two-1"))
    names = [name for name in one.files if name != "losses"]
    assert len(names) > 50
    for name in names:
        np.testing.assert_allclose(first[name], one[name], atol=1e-5, err_msg=name)
        np.testing.assert_array_equal(first[name], second[name])
    both = (first["losses"] + second["losses"]) / 2
    np.testing.assert_allclose(both, one["losses"], atol=1e-4)


def test_a_build_takes_weights_settings_and_evidence(hubpkg, here, package, tmp_path):
    given = manifest.read(package / manifest.NAME)["checkpoint"]
    options = ("--set", "ema_decay=0.5", "--set", "batch_size=32", "--set", "image_size=48", "--workers", "2")
    arguments = ("build", SMALL, "--from", package, *options, "--engine", "mindspore", "--out", tmp_path / "tuned")
    built = hubpkg(*arguments, "--json")
    assert built.returncode == 0, built.stderr
    assert f"train: starts from {package}" in built.stderr
    tuned = Path(json.loads(built.stdout)["package"])
    contents = manifest.read(tuned / manifest.NAME)
    assert contents["inputs"]["settings"] == {"ema_decay": "0.5", "batch_size": "32", "image_size": "48"}
    copied = yaml.safe_load((tuned / SMALL / "recipes" / "digits.yaml").read_text(encoding="utf-8"))
    assert copied == contents["inputs"]["recipe"]
    rerun = here("verify", "--rerun", tuned)
    assert rerun.returncode == 0, rerun.stdout
    assert contents["checkpoint"]["averaged"]
    assert contents["checkpoint"]["start"] == {"file": given["file"], "sha256": given["sha256"]}
    assert {"evidence/training.jsonl", "evidence/training.svg", "evidence/training.json"} <= contents["files"].keys()
    card = (tuned / f"{STEM}.md").read_text(encoding="utf-8")
    assert "Its global batch is of 64 images" in card
    own = "--set batch_size=32 --set ema_decay=0.5 --set image_size=48"
    assert f"hubpkg train {SMALL} --dataset digits {own} --from {given['file']} --workers 2\n" in card
    evaluate = next(line for line in card.splitlines() if line.startswith("hubpkg evaluate"))
    assert evaluate.endswith(f" {own}")
    again = here(*evaluate.split()[1:], "--json", "--out", tmp_path, cwd=tuned)
    assert json.loads(again.stdout)["metrics"] == json.loads(built.stdout)["metrics"]
    assert "The weights are averages over the training's" in card
    assert '<img src="xcit_small/training.svg"' in card
    assert f"Training started from the weights in `{given['file']}`" in card
    provenance = json.loads((tuned / "evidence" / "provenance.json").read_text(encoding="utf-8"))
    definition = provenance["predicate"]["buildDefinition"]
    command = f"hubpkg build {SMALL} --dataset digits {own} --checkpoint train --from {given['file']} --workers 2"
    assert " ".join(definition["externalParameters"]["command"]) == f"{command} --engine mindspore"
    inputs = {dependency["name"]: dependency["digest"] for dependency in definition["resolvedDependencies"]}
    assert inputs["start"] == {"sha256": given["sha256"]}


def test_a_package_whose_weights_were_changed_is_not_trained_on(here, package, tmp_path):
    given = manifest.read(package / manifest.NAME)["checkpoint"]
    (package / given["file"]).write_bytes((package / given["file"]).read_bytes() + b"x")
    refused = here("train", SMALL, "--from", package, "--set", "seed=8", "--out", tmp_path)
    assert refused.returncode == 2
    assert f"expected sha256 {given['sha256']}, found" in refused.stderr


@pytest.fixture
def network(models, monkeypatch):
    monkeypatch.setenv("HUBPKG_MODELS", str(models))
    job = Job(read_spec(SMALL, "digits"), None, None, print)
    return job.network()


def test_weights_for_other_classes_get_a_new_head_and_nothing_else_does(network, tmp_path):
    given = {p.name: mindspore.Parameter(p.asnumpy() + 1) for p in network.get_parameters()}
    given["head.weight"] = mindspore.Parameter(np.zeros((7, 32), np.float32))
    given["head.bias"] = mindspore.Parameter(np.zeros(7, np.float32))
    head, stem = (network.parameters_dict()[name].asnumpy().copy() for name in ("head.weight", "cls_token"))
    told = checkpoint.adapt(network, given, tmp_path / "seven.ckpt", 10)
    assert told.endswith("but for a new head (head.weight, head.bias): 10 classes in place of 7")
    now = network.parameters_dict()
    assert np.array_equal(now["head.weight"].asnumpy(), head)
    assert np.array_equal(now["cls_token"].asnumpy(), stem + 1)
    given["cls_token"] = mindspore.Parameter(np.zeros((2, 1, 32), np.float32))
    with pytest.raises(CheckpointError, match=r"found 3 not as there: .*cls_token has shape \(2, 1, 32\)"):
        checkpoint.adapt(network, given, tmp_path / "seven.ckpt", 10)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", SMALL, "--set", "lr"], "argument --set: expected KEY=VALUE, such as lr=1e-3, found 'lr'"),
        (["train", SMALL, "--set", "lrr=1"], "--set lrr: unknown key; the nearest: lr"),
        (["train", SMALL, "--from", "nowhere"], "--from: expected a package's folder or a checkpoint file *.ckpt"),
        (["train", SMALL, "--from", "."], "hubpkg.json: expected a readable manifest, found"),
        (["train", SMALL, "--set", "batch_size=2000"], "expected at most the 1437 training images of digits"),
        (
            ["build", SMALL, "--checkpoint", "fetch", "--from", "x"],
            "--from: expected it with --checkpoint train, found",
        ),
        (["train", "xcit_tiny_12_p16_224", "--dataset", "imagenet2012"], "imagenet2012: expected --data-dir"),
    ],
)
def test_what_can_not_be_trained_is_refused_before_the_work(arguments, message, here, tmp_path):
    done = here(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in done.stderr
    assert "running" not in done.stderr


def test_a_terminal_shows_where_it_is_and_that_nothing_was_there_to_resume(train):
    terminal, side = pty.openpty()
    process = train("--resume", env={"COLUMNS": "140"}, stdout=subprocess.DEVNULL, stderr=side)
    os.close(side)
    shown = b""
    while True:
        try:
            shown += os.read(terminal, 65536)
        except OSError:  # the other side is closed
            break
    assert process.wait() == 0
    text = shown.decode()
    assert "train: no earlier run of the same training was stopped; begins anew" in text
    for part in ("epoch 1/1, loss ", "lr ", " img/s", "22/22", "train: epoch 1 of 1, step 22 of 22"):
        assert part in text, part


def test_two_workers_show_where_they_are_and_go_on_when_interrupted(start, cache, tmp_path, hubpkg, here):
    terminal, side = pty.openpty()
    environment = {"HUBPKG_CACHE": str(cache)}
    command = ["train", SMALL, "--set", "epochs=10", "--workers", "2", "--out", tmp_path]
    process = start(*command, env={"COLUMNS": "140"}, stdout=subprocess.DEVNULL, stderr=side)
    os.close(side)
    shown = ""
    while "epoch 1/10, loss" not in shown:
        shown += os.read(terminal, 65536).decode(errors="replace")
    (run,) = (cache / "training").glob("[0-9a-f]*")
    assert here("cache", "prune", "--days", "0", env=environment).returncode == 0
    assert (run / "inputs.json").exists()
    process.send_signal(signal.SIGINT)
    while True:
        try:
            shown += os.read(terminal, 65536).decode(errors="replace")
        except OSError:  # the other side is closed
            break
    assert process.wait() == 130
    steps = [json.loads(line)["step"] for line in (run / "training.jsonl").read_text().splitlines()]
    assert f"train: stopped; step {steps[-1]} is kept to go on from" in shown
    other = here(*command, "--set", "lr=1e-3", "--resume", env=environment)
    assert other.returncode == 2
    assert f"found {run}, with another recipe lr; begin anew without --resume" in other.stderr
    resumed = hubpkg(*command, "--resume", "--json", env=environment)
    assert f"train: goes on after step {steps[-1]} of 110" in resumed.stderr
    whole = hubpkg(*command[:-1], tmp_path / "whole", "--json")
    results = [json.loads(done.stdout) for done in (resumed, whole)]
    first, second = ([Path(result["checkpoint"]), Path(result["best"]["checkpoint"])] for result in results)
    assert [file.read_bytes() for file in first] == [file.read_bytes() for file in second]
