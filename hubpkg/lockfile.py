"""``hubpkg.lock``, in the cache: the bytes that were meant where nothing else names them, and the code that is trusted.

It binds every later load. To let go of a binding, delete its line, or the file.
"""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hubpkg import cache
from hubpkg.errors import HubpkgError, InvalidDocumentError

NAME = "hubpkg.lock"
_EMPTY: dict[str, Any] = {"format": 1, "assets": {}, "code": {}, "documents": {}}


def path() -> Path:
    """Where the user's lock file is: in a cache that is another's, it has the user's number in its name."""
    folder, user = cache.folder(), os.getuid()
    own = not folder.exists() or folder.stat().st_uid == user
    return folder / (NAME if own else f"hubpkg-{user}.lock")


def read(section: str) -> Mapping[str, Any]:
    """What the lock file holds under ``section``.

    The sections are ``assets``, ``<URL> <short digest>`` to SHA-256; ``code``, a repo-link or a folder to the commit
    and the SHA-256 of each file; and ``documents``, a URL to the SHA-256 of the card or manifest there, null where
    there was none.

    Raises:
        InvalidDocumentError: it is no lock file.
    """
    found: Mapping[str, Any] = _read()[section]
    return found


def pin(section: str, key: str, value: Any) -> None:
    """Write that ``key`` stands for ``value``.

    Raises:
        HubpkgError: the lock file can't be read or written.
    """
    with cache.writing(), cache.locked(cache.lock_of(NAME), lambda _: None):
        contents = _read()
        contents[section] = {**contents[section], key: value}
        partial = path().with_suffix(".partial")
        partial.unlink(missing_ok=True)  # never written to: it may be a link
        with partial.open("x", encoding="utf-8") as file:
            file.write(json.dumps(contents, indent=1, sort_keys=True) + "\n")
        partial.replace(path())


def _read() -> dict[str, Any]:
    try:
        owner = path().stat().st_uid
        data = json.loads(path().read_bytes())
    except FileNotFoundError:
        return _EMPTY.copy()
    except (ValueError, RecursionError) as error:
        raise HubpkgError(f"{path()}: expected JSON, found: {error}; mend it or delete it") from None
    if owner != os.getuid():  # who shares the cache must not be able to say what is trusted
        raise HubpkgError(f"{path()}: expected your own file, found one of user {owner}; read it, and delete it")
    from hubpkg import documents  # which takes as long to import as fetching a small file

    faults = [f"{path()}: {message}; mend it or delete it" for _, message in documents.faults_of(data, "lock")]
    if faults:
        raise InvalidDocumentError(faults)
    return dict(data)
