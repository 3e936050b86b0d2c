"""The command line: help, mistakes, output and exit status."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import tiny

from hubpkg.cli import main

SMALL = "xcit_small"
COMMANDS = ["build", "train", "evaluate", "benchmark", "verify"]


def test_version_is_the_package_s(hubpkg):
    done = hubpkg("--version")
    assert (done.returncode, done.stdout, done.stderr) == (0, "hubpkg 0.1.0\n", "")


@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)])
def test_help_fits_a_screen(command, hubpkg):
    done = hubpkg(*command, "--help")
    assert done.returncode == 0
    assert len(done.stdout.splitlines()) <= 40
    for name in [] if command else COMMANDS:
        assert name in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], ["COMMAND", "hubpkg --help"]),
        (["biuld"], ["'biuld'", "build", "hubpkg --help"]),
        (["build"], ["MODEL", "hubpkg build --help"]),
        (["build", SMALL, "--device", "GPU"], ["'GPU'", "CPU", "Ascend"]),
        (["build", SMALL, "--nonsense"], ["--nonsense"]),
        (["evaluate", SMALL], ["--checkpoint"]),
        (["verify", "nowhere"], ["nowhere: expected a package's folder, found none"]),
        (["verify", __file__], ["found a file"]),
        (["verify"], ["found none", "hubpkg build MODEL"]),
    ],
)
def test_a_mistake_gets_one_line_and_status_2(arguments, words, hubpkg):
    done = hubpkg(*arguments)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("\n") == 1, done.stderr
    for word in words:
        assert word in done.stderr


def test_a_reader_that_stops_early_is_no_error(small_package):
    with subprocess.Popen(
        [sys.executable, "-m", "hubpkg", "verify", *[str(small_package)] * 50],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        process.stdout.read(1)
        process.stdout.close()
        assert process.stderr.read() == ""


def test_train_prints_where_checkpoint_and_log_are(hubpkg, tmp_path):
    done = hubpkg("train", SMALL, "--dataset", "digits", "--out", tmp_path / "runs", "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result) == ["checkpoint", "epochs", "metrics", "log", "best", "curves", "record"]
    assert result["epochs"] == 1
    assert Path(result["checkpoint"]).stat().st_mode & 0o777 == 0o644
    lines = [json.loads(line) for line in Path(result["log"]).read_text().splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == list(range(1, 23))
    assert hubpkg("train", SMALL, "--out", tmp_path / "runs").stdout == f"{result['checkpoint']}\n"


def test_evaluate_gives_the_metrics_of_the_package(hubpkg, small_package, tmp_path):
    (checkpoint,) = small_package.glob("*.ckpt")
    arguments = ["evaluate", SMALL, "--checkpoint", checkpoint, "--out", tmp_path]
    done = hubpkg(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    assert list(result) == [
        "metrics",
        "samples",
        "close",
        "evaluated",
        "damaged",
        "images_per_second",
        "resumed",
        "workers",
        "engine",
        "engine_facts",
        "predictions",
    ]
    evaluation = json.loads((small_package / "hubpkg.json").read_bytes())["evaluation"]
    assert result["metrics"] == {key: evaluation[key]["percent"] for key in ("top1", "top5")}
    assert result["samples"] == 360
    assert result["images_per_second"] > 0
    assert Path(result["predictions"]).read_text() == (small_package / "evidence" / "predictions.csv").read_text()


def test_evaluate_refuses_a_file_that_is_no_checkpoint(hubpkg, tmp_path):
    done = hubpkg("evaluate", SMALL, "--checkpoint", __file__, "--out", tmp_path / "runs")
    assert done.returncode == 2
    assert "expected a checkpoint file *.ckpt" in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("module", ["numpy", "sklearn"])
def test_a_plain_install_says_what_a_build_needs(module, models, tmp_path):
    code = f"import sys; sys.modules['{module}'] = None; from hubpkg.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run(
        [sys.executable, "-c", code, "build", SMALL, "--out", "dist"],
        env={**os.environ, "HUBPKG_MODELS": str(models), "HUBPKG_CACHE": str(tmp_path / "cache")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "pip install 'hubpkg[" in done.stderr
    assert not (tmp_path / "dist").exists()


def test_what_others_wrote_does_not_steer_the_terminal(hubpkg):
    done = hubpkg("verify", "none\x1b]0;title\x07")
    assert done.returncode == 2
    assert done.stderr == "hubpkg: error: none\\x1b]0;title\\x07: expected a package's folder, found none\n"


def test_days_are_for_prune_alone(hubpkg, tmp_path):
    done = hubpkg("cache", "list", "--days", "3", env={"HUBPKG_CACHE": str(tmp_path)})
    assert (done.returncode, done.stderr) == (2, "hubpkg: error: --days: expected it with prune, found it with list\n")


def test_a_folder_of_packages_is_told_as_one(tmp_path, capsys):
    dist = tmp_path / "dist"
    first, second = (tiny.make(tmp_path / name) for name in "ab")
    dist.mkdir()
    first.rename(dist / "a")
    assert main(["verify", str(dist)]) == 1
    assert f"No such file or directory; packages are in it: give {dist}/a\n" in capsys.readouterr().out
    second.rename(dist / "b")
    assert main(["publish", str(dist), "--to", str(tmp_path / "to")]) == 1
    assert f"; packages are in it: give {dist}/a, or all: {dist}/*/\n" in capsys.readouterr().err
    (dist / "a.report.html").touch()  # which dist/* takes in
    assert main(["verify", str(dist / "a.report.html")]) == 2
    assert f"expected a package's folder, found a file; folders are {dist}/*/\n" in capsys.readouterr().err
