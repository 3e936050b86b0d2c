"""``hubpkg.json``: what is in a package, what it was made from and what was measured, with a digest of itself."""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import rfc8785

from hubpkg import documents
from hubpkg.errors import HubpkgError, InvalidDocumentError

NAME = "hubpkg.json"
FORMAT = 1


@dataclass(frozen=True)
class FileRecord:
    """Size in bytes and SHA-256 of a file."""

    size: int
    sha256: str


def record(path: Path) -> FileRecord:
    """The record of the file at ``path``, read in constant memory."""
    with path.open("rb") as file:
        sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        return FileRecord(file.tell(), sha256)


def digest(value: Any) -> str:
    """SHA-256 of ``value`` as canonical JSON (RFC 8785)."""
    return hashlib.sha256(rfc8785.dumps(value)).hexdigest()


def seal(data: Mapping[str, Any]) -> bytes:
    """The bytes of ``hubpkg.json`` for ``data``: canonical JSON, with the digest of each of its values added."""
    return rfc8785.dumps({**data, "digests": {key: digest(value) for key, value in data.items()}})


def read(path: Path) -> dict[str, Any]:
    """Read and check the manifest at ``path``: its schema, its canonical form and the digests it holds of itself.

    Raises:
        InvalidDocumentError: with every fault, each naming the key.
        HubpkgError: there is no readable file.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise HubpkgError(f"{path.name}: expected a readable manifest, found: {error.strerror}") from None
    try:
        data = json.loads(raw)
        canonical = rfc8785.dumps(data)
    except (ValueError, RecursionError) as error:
        raise InvalidDocumentError([f"{path.name}: expected canonical JSON, found: {error}"]) from None
    faults = [f"{path.name}: {message}" for _, message in documents.faults_of(data, "manifest")]
    if isinstance(data, dict) and isinstance(data.get("digests"), dict):
        found = {key: digest(value) for key, value in data.items() if key != "digests"}
        faults += [
            f"{path.name}: {key}: expected the value whose digest is {data['digests'].get(key, 'missing')}, "
            f"found one with {found.get(key, 'none')}"
            for key in sorted(found.keys() | data["digests"].keys())
            if found.get(key) != data["digests"].get(key)
        ]
    if not faults and raw != canonical:
        offset = next((i for i, (a, b) in enumerate(zip(raw, canonical, strict=False)) if a != b), len(canonical))
        faults.append(f"{path.name}: expected canonical JSON (RFC 8785), found other bytes from offset {offset}")
    if faults:
        raise InvalidDocumentError(faults)
    return dict(data)
