"""``evidence/mistakes.json``: the images that a network gets most wrong, small, to be looked at without the dataset."""

import base64
import json
from collections.abc import Mapping
from pathlib import Path

FILE = "evidence/mistakes.json"  # in a package, where the dataset's images may be passed on
_PNG = b"\x89PNG\r\n\x1a\n"


def write(path: Path, pictures: Mapping[str, bytes]) -> None:
    """Write ``pictures``, PNG files by the names of their images, in base64."""
    images = {name: base64.b64encode(data).decode() for name, data in pictures.items()}
    path.write_text(json.dumps({"images": images}, indent=1) + "\n", encoding="utf-8")


def read(raw: bytes) -> dict[str, bytes]:
    """The pictures in what :func:`write` wrote; none of what is something else.

    Args:
        raw: the bytes of the file, which may be anybody's.
    """
    try:
        images = json.loads(raw)["images"]
        found = {name: base64.b64decode(text, validate=True) for name, text in images.items()}
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    return {name: data for name, data in found.items() if data.startswith(_PNG)}
