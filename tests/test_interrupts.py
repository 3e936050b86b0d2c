"""Ctrl-C and its like: told in one line, whatever is done when they come."""

import os
import signal
import subprocess
import sys

import pytest

from hubpkg import interrupts


def pressed(times, done, error=None):
    with interrupts.deferred():
        for press in range(times):
            with interrupts.deferred():
                signal.raise_signal(signal.SIGINT)
                done.append(press + 1)
        if error is not None:
            raise error


def test_ctrl_c_waits_until_native_code_is_done(monkeypatch):
    monkeypatch.setattr(interrupts, "_AGAIN_SECONDS", 60)  # between the two, on whatever machine
    handler, done = signal.getsignal(signal.SIGINT), []
    with pytest.raises(KeyboardInterrupt):
        pressed(2, done)
    assert done == [1, 2]
    assert signal.getsignal(signal.SIGINT) is handler


def test_an_error_that_native_code_makes_of_ctrl_c_is_not_what_is_said():
    with pytest.raises(KeyboardInterrupt):
        pressed(1, [], RuntimeError("a damaged file"))


def test_ctrl_c_again_does_not_wait(monkeypatch):
    monkeypatch.setattr(interrupts, "_AGAIN_SECONDS", 0)
    done = []
    with pytest.raises(KeyboardInterrupt):
        pressed(3, done)
    assert done == [1, 2]  # the second one was held back by the inner context alone


IN_A_NAME = """
class Part:
    def __set_name__(self, owner, name):
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))

def build(*_):
    type("Whole", (), {"part": Part()})
"""
IN_A_DEL = """
class Part:
    def __del__(self):
        os.kill(os.getpid(), getattr(signal, sys.argv[1]))
        time.sleep(1)

def build(*_):
    part = Part()
    del part
    time.sleep(60)
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("where", [IN_A_NAME, IN_A_DEL], ids=["name", "del"])
def test_an_interrupt_that_python_makes_another_error_of_or_loses_is_told_as_one(where, name, models, tmp_path):
    # Python before 3.12 makes a RuntimeError of it when a class is made, so any import with an enum in it may.
    around = "import os, signal, sys, time; from hubpkg import cli, package", "package.build = build"
    done = subprocess.run(
        [sys.executable, "-c", f"{around[0]}\n{where}\n{around[1]}; sys.exit(cli.main(['build', 'xcit_small']))", name],
        env={**os.environ, "HUBPKG_MODELS": str(models), "HUBPKG_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "hubpkg: interrupted; finished stages are kept\n"


@pytest.mark.parametrize(
    ("second", "status", "told"),
    [
        pytest.param("SIGINT", -signal.SIGINT, "", id="Ctrl-C again"),
        pytest.param("SIGTERM", 130, "told\n", id="MindSpore's answer to the first"),
    ],
)
def test_another_one_while_it_is_told_ends_the_process_without_a_traceback(second, status, told, models, tmp_path):
    code = """
import os, signal, sys
from hubpkg import cli, package, printing

def build(*_):
    os.kill(os.getpid(), signal.SIGINT)

def say(_):
    os.kill(os.getpid(), getattr(signal, sys.argv[1]))
    print("told")

package.build, printing.say = build, say
sys.exit(cli.main(["build", "xcit_small"]))
"""
    done = subprocess.run(
        [sys.executable, "-c", code, second],
        env={**os.environ, "HUBPKG_MODELS": str(models), "HUBPKG_CACHE": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (status, told, "")
