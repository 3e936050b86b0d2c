"""Name and source -> a card, and the manifest that pins what belongs to it, if it has one."""

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubpkg import cache, card, documents, lockfile, manifest, signature, transport
from hubpkg.errors import HubpkgError, IntegrityError
from hubpkg.transport import Policy

_ASSETS = "mshub_res/assets"  # the cards' folder in the hub's repository
_HUBS = {
    "gitee": f"https://gitee.com/mindspore/hub/raw/master/{_ASSETS}",
    "github": f"https://github.com/mindspore-ai/hub/raw/master/{_ASSETS}",
}
_DEFAULT_HUB = "gitee"  # as in mindspore_hub
_URL = re.compile(r"https?://", re.IGNORECASE)
_PAGE = re.compile(r"(https://(?:gitee|github)\.com/[^/]+/[^/]+)/(?:blob|tree)/")  # shows a card in HTML
UID = re.compile(r"[A-Za-z0-9_][\w.+@=-]{,200}(/[A-Za-z0-9_][\w.+@=-]{,200}){2,3}", re.ASCII)


@dataclass(frozen=True)
class Location:
    """A card that was found, and where.

    Attributes:
        card: its path or URL.
        folder: the folder that its package's files are in: a local one, or the URL of one.
        fields: its front matter.
        contents: its package's manifest, which holds the card's digest too; None for a card that stands alone.
    """

    card: str
    folder: Path | str
    fields: Mapping[str, Any]
    contents: Mapping[str, Any] | None


@dataclass(frozen=True)
class Signature:
    """What lies where a package's signature would.

    Attributes:
        name: its path or URL.
        raw: its bytes; None if there is none.
        seen: digests, by URL, of what was read.
    """

    name: str
    raw: bytes | None
    seen: Mapping[str, str | None]

    def pin(self) -> None:
        """Have it in the lock file and the cache from now on: it was of use."""
        for address, sha256 in self.seen.items():
            lockfile.pin("documents", address, sha256)


def locate(name: str | Path, source: str | None, policy: Policy, *, force_reload: bool) -> Location:
    """Find the card that ``name`` and ``source`` mean, as :func:`hubpkg.load` explains them.

    Raises:
        IntegrityError: the card is not the one that the manifest beside it names.
        HubpkgError: there is no such card, or it can't be read.
    """
    for what, given in (("name", name), ("source", source or "")):
        if not isinstance(given, str | Path) or name == "":
            raise HubpkgError(f"{what}: expected a path, a URL or a name, found {given!r}")
    if source in (None, "local") and (path := _existing(name)):
        return _in_folder(path)
    if source == "local":
        found = "a URL; leave source out" if _URL.match(str(name)) else "no such path"
        raise HubpkgError(f"{name}: expected a package's card or folder, found {found}")
    if _URL.match(str(name)):
        return _at_url(_PAGE.sub(r"\1/raw/", str(name)), policy, force_reload=force_reload)
    uid = str(name).removesuffix(".md")
    if not UID.fullmatch(uid):
        raise HubpkgError(
            f"{name}: expected a card's path or URL, a package's folder, or a uid "
            f"<publisher>/<version>/<model>_<dataset>, found no such path{'' if source is None else ' and no uid'}"
        )
    hub = _HUBS.get(str(source or _DEFAULT_HUB), str(source))
    if _URL.match(hub):
        return _at_url(f"{hub.rstrip('/')}/{uid}.md", policy, force_reload=force_reload)
    root = _existing(hub)
    if root is None or not root.is_dir():
        raise HubpkgError(f"source: expected 'local', 'gitee', 'github', a URL or a folder, found {hub!r}")
    return _in_hub(root, uid)


def _existing(name: str | Path) -> Path | None:
    try:
        path = Path(name).expanduser()
        return path if path.exists() else None
    except (OSError, RuntimeError):  # longer than a path can be, or in the home of nobody
        return None


def _in_hub(root: Path, uid: str) -> Location:
    """The card ``uid`` in a folder laid out like the hub, or in a checkout of the hub's repository."""
    for base in (root, root / _ASSETS):
        if (base / uid / manifest.NAME).is_file():
            return _in_folder(base / uid)
        if (base / f"{uid}.md").is_file():
            return _in_folder(base / f"{uid}.md")
    raise HubpkgError(f"{root}: expected the card {uid}.md, found none there and none in {_ASSETS}")


def _in_folder(path: Path) -> Location:
    """The card or package at ``path``; a card's manifest lies beside it, or in a folder of its name."""
    if path.is_dir():
        if not (path / manifest.NAME).is_file():
            raise HubpkgError(f"{path}: expected a package's folder, found no {manifest.NAME} in it; name the card")
        path /= f"{manifest.read(path / manifest.NAME)['package']}.md"
    if path.suffix != ".md" or not path.is_file():
        found = "another file" if path.is_file() else "no such path"
        raise HubpkgError(f"{path}: expected a package's card or folder, found {found}")
    for folder in (path.with_suffix(""), path.parent):
        if (folder / manifest.NAME).is_file():
            contents = manifest.read(folder / manifest.NAME)
            if contents["package"] == path.stem:
                return _location(str(path), folder, path.read_bytes(), contents)
    return _location(str(path), path.parent, path.read_bytes(), None)


def _at_url(url: str, policy: Policy, *, force_reload: bool) -> Location:
    """The card or package at ``url``; a card's manifest lies beside it, or in a folder of its name."""
    url = url.rstrip("/")
    seen: dict[str, str | None] = {}
    read = _reader(policy, seen, force_reload=force_reload)
    for folder in (url.removesuffix(".md"), url.rpartition("/")[0]):
        raw = read(f"{folder}/{manifest.NAME}")
        # Some servers show a page, with status 200, where there is nothing.
        contents = manifest.parse(raw, f"{folder}/{manifest.NAME}") if raw and raw.startswith(b"{") else None
        if contents and url.rpartition("/")[2].removesuffix(".md") == contents["package"]:
            here = f"{folder}/{contents['package']}.md"
            text = read(here)
            break
    else:
        contents, folder, here = None, url.rpartition("/")[0], url
        text = read(url)
    if text is None:
        raise HubpkgError(f"{transport.shown(here)}: expected a card, found none there (status 404)")
    found = _location(here, folder, text, contents)
    for address, sha256 in seen.items():  # only now: what can't be used must not bind the next try
        lockfile.pin("documents", address, sha256)
    return found


def signature_of(place: Location, policy: Policy, *, force_reload: bool) -> Signature:
    """The signature of the package at ``place``, which lies beside its folder."""
    if isinstance(place.folder, Path):
        file = signature.path_of(place.folder)
        return Signature(str(file), file.read_bytes() if file.is_file() else None, {})
    seen: dict[str, str | None] = {}
    url = f"{place.folder}.sig"
    return Signature(transport.shown(url), _reader(policy, seen, force_reload=force_reload)(url), seen)


def _reader(policy: Policy, seen: dict[str, str | None], *, force_reload: bool) -> Callable[[str], bytes | None]:
    """Reads documents from URLs as the lock file has them, until they are reloaded; puts what it lacks in ``seen``."""

    def read(url: str) -> bytes | None:
        pinned, key = lockfile.read("documents"), transport.without_secrets(url)
        if key in pinned and not force_reload:
            if pinned[key] is None:
                return None
            if (data := cache.read(pinned[key])) is not None:
                return data
        data = transport.read(url, policy)
        found = None if data is None else cache.add(data)
        if key in pinned and pinned[key] != found and not force_reload:
            raise IntegrityError(
                f"{key}: expected sha256 {pinned[key]}, as {lockfile.path()} has it since it was first read, "
                f"found {found}; accept what is there now with force_reload=True"
            )
        if key not in pinned or pinned[key] != found:
            seen[key] = found
        return data

    return read


def _location(name: str, folder: Path | str, text: bytes, contents: Mapping[str, Any] | None) -> Location:
    try:
        read = card.parse(text.decode("utf-8"), name)
    except UnicodeDecodeError:
        raise HubpkgError(f"{name}: expected a card in UTF-8, found other bytes") from None
    if contents is None:
        return Location(name, folder, _legacy_fields(read, name), None)
    compare(text, f"{contents['package']}.md", contents, name)
    documents.check(read.document, "card")
    return Location(name, folder, read.fields, contents)


def compare(data: bytes | None, file: str, contents: Mapping[str, Any], name: str) -> bytes:
    """``data``, read from ``name``, if the manifest ``contents`` has its digest under ``file``.

    Raises:
        IntegrityError: it has not.
    """
    wanted = contents["files"].get(file, {"sha256": "none: the file is not in the manifest"})["sha256"]
    found = "no such file" if data is None else hashlib.sha256(data).hexdigest()
    if data is None or found != wanted:
        raise IntegrityError(f"{name}: expected sha256 {wanted}, found {found}; get the package again")
    return data


def _legacy_fields(read: card.Card, name: str) -> Mapping[str, Any]:
    """The front matter of a card that promises less than hubpkg's do, with what loading needs in it."""
    faults = [
        f"{name}: {key}: expected {wanted}, found {documents.describe(read.fields.get(key))}"
        for key, wanted in (("model-name", "the model's name"), ("repo-link", "a link to the code"))
        if not isinstance(read.fields.get(key), str)
    ]
    if faults:
        raise HubpkgError("\n".join(faults))
    return read.fields
