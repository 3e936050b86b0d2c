"""A package's weights in other formats, as its manifest lists them: each was loaded back and compared."""

from collections.abc import Mapping, Sequence
from typing import Any

from hubpkg import manifest
from hubpkg.errors import HubpkgError, InvalidDocumentError

ONNX, MINDIR, SAFETENSORS = "onnx", "mindir", "safetensors"
FORMATS = (ONNX, MINDIR, SAFETENSORS)
COMPARED = 8  # inputs, on which each is compared with MindSpore


def listed(contents: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """The exports that the manifest ``contents`` lists."""
    found: Sequence[Mapping[str, Any]] = contents.get("exports", ())
    return found


def file_name(model: str, sha256: str, suffix: str) -> str:
    """What an asset is called, by the hub's naming custom."""
    return f"{model}-{sha256[:8]}.{suffix}"


def check(contents: Mapping[str, Any]) -> str:
    """Whether each listed export is a file of the package, by its own digest and name; give what there is to say of it.

    Raises:
        InvalidDocumentError: with each that is not.
    """
    faults = []
    for index, export in enumerate(listed(contents)):
        where, file = f"{manifest.NAME}: exports.{index}", export["file"]
        expected = file_name(contents["model"], export["sha256"], export["format"])
        if file != expected:
            faults.append(f"{where}.file: expected {expected}, found {file}")
        if export["compared"]["images"] != COMPARED:
            faults.append(f"{where}.compared.images: expected {COMPARED}, found {export['compared']['images']}")
        recorded = contents["files"].get(file, {"sha256": "none"})["sha256"]
        if recorded != export["sha256"]:
            faults.append(f"{where}.sha256: expected {recorded}, as listed for {file}, found {export['sha256']}")
    kinds = [export["format"] for export in listed(contents)]
    faults += [
        f"{manifest.NAME}: exports: expected {kind} once, found it twice" for kind in FORMATS if kinds.count(kind) > 1
    ]
    if faults:
        raise InvalidDocumentError(faults)
    return f"{', '.join(export['file'] for export in listed(contents))}, as listed" if kinds else "none"


def chosen(text: str) -> tuple[str, ...]:
    """The formats that ``text`` names, commas between them.

    Raises:
        HubpkgError: one of them is none.
    """
    formats = tuple(dict.fromkeys(text.split(",")))
    unknown = [name for name in formats if name not in FORMATS]
    if unknown:
        raise HubpkgError(f"--format: expected {', '.join(FORMATS)} with commas between them, found {text!r}")
    return formats
