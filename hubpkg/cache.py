"""The cache: files by their SHA-256, hashed again whenever they are used and never trusted by their name."""

import errno
import hashlib
import os
import re
import shutil
import stat
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from hubpkg import replacement
from hubpkg.errors import CacheWarning, HubpkgError, IntegrityError

_BLOCK = 1 << 20
_DAY = 86_400.0
_DIGEST = re.compile(r"[0-9a-f]{64}")
_chosen: Path | None = None  # by set_hub_dir


def folder() -> Path:
    """The folder given to :func:`set_hub_dir`, else ``HUBPKG_CACHE``, else the platform's user cache folder."""
    import platformdirs

    given = _chosen or os.environ.get("HUBPKG_CACHE") or platformdirs.user_cache_path("hubpkg", appauthor=False)
    return Path(given).expanduser().absolute()


def set_hub_dir(dir_path: str | Path | None = None) -> None:
    """Keep the cache and its lock file in the folder ``dir_path``; None: where it was before the first call."""
    global _chosen  # noqa: PLW0603 - one setting for the process, as in mindspore_hub
    _chosen = None if dir_path is None else Path(dir_path)


def get_hub_dir() -> str:
    """The absolute path of the cache folder."""
    return str(folder())


@dataclass(frozen=True)
class Entry:
    """Something in the cache that can be listed and removed.

    Attributes:
        kind: ``file``, ``code``, ``stage``, ``survey`` (what was found in a dataset), ``evaluation`` (the
            journal of one that was stopped), ``logs`` (of workers that failed), ``partial`` (a download that
            goes on when it is asked for again) or ``damaged`` (set aside).
        name: a file's SHA-256, or what the entry is called in its folder.
        size: bytes.
        used: when it was last used, in seconds since 1970.
        path: where it is.
    """

    kind: str
    name: str
    size: int
    used: float
    path: Path

    def as_json(self) -> dict[str, Any]:
        """What ``hubpkg cache list --json`` prints of it."""
        return {**asdict(self), "path": str(self.path)}


def file_of(sha256: str) -> Path:
    """Where the cache keeps the file with that digest, whether it is there or not."""
    return folder() / "file" / sha256[:2] / sha256


def digest_of(path: Path) -> str | None:
    """SHA-256 of the regular file at ``path``, read in constant memory; None if there is none, or another thing."""
    try:
        # A link could name any file, and to open a pipe could take for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        return None
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor has no path
        return hashlib.file_digest(file, "sha256").hexdigest()


def find(sha256: str) -> Path | None:
    """The cached file with that digest, which was hashed now."""
    path = file_of(sha256)
    if digest_of(path) != sha256:
        return None
    _touch(path)
    return path


def _touch(path: Path) -> None:
    """Note that ``path`` was used now."""
    with suppress(OSError):  # the cache may be another's, and only be read
        os.utime(path)


def clear(sha256: str) -> None:
    """Set what stands in that file's place aside, with a warning, unless it is that file; the caller has its lock.

    Raises:
        HubpkgError: the cache can't be written.
    """
    path = file_of(sha256)
    if not os.path.lexists(path) or (found := digest_of(path)) == sha256:
        return
    target = folder() / "damaged" / f"{sha256}.{time.time_ns()}"
    with writing():
        target.parent.mkdir(parents=True, exist_ok=True)
        path.rename(target)
    warnings.warn(
        f"{path}: expected sha256 {sha256}, found {found or 'no regular file'}; set aside as {target}",
        CacheWarning,
        stacklevel=2,
    )


def read(sha256: str) -> bytes | None:
    """The bytes with that digest, if the cache has them."""
    path = file_of(sha256)
    data = path.read_bytes() if path.is_file() else None
    if data is None or hashlib.sha256(data).hexdigest() != sha256:
        return None
    _touch(path)
    return data


def add(data: bytes) -> str:
    """Keep ``data``; give its SHA-256."""
    sha256 = hashlib.sha256(data).hexdigest()
    if find(sha256) is None:
        with locked(lock_of(sha256), lambda _: None), writing():
            clear(sha256)
            partial = partial_of(sha256)
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.unlink(missing_ok=True)  # of a process that was killed; it may be read-only, or another thing
            partial.write_bytes(data)
            adopt(partial, sha256)
    return sha256


def partial_of(name: str) -> Path:
    """Where the part of a file lies that is there so far."""
    return folder() / "partial" / name


def adopt(partial: Path, sha256: str) -> Path:
    """Let the file ``partial``, whose digest is ``sha256``, take its place in the cache."""
    path = file_of(sha256)
    with writing():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial.chmod(0o444)
        partial.replace(path)
    return path


@contextmanager
def writing() -> Iterator[None]:
    """Say, of a cache that can't be written, what to do; a full disk is told as such by whoever runs into it."""
    try:
        yield
    except (PermissionError, NotADirectoryError, FileExistsError) as error:
        raise HubpkgError(_unwritable(error)) from None
    except OSError as error:
        if error.errno == errno.EROFS:
            raise HubpkgError(_unwritable(error)) from None
        raise


def _unwritable(error: OSError) -> str:
    return (
        f"expected a cache folder that can be written, found {folder()}: {error.strerror}; "
        "name another one in the environment variable HUBPKG_CACHE"
    )


@contextmanager
def locked(path: Path, report: Callable[[str], None]) -> Iterator[None]:
    """Hold the lock file ``path``, telling ``report`` when another process has it and must be waited for.

    The system lets go of the lock of a process that ends, however it ends.
    """
    import filelock

    try:
        lock = _lock(path)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        report(f"waiting for another hubpkg that holds {path}")
        lock.acquire()
    except OSError as error:
        raise HubpkgError(_unwritable(error)) from None
    try:
        yield
    finally:
        lock.release()


def _lock(path: Path) -> Any:
    import filelock

    path.parent.mkdir(parents=True, exist_ok=True)
    return filelock.FileLock(path, mode=0o666)  # whoever shares the folder may take the lock


def lock_of(name: str) -> Path:
    """The lock file of whoever makes or removes what is called ``name``."""
    return folder() / "locks" / f"{name}.lock"


def entries() -> list[Entry]:
    """What is in the cache, the longest unused first."""
    root = folder()
    patterns = {
        "file": "file/??/*",
        "code": "code/*",
        "stage": "stage/*",
        "partial": "partial/*",
        "damaged": "damaged/*",
        "survey": "survey/*",
        "evaluation": "evaluation/*",
        "training": "training/*",
        "logs": "logs/*",
    }
    found = []
    for kind, pattern in patterns.items():
        for path in root.glob(pattern):
            if kind == "file" and not _DIGEST.fullmatch(path.name):
                continue  # some systems leave files of their own
            with suppress(FileNotFoundError):  # another process may remove it meanwhile
                found.append(_entry(kind, path))
    return sorted(found, key=lambda entry: (entry.used, entry.name))


def _entry(kind: str, path: Path) -> Entry:
    files = [path, *path.rglob("*")] if path.is_dir() and not path.is_symlink() else [path]
    stats = [file.lstat() for file in files]
    size = sum(found.st_size for found in stats if not stat.S_ISDIR(found.st_mode))
    return Entry(kind, path.name, size, stats[0].st_mtime, path)


def verify() -> tuple[int, list[str]]:
    """Hash every cached file and set the damaged ones aside; give how many there were, and the damaged ones' names."""
    names = [entry.name for entry in entries() if entry.kind == "file"]
    damaged = [name for name in names if find(name) is None]
    for name in damaged:
        with locked(lock_of(name), lambda _: None):
            clear(name)
    return len(names), damaged


def prune(days: float) -> list[Entry]:
    """Remove what was set aside, and what was not used for ``days`` days; give what was removed.

    What another process is at work on stays.
    """
    import filelock

    removed = []
    for entry in entries():
        if entry.kind != "damaged" and time.time() - entry.used < days * _DAY:
            continue
        lock = _lock(lock_of(f"training-{entry.name}" if entry.kind == "training" else entry.path.stem))
        with writing(), suppress(filelock.Timeout), lock.acquire(timeout=0):
            if entry.path.is_dir() and not entry.path.is_symlink():
                shutil.rmtree(entry.path)
            else:
                entry.path.unlink(missing_ok=True)
            removed.append(entry)
    return removed


def deliver(path: Path, target: Path, sha256: str | None = None) -> Path:
    """Put a copy of the file at ``path`` at ``target``, whole or not at all; give ``target``.

    Raises:
        IntegrityError: its digest is not ``sha256``.
    """
    with replacement.of(target) as partial:
        found = copy(path, partial)
        if found != (sha256 or found):
            raise IntegrityError(f"{path}: expected sha256 {sha256}, found {found}; run it again")
    return target


def copy(path: Path, target: Path) -> str:
    """Copy the file at ``path`` to ``target`` and give the SHA-256 of the bytes that were copied."""
    hasher = hashlib.sha256()
    with path.open("rb") as source, target.open("xb") as copied:
        while block := source.read(_BLOCK):
            hasher.update(block)
            copied.write(block)
    return hasher.hexdigest()
