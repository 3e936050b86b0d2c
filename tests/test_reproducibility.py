"""The same inputs and measurements give the same bytes, and they tell nothing of who built them and where."""

import getpass
import json
import re
import socket
import sys
import tempfile
from pathlib import Path

import pytest

from hubpkg import manifest, stages

ROOT = Path(__file__).parents[1]
SMALL = "xcit_small"


def contents_of(package):
    return {path.relative_to(package).as_posix(): path.read_bytes() for path in package.rglob("*") if path.is_file()}


def test_two_folders_built_from_one_set_of_measurements_are_equal(hubpkg, small_package, tmp_path):
    for name in ("a", "b/of another"):
        somebody = {"HOME": str(tmp_path / "home"), "USER": name, "LOGNAME": name, "TZ": "Asia/Shanghai"}
        done = hubpkg("build", SMALL, "--out", tmp_path / name, env={**somebody, "PYTHONHASHSEED": str(len(name))})
        assert done.returncode == 0, done.stderr
        assert contents_of(tmp_path / name / small_package.name) == contents_of(small_package)


def test_no_file_tells_a_path_a_user_or_a_host(small_package, models, shared_cache):
    secrets = {ROOT, models, shared_cache, Path.home(), sys.prefix, tempfile.gettempdir()}
    named = {socket.gethostname(), getpass.getuser()} - {"localhost"}
    for name, data in contents_of(small_package).items():
        assert not [str(path) for path in secrets if str(path).encode() in data], name
        if name.endswith(".ckpt"):  # in so many random bytes a short name stands by chance
            continue
        assert not [word for word in named if re.search(rb"\b" + re.escape(word.encode()) + rb"\b", data)], name
        assert not re.search(rb"(?<![\w.:/-])/(home|root|tmp|usr|var|opt|mnt|Users|private)/\w", data), name


def test_the_same_recipe_trains_the_same_weights_again(hubpkg, small_package, tmp_path):
    done = hubpkg("train", SMALL, "--out", tmp_path, "--json", env={"HUBPKG_CACHE": str(tmp_path / "cache")})
    assert done.returncode == 0, done.stderr
    (before,) = small_package.glob("*.ckpt")
    assert Path(json.loads(done.stdout)["checkpoint"]).read_bytes() == before.read_bytes()


def test_source_date_epoch_is_the_time(monkeypatch, tmp_path):
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path))
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    folder = stages.run("train", {}, lambda folder: (folder / "weights").touch(), lambda _: None)
    assert stages.times(folder) == {"started": "1970-01-02T00:00:00Z", "finished": "1970-01-02T00:00:00Z"}
    monkeypatch.delenv("SOURCE_DATE_EPOCH")
    other = stages.run("evaluate", {}, lambda folder: (folder / "weights").touch(), lambda _: None)
    times = stages.times(other, folder)
    assert times["started"] == "1970-01-02T00:00:00Z"
    assert times["finished"] == stages.times(other)["finished"] > "2025"
    assert manifest.record(folder / "times.json") != manifest.record(other / "times.json")


@pytest.mark.parametrize("value", ["tomorrow", "1e400", "-1e30"])
def test_a_time_that_is_none_is_refused_before_the_work(value, hubpkg, tmp_path):
    done = hubpkg("build", SMALL, "--out", tmp_path / "dist", env={"SOURCE_DATE_EPOCH": value})
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == f"hubpkg: error: SOURCE_DATE_EPOCH: expected seconds since 1970, found {value!r}\n"
    assert not (tmp_path / "dist").exists()
