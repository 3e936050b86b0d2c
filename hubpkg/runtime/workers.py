"""Several processes that share a run, as msrun, MindSpore's launcher, starts them."""

import ctypes
import errno
import math
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from itertools import count as counter
from pathlib import Path
from typing import Any

from hubpkg import cache as kept
from hubpkg.errors import HubpkgError
from hubpkg.runtime import framework

_SCHEDULER, _WORKER = "MS_SCHED", "MS_WORKER"  # what msrun calls its processes, in MS_ROLE
_LAUNCHED = "HUBPKG_LAUNCHED"  # in the environment of the processes that hubpkg starts by msrun: where their logs are
_FIRST = "first"  # the file beside the logs with the first worker's process id
_DONE = "done"  # how the files beside the logs are called that workers leave when their work is done
_TOLD = ("engine: ", "train: ", "hubpkg: warning: ")  # how lines of the first worker begin that are passed on
_LINES = 20  # of a worker's log in an error
_PATIENCE = 10  # seconds for processes that were told to end, or whose work is done
_KEEPING = 60  # likewise, for the first worker to come to the end of a step and write a snapshot
_POLL_SECONDS = 0.2
_PORTS = range(10_000, 30_000)
# Runs msrun so that Linux interrupts it when the process that started it ends, were it killed; argument: its id.
_MSRUN = """
import ctypes, os, runpy, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT)
if os.getppid() == int(sys.argv.pop(1)):
    runpy.run_module("mindspore.parallel.cluster.run", run_name="__main__", alter_sys=True)
"""
_LONGEST = timedelta(days=7)  # that one process waits for another


@dataclass(frozen=True)
class Group:
    """The processes that share a run.

    Attributes:
        rank: which of them this is, from 0.
        size: how many there are.
        store: MindSpore's store of keys and values, which the first one keeps; None in a group of one.
        turns: counts the collections, so that each has keys of its own.
    """

    rank: int
    size: int
    store: Any
    turns: Iterator[int] = field(default_factory=counter)

    @property
    def is_first(self) -> bool:
        """Whether this is the one that writes and prints the results."""
        return self.rank == 0

    def share(self, count: int) -> range:
        """The indices below ``count`` that this process sees to: each is in the share of exactly one."""
        return range(self.rank, count, self.size)

    def collect(self, value: str) -> list[str]:
        """The ``value`` of each process by rank, to the first one, which waits for them; none to the others."""
        if self.size == 1:
            return [value]
        turn = next(self.turns)
        if self.is_first:
            return [value, *(self._received(f"{turn}/{rank}") for rank in range(1, self.size))]
        self.store.set(f"{turn}/{self.rank}", value)
        return []

    def wait_for_first(self) -> None:
        """Let no process go on before the first one is here: collectives on the CPU do not wait long."""
        if self.size > 1:
            key = f"{next(self.turns)}/first"
            self.store.set(key, "here") if self.is_first else self._received(key)

    def meet(self) -> None:
        """Let no process go on before all are here."""
        self.collect("here")
        self.wait_for_first()

    def _received(self, key: str) -> str:
        while not (value := self.store.get(key)):  # which does not wait in MindSpore 2.7
            time.sleep(_POLL_SECONDS)
        return str(value, "utf-8")


def is_worker() -> bool:
    """Whether msrun started this process, as a worker or as the scheduler."""
    return os.environ.get("MS_ROLE") in {_SCHEDULER, _WORKER}


def is_launched() -> bool:
    """Whether :func:`launch` is at work on this process."""
    return _LAUNCHED in os.environ


def tell_launcher() -> None:
    """Tell :func:`launch` that the work of this process is done: MindSpore may yet crash or hang at the process's end.

    msrun would end those that are not done yet if another crashed, so each waits for all.
    """
    if is_launched():
        logs = Path(os.environ[_LAUNCHED])
        (logs / f"{_DONE}-{group().rank}").touch()
        while logs.is_dir() and len(list(logs.glob(f"{_DONE}-*"))) < group().size:
            time.sleep(_POLL_SECONDS)


@cache
def group() -> Group:
    """The group that this process is in, joined at the first call; a group of one outside msrun.

    The process that msrun started as the scheduler stays in the call until the workers have left, and exits.
    """
    if not is_worker():
        return Group(0, 1, None)
    mindspore = framework.load()
    from mindspore.mint.distributed import TCPStore

    mindspore.communication.init()
    if os.environ["MS_ROLE"] == _SCHEDULER:
        sys.exit(0)
    rank, size = mindspore.communication.get_rank(), mindspore.communication.get_group_size()
    if is_launched() and rank == 0:
        Path(os.environ[_LAUNCHED], _FIRST).write_text(str(os.getpid()), encoding="utf-8")
    # Collectives on the CPU give up after half a minute, and work may keep the processes further apart than that. Now
    # that all have just joined, one tells the port of a store that waits longer.
    mine = mindspore.Tensor([free_port() if rank == 0 else 0], mindspore.int32)
    port = int(mindspore.ops.AllGather()(mine).asnumpy()[0])
    store = TCPStore(os.environ["MS_SCHED_HOST"], port, size, rank == 0, _LONGEST)
    # Its destructor, at the process's end, now and then waits for ever for a lock of MindSpore's own: it is kept from
    # running, by a reference that nobody gives back.
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(store))
    return Group(rank, size, store)


def threads() -> int:
    """How many threads an engine may use: OMP_NUM_THREADS, or the CPUs that this process may run on."""
    given = os.environ.get("OMP_NUM_THREADS", "")
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(given) if given.isdigit() and int(given) else available


def launch(
    count: int,
    options: str,
    arguments: Sequence[str],
    report: Callable[[str], None],
    watch: Callable[[], None] = lambda: None,
) -> None:
    """Run ``hubpkg`` with ``arguments`` in ``count`` processes on this machine, and wait until they are done.

    Args:
        count: how many.
        options: more of msrun's own, such as ``--bind_core=True``.
        arguments: of a command that calls :func:`group`.
        report: told, in one line, where the logs are.
        watch: called several times a second meanwhile.

    Raises:
        HubpkgError: msrun refuses an option, or a worker ended before its work was done; holds the end of its log.
    """
    with kept.writing():
        (kept.folder() / "logs").mkdir(parents=True, exist_ok=True)
        logs = Path(tempfile.mkdtemp(dir=kept.folder() / "logs"))
    with kept.locked(kept.lock_of(logs.name), report):  # the cache is not to be cleared of them meanwhile
        report(f"workers: {count} under msrun, logs in {logs}")
        python = logs / "python"  # msrun starts whatever has this name on PATH
        python.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} "$@"\n', encoding="utf-8")
        python.chmod(0o755)
        environment = {
            **os.environ,
            "PATH": f"{logs}{os.pathsep}{os.environ.get('PATH', os.defpath)}",
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", str(max(1, threads() // count))),
            _LAUNCHED: str(logs),
            "GLOG_v": "3",  # msrun logs, as an error, that a worker has ended
        }
        command = [
            *(sys.executable, "-c", _MSRUN, str(os.getpid()), "--join=True", f"--log_dir={logs}"),
            *(f"--worker_num={count}", f"--local_worker_num={count}", f"--master_port={free_port()}"),
            # No worker has this number: their logs are not to be shown as they grow.
            *(f"--tail_worker_log={count}", *shlex.split(options), "python", "-m", "hubpkg", *arguments),
        ]
        with (logs / "msrun.log").open("wb") as log:
            msrun = subprocess.Popen(  # noqa: S603 - our own
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True
            )
        try:
            failed = _wait(msrun, logs, report, lambda: len(list(logs.glob(f"{_DONE}-*"))) == count, watch)
        except BaseException:
            _interrupt(logs, report)
            msrun.send_signal(signal.SIGINT)  # ends the workers too, which are in sessions of their own
            _end(msrun)
            raise
        if failed:
            raise HubpkgError(
                f"expected {count} workers to end well, found {failed}; what was done is kept: mend the cause, and run "
                f"the command again\n{_last_words(logs)}"
            )
        shutil.rmtree(logs)


def free_port() -> int:
    """A port of this machine that nobody has.

    It is none of those that systems give out by themselves, from 32768 on where nobody changed that: seconds pass
    until it is used.
    """
    with socket.socket() as probe:
        while True:
            port = secrets.choice(_PORTS)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                if error.errno != errno.EADDRINUSE:
                    raise
            else:
                return port


def _wait(
    msrun: "subprocess.Popen[bytes]",
    logs: Path,
    report: Callable[[str], None],
    done: Callable[[], bool],
    watch: Callable[[], None],
) -> str | None:
    """Wait for the end, telling what the first worker says, and give what went wrong; nothing if all are ``done``.

    msrun itself waits long after a worker's death for the scheduler, and for ever for a worker that hangs at its end.
    """
    log, told, ended, latest = logs / "msrun.log", 0, False, math.inf
    while not ended:
        time.sleep(_POLL_SECONDS)
        ended = msrun.poll() is not None
        watch()
        if done():
            latest = min(latest, time.monotonic() + _PATIENCE)
        if not ended and time.monotonic() > latest:
            msrun.send_signal(signal.SIGINT)  # it kills the workers, which are in sessions of their own
            with suppress(subprocess.TimeoutExpired):
                msrun.wait(_PATIENCE)
            _end(msrun)
            ended = True
        with suppress(FileNotFoundError), (logs / "worker_0.log").open("rb") as said:
            said.seek(told)
            whole, _, _ = said.read().rpartition(b"\n")
            told += len(whole) + bool(whole)
            for line in whole.decode(errors="replace").splitlines():
                if line.startswith(_TOLD):
                    report(line)
        if death := re.search(rb"Worker process (\d+) exit with exception\. Error code: (-?\d+)", log.read_bytes()):
            time.sleep(1)  # in which msrun ends the other workers
            _end(msrun)
            return None if done() else f"that the process {int(death[1])} ended with {int(death[2])}"
    return None if done() or not msrun.returncode else f"that msrun ended with {msrun.returncode}"


def _interrupt(logs: Path, report: Callable[[str], None]) -> None:
    """Let the first worker keep what was done, for as long as it may take and nobody is interrupted again."""
    with suppress(FileNotFoundError, ProcessLookupError, KeyboardInterrupt):
        first = int((logs / _FIRST).read_text(encoding="utf-8"))
        os.kill(first, signal.SIGINT)
        report("workers: interrupted; the first one keeps what was done")
        ends = time.monotonic() + _KEEPING
        while time.monotonic() < ends and b"exit with exception" not in (logs / "msrun.log").read_bytes():
            os.kill(first, 0)
            time.sleep(_POLL_SECONDS)


def _end(msrun: "subprocess.Popen[bytes]") -> None:
    with suppress(subprocess.TimeoutExpired):
        msrun.wait(1)
    with suppress(ProcessLookupError):
        os.killpg(msrun.pid, signal.SIGTERM)
    with suppress(subprocess.TimeoutExpired):
        msrun.wait(_PATIENCE)
    with suppress(ProcessLookupError):
        os.killpg(msrun.pid, signal.SIGKILL)
    msrun.wait()


def _last_words(logs: Path) -> str:
    """What the workers' logs say of why, and where they are."""
    said = {}
    for log in sorted(logs.glob("worker_*.log")) or [logs / "msrun.log"]:
        lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
        errors = [line for line in lines if line.startswith("hubpkg: error:")] or [
            line
            for line in lines
            if log.name == "msrun.log" and " error: " in line  # argparse's, after its usage
        ]
        said[log] = errors or [line for line in lines if "Exception ignored in" not in line][-_LINES:]
    told = {log: lines for log, lines in said.items() if lines and lines[0].startswith("hubpkg: error:")} or said
    return "\n".join(line for log, lines in told.items() for line in (f"{log}:", *lines))
