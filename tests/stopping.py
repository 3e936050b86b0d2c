"""Work that is stopped just before each of its steps, in a program that imports this and that a test starts."""

import os
import signal
import subprocess
import sys
import traceback
from pathlib import Path


def before(count, is_step, number):
    """Let this process get the signal ``number`` before step ``count``, from 0, of the audit events that are steps."""
    left = iter(range(count))

    def hook(event, values):
        if is_step(event, values) and next(left, None) is None:
            os.kill(os.getpid(), number)

    sys.addaudithook(hook)


def everywhere(work, is_step, number=signal.SIGKILL, every=1):
    """Fork a process that does ``work``, stopped before its first step; then one stopped ``every`` steps later; so on.

    After each one gives how many steps it had done, and whether it did them all: then there is no further one.
    """
    count, done = 0, False
    while not done:
        pid = os.fork()
        if not pid:
            try:
                before(count, is_step, number)
                work()
            except KeyboardInterrupt:
                os._exit(130)
            except BaseException:  # noqa: BLE001 - which must not go on as its parent
                traceback.print_exc()
                os._exit(1)
            os._exit(0)
        ended = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        assert ended in (0, 130, -number), ended
        done = ended == 0
        yield count, done
        count += every


def run(program, *arguments, **environment):
    """What the Python ``program``, which can import this module and hubpkg, prints in the end."""
    places = os.pathsep.join(map(str, (Path(__file__).parent, Path(__file__).parents[1])))
    done = subprocess.run(
        [sys.executable, "-c", program, *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": places, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1]
