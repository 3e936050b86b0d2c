"""A file in place of another: whoever reads it meanwhile, and after a kill, finds the one or the other, whole."""

import errno
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)  # which come with no name


@contextmanager
def of(path: Path) -> Iterator[Path]:
    """A path beside ``path``, as :func:`beside` gives it, for a file that takes the place of what is at ``path``.

    It does so when the context ends well; else what was there stays.

    Raises:
        OSError: it can't be written; names ``path``.
    """
    with beside(path) as partial:
        yield partial
        partial.replace(path)


@contextmanager
def beside(path: Path) -> Iterator[Path]:
    """A path beside ``path``, with its suffix, that no other process writes to; removed when the context ends.

    Raises:
        OSError: it can't be written; names ``path``.
    """
    partial = path.with_name(f".{path.stem[:40]}.{os.getpid()}.{time.monotonic_ns()}{path.suffix[:20]}")
    try:
        yield partial
    except OSError as error:
        if error.filename == str(partial) or (error.filename is None and error.errno in _FULL):
            error.filename, error.filename2 = str(path), None
        raise
    finally:
        with suppress(OSError):
            partial.unlink()


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
