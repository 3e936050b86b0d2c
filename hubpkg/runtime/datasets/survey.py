"""What is in a split: a digest of it, and which images can't be read; kept in the cache while no file changes."""

import hashlib
import io
import json
import os
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from hubpkg import cache, replacement
from hubpkg.progress import track
from hubpkg.runtime.datasets.images import Images

_FORMAT = 1  # of the digest and of what is called damaged; part of the cache's key
_AT_ONCE = 1000  # images
_SETTLED_SECONDS = 2  # a file changed less long ago may change again unseen, within one tick of its clock


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        sha256: digest of names, labels, sizes and contents.
        contents: digest of each image's content.
        damaged: by index, in order, why an image can't be read.
    """

    sha256: str
    contents: Sequence[str]
    damaged: Mapping[int, str]


def take(images: Images) -> Survey:
    """Read every image, unless the cache tells that no file changed since that was done."""
    started = time.time()
    key, settled = _state(images, started)
    kept = cache.folder() / "survey" / key
    found = _kept(kept)
    if found is None:
        with cache.locked(cache.lock_of(f"survey-{key[:16]}"), lambda _: None):  # workers begin at the same time
            found = _kept(kept)
            if found is None:
                found = _read(images)
                if settled:
                    _keep(found, kept)
    return found


def _kept(kept: Path) -> Survey | None:
    with suppress(OSError, ValueError, KeyError, TypeError):
        data = json.loads(kept.read_text(encoding="utf-8"))
        os.utime(kept)  # when it was last used
        return Survey(
            data["sha256"], data["contents"], {int(index): reason for index, reason in data["damaged"].items()}
        )
    return None


def _keep(found: Survey, kept: Path) -> None:
    with cache.writing():
        kept.parent.mkdir(parents=True, exist_ok=True)
        replacement.write(kept, json.dumps(asdict(found)).encode())


def _state(images: Images, now: float) -> tuple[str, bool]:
    """Digest of all that the survey depends on, contents as far as files' state tells of them; and if that will do."""
    total = hashlib.sha256(f"{_FORMAT} {images.encoded}\n".encode())
    for name, label in zip(images.names, images.labels, strict=True):
        total.update(f"{label} {json.dumps(name)}\n".encode())
    newest = None
    for file in images.files:
        state = None
        with suppress(OSError):
            stat = Path(file).stat()
            state = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
            newest = max(newest or 0.0, stat.st_mtime)
        total.update(f"{json.dumps([str(Path(file).absolute()), state])}\n".encode())
    return total.hexdigest(), newest is not None and newest < now - _SETTLED_SECONDS


def _read(images: Images) -> Survey:
    total, contents, damaged = hashlib.sha256(), [], {}
    for index, (size, content, reason) in enumerate(track(_examined(images), "check data", len(images))):
        total.update(f"{json.dumps([images.names[index], images.labels[index], size, content])}\n".encode())
        contents.append(content)
        if reason is not None:
            damaged[index] = reason
    return Survey(total.hexdigest(), contents, damaged)


def _examined(images: Images) -> Iterator[tuple[int, str, str | None]]:
    """Size and digest of each image, and what is wrong with it."""
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for start in range(0, len(images), _AT_ONCE):  # what is asked for takes memory until it is done
            indices = range(start, min(start + _AT_ONCE, len(images)))
            yield from threads.map(lambda index: _examine(images, index), indices)


def _examine(images: Images, index: int) -> tuple[int, str, str | None]:
    """Size and digest of an image, and what is wrong with it."""
    try:
        data = images.read(index).tobytes()
    except OSError as error:
        return 0, "missing", error.strerror or str(error)
    return len(data), hashlib.sha256(data).hexdigest(), _fault(data) if images.encoded else None


def _fault(data: bytes) -> str | None:
    """Why the encoded image can't be decoded, if so.

    Pillow looks, not MindSpore, whose decoder can hang on a file cut short and, after some, refuse a good one.
    """
    from PIL import Image, UnidentifiedImageError

    if not data:
        return "an empty file"
    try:
        with Image.open(io.BytesIO(data), formats=("JPEG", "PNG", "BMP")) as image:
            image.load()
    except UnidentifiedImageError:
        return "no JPEG, PNG or BMP"
    except (OSError, SyntaxError, ValueError, EOFError, TypeError, IndexError, struct.error) as error:
        return str(error) or type(error).__name__
    except (Image.DecompressionBombError, MemoryError):
        return "more pixels than can be decoded"
    return None
