"""Which MindSpore is taken, and what is said of it."""

import signal
import subprocess
from importlib import metadata

import pytest

from hubpkg.errors import HubpkgError, SlowFrameworkWarning
from hubpkg.runtime import environment, framework


@pytest.fixture
def installed(monkeypatch):
    """Lets the installed distributions have other versions."""
    real = metadata.version
    framework.load.cache_clear()
    yield lambda **versions: monkeypatch.setattr(metadata, "version", lambda name: versions.get(name) or real(name))
    framework.load.cache_clear()


@pytest.mark.parametrize("version", ["2.7.0", "2.7.1", "2.8.0", "2.9.0", "2.10.0rc1", "2.10.0"])
def test_2_7_to_2_10_are_supported(version, installed):
    installed(mindspore=version)
    assert framework.version() == version


@pytest.mark.parametrize("version", ["1.10.1", "2.6.0", "2.11.0", "3.0"])
def test_others_are_refused(version, installed):
    installed(mindspore=version)
    with pytest.raises(HubpkgError, match=f"expected MindSpore 2.7 to 2.10, found {version}; install"):
        framework.version()


def test_none_at_all_is_refused(monkeypatch):
    def version(name):
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "version", version)
    with pytest.raises(HubpkgError, match=r"found none; install it with: pip install 'hubpkg\[build\]'"):
        framework.version()


def test_numpy_2_is_refused(installed):
    installed(numpy="2.1.0")
    with pytest.raises(HubpkgError, match=r"expected numpy below 2.*found 2.1.0"):
        framework.load()


@pytest.mark.parametrize(("version", "slow"), [("2.7.0", False), ("2.8.0", False), ("2.9.0", True), ("2.10.0", True)])
def test_a_slow_one_on_the_cpu_is_told_of_once(version, slow, installed, recwarn):
    installed(mindspore=version)
    framework.load()
    framework.load()
    assert [warning.category for warning in recwarn] == [SlowFrameworkWarning] * slow


@pytest.mark.compat
def test_the_command_tells_of_a_slow_one_in_one_line(hubpkg, tmp_path):
    done = hubpkg("build", "xcit_small", "--out", tmp_path / "dist", env={"HUBPKG_CACHE": str(tmp_path / "cache")})
    assert done.returncode == 0, done.stderr
    lines = [line for line in done.stderr.splitlines() if "several times slower" in line]
    assert len(lines) == framework.version().startswith(("2.9", "2.10"))
    assert all(line.split(":")[0] in ("hubpkg", "train", "export", "evaluate", "benchmark", "package")
               for line in done.stderr.splitlines())  # fmt: skip


def pressed(times, done, error=None):
    with framework.uninterrupted():
        for press in range(times):
            with framework.uninterrupted():
                signal.raise_signal(signal.SIGINT)
                done.append(press + 1)
        if error is not None:
            raise error


def test_ctrl_c_waits_until_native_code_is_done(monkeypatch):
    monkeypatch.setattr(framework, "_AGAIN_SECONDS", 60)  # between the two, on whatever machine
    handler, done = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt):
        pressed(2, done)
    assert done == [1, 2]
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_error_that_native_code_makes_of_ctrl_c_is_not_what_is_said():
    with pytest.raises(KeyboardInterrupt):
        pressed(1, [], RuntimeError("a damaged file"))


def test_ctrl_c_again_does_not_wait(monkeypatch):
    monkeypatch.setattr(framework, "_AGAIN_SECONDS", 0)
    done = []
    with pytest.raises(KeyboardInterrupt):
        pressed(3, done)
    assert done == [1, 2]  # the second one was held back by the inner context alone


def test_a_device_that_is_not_there_is_refused():
    with pytest.raises(HubpkgError, match="expected a usable device Ascend, found"):
        framework.start("O0", "Ascend")


def test_versions_of_ascend_software_are_read_from_their_files(tmp_path):
    driver = tmp_path / "driver"
    driver.write_text("Version=24.1.0\nascendhal_version=7.35.23\n")
    toolkit = tmp_path / "cann"
    toolkit.write_text("# version: 1.0\nruntime_running_version=[7.6.0.1.220:8.0.0]\n")
    assert environment._version_file(driver) == "24.1.0"  # noqa: SLF001
    assert environment._version_file(toolkit) == "8.0.0"  # noqa: SLF001
    assert environment._version_file(tmp_path / "none") is None  # noqa: SLF001


def test_the_commit_is_hubpkg_s_own(tmp_path, monkeypatch):
    subprocess.run(["git", "init", "-q", tmp_path], check=True)  # noqa: S607
    installed = tmp_path / ".venv" / "environment.py"
    installed.parent.mkdir()
    installed.write_text("")
    monkeypatch.setattr(environment, "__file__", str(installed))
    assert environment.commit() is None
