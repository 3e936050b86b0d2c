"""A file in place of another: whoever reads it meanwhile, and after a kill, finds the one or the other, whole."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT)  # which come with no name


@contextmanager
def of(path: Path) -> Iterator[Path]:
    """A path beside ``path``, with its suffix, where nothing is: the file that is written there takes its place.

    It does so when the context ends well; else it is removed, and what was at ``path`` stays.

    Raises:
        OSError: it can't be written; names ``path``.
    """
    partial = path.with_name(f".{path.stem[:40]}.{os.getpid()}.{time.monotonic_ns()}{path.suffix}")  # of this process
    try:
        yield partial
        partial.replace(path)
    except BaseException as error:
        with suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and (error.filename == str(partial) or error.errno in _FULL):
            error.filename, error.filename2 = str(path), None
        raise


def write(path: Path, data: bytes) -> None:
    """Let the file at ``path`` hold ``data``; it is not touched if it does.

    Raises:
        OSError: it can't be written; an earlier file stays.
    """
    with suppress(OSError):
        if path.read_bytes() == data:
            return
    with of(path) as partial, partial.open("xb") as file:
        file.write(data)
