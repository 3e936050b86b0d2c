"""The files of a package that are made of its manifest: the card, the bill of materials, the provenance."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from hubpkg import bom, card, manifest, provenance


def card_name(contents: Mapping[str, Any]) -> str:
    """What the card of the package with the manifest ``contents`` is called."""
    return f"{contents['package']}.md"


def finish(package: Path, contents: dict[str, Any]) -> None:
    """Write the card, and :func:`seal` the package."""
    (package / card_name(contents)).write_text(card.render(contents), encoding="utf-8")
    seal(package, contents)


def seal(package: Path, contents: dict[str, Any]) -> None:
    """Write the bill of materials, the provenance and the manifest for the files that are in the folder ``package``.

    ``contents``, what the manifest says, gets the records of all files.
    """
    made = {bom.FILE: bom.render, provenance.FILE: provenance.render}  # which names the former, too
    names = {path.relative_to(package).as_posix() for path in package.rglob("*") if path.is_file()}
    found = manifest.records(package, names - {manifest.NAME, *made})
    contents["files"] = {name: asdict(record) for name, record in sorted(found.items())}
    for file, render in made.items():
        (package / file).write_text(render(contents), encoding="utf-8")
        contents["files"][file] = asdict(manifest.record(package / file))
    (package / manifest.NAME).write_bytes(manifest.seal(contents))
