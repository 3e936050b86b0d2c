"""``hubpkg.json``: what is in a package, what it was made from and what was measured, with a digest of itself."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from hubpkg import documents
from hubpkg.errors import HubpkgError, InvalidDocumentError

NAME = "hubpkg.json"
FORMAT = 1
_BLOCK = 1 << 18  # bytes that are read at once


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str


def record(path: Path, stopped: Callable[[], bool] = lambda: False) -> FileRecord:
    """The record of the file at ``path``, read in constant memory; of its beginning, if it is ``stopped``."""
    sha256, size, block = hashlib.sha256(), 0, memoryview(bytearray(_BLOCK))
    with path.open("rb", buffering=0) as file:
        while (count := file.readinto(block)) and not stopped():
            sha256.update(block[:count])
            size += count
    return FileRecord(size, sha256.hexdigest())


def records(folder: Path, names: Iterable[str]) -> dict[str, FileRecord]:
    """The records of the files ``names`` in ``folder``, hashed by as many threads as there are CPUs, large ones first.

    Raises:
        OSError: a file can't be read.
    """
    import threading
    from concurrent.futures import ThreadPoolExecutor

    ordered = sorted(names, key=lambda name: (folder / name).stat().st_size, reverse=True)
    stop = threading.Event()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        try:
            found = pool.map(lambda name: record(folder / name, stop.is_set), ordered)
            return dict(zip(ordered, found, strict=True))
        except BaseException:  # else an interrupt would wait for the end of the largest file
            stop.set()
            raise


def digest(value: Any) -> str:
    """SHA-256 of ``value`` as canonical JSON (RFC 8785)."""
    return hashlib.sha256(rfc8785.dumps(value)).hexdigest()


def seal(data: Mapping[str, Any]) -> bytes:
    """The bytes of ``hubpkg.json`` for ``data``: canonical JSON, with the digest of each of its values added."""
    return rfc8785.dumps({**data, "digests": {key: digest(value) for key, value in data.items()}})


def read(path: Path) -> dict[str, Any]:
    """The manifest at ``path``; see :func:`parse`.

    Raises:
        InvalidDocumentError: with every fault, each naming the key.
        HubpkgError: there is no readable file.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise HubpkgError(f"{path.name}: expected a readable manifest, found: {error.strerror}") from None
    return parse(raw, path.name)


def parse(raw: bytes, name: str) -> dict[str, Any]:
    """Check the manifest ``raw``: its schema, its canonical form and the digests it holds of itself.

    Raises:
        InvalidDocumentError: with every fault, each naming ``name`` and the key.
    """
    text = raw.decode("utf-8", "surrogateescape")  # other bytes have no digest, and so are named with their key
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:
        key = _key_at(text, getattr(error, "pos", 0))
        raise InvalidDocumentError([f"{name}: {key}: expected canonical JSON, found: {error}"]) from None
    faults = [f"{name}: {message}" for _, message in documents.faults_of(data, "manifest")]
    if isinstance(data, dict) and isinstance(data.get("digests"), dict):
        found = {key: _digest_found(value) for key, value in data.items() if key != "digests"}
        faults += [
            f"{name}: {key}: expected the value whose digest is {data['digests'].get(key, 'missing')}, "
            f"found one with {found.get(key, 'none')}"
            for key in sorted(found.keys() | data["digests"].keys())
            if found.get(key) != data["digests"].get(key)
        ]
    if not faults and text != (canonical := rfc8785.dumps(data).decode()):
        offset = next((i for i, (a, b) in enumerate(zip(text, canonical, strict=False)) if a != b), len(canonical))
        faults.append(
            f"{name}: {_key_at(text, offset)}: expected canonical JSON (RFC 8785), found other text from "
            f"character {offset}"
        )
    if faults:
        raise InvalidDocumentError([fault.encode(errors="backslashreplace").decode() for fault in faults])
    return dict(data)


def _digest_found(value: Any) -> str:
    try:
        return digest(value)
    except (ValueError, RecursionError):  # numbers and text that canonical JSON has not
        return "none"


def _key_at(text: str, offset: int) -> str:
    """The first-level key of the JSON ``text``, whose keys are words, that the character at ``offset`` belongs to."""
    key, depth, word = "document", 0, re.compile("[a-z]+")
    for part in re.finditer(r'"(?:[^"\\]|\\.)*"?|[{}\[\],]', text[:offset]):
        depth += (part[0] in "{[") - (part[0] in "}]")
        if (part[0], depth) in (("{", 1), (",", 1)):
            following = word.search(text, part.end())  # the key's quotes may be what is damaged
            key = following[0] if following else "document"
    return key
