"""A folder of packages and cards -> a static hub: an index to search, a page for each, and files to load from."""

import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hubpkg import cache, manifest, pages, signature
from hubpkg.entries import PAGE, Content, Entry, LeftOut, Stamp, read_entry
from hubpkg.errors import HubpkgError
from hubpkg.lint import engine

INDEX = "index.json"
# With a package's file: what others put into one that a browser would run, it runs in no page's name.
SANDBOX = "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:"
# As several hosts of static sites read it. A uid has three parts: the files of packages lie below three folders.
_HEADERS = f"""/*
  X-Content-Type-Options: nosniff
/:publisher/:version/:package/*
  Content-Security-Policy: {SANDBOX}
"""
_KIND = "hubpkg site"  # what the index says it is of
_SUMMARY = 300  # characters of it that are searched and shown
_LONGEST_NAME, _LONGEST_PATH = 255, 1024  # bytes, that file systems have room for
_CHINESE = "_cn"  # ends the name of a card that is another one's in Chinese
STATES = {"verified": "Verified", "failed": "Not verified", "card": "Card alone"}
_FILTERS = ("task", "dataset", "publisher", "version", "state")
_OWN: Mapping[str, Content] = {"_headers": _HEADERS.encode}  # files of the site that are the same in each


@dataclass(frozen=True)
class Site:
    """All of it, as it was when it was read.

    Attributes:
        entries: by their paths.
        left_out: what can't be one.
        script: that every page runs, beside its own.
        listed: what the index has: all but the Chinese cards of others, to which theirs lead.
        files: what it has, by their paths.
    """

    entries: tuple[Entry, ...]
    left_out: tuple[LeftOut, ...] = ()
    script: str = ""
    listed: tuple[Mapping[str, Any], ...] = field(init=False)
    files: Mapping[str, Content] = field(init=False)

    def __post_init__(self) -> None:
        paths = {entry.path for entry in self.entries}
        cards = {entry.path for entry in self.entries if entry.facts["state"] == "card"}
        pairs = {path: f"{path}{_CHINESE}" for path in paths if f"{path}{_CHINESE}" in cards}
        second = set(pairs.values())
        listed = tuple(
            {**entry.facts, "chinese": f"{pairs[entry.path]}{PAGE}" if entry.path in pairs else None}
            for entry in self.entries
            if entry.path not in second
        )
        object.__setattr__(self, "listed", listed)
        files: dict[str, Content] = {"index.html": self._index, INDEX: self._machine_index, **_OWN}
        for entry in self.entries:
            files.update(entry.files)
        object.__setattr__(self, "files", files)

    def count(self, state: str) -> int:
        """How many entries are ``verified``, ``failed`` or a ``card``."""
        return sum(facts["state"] == state for facts in self.listed)

    def _index(self) -> bytes:
        choices = {name: sorted({facts[name] for facts in self.listed} - {""}) for name in _FILTERS}
        shown = ("path", "summary", "license", "updated", "parameters_m", "metric", "findings", "chinese", *_FILTERS)
        rows = [{key: facts[key] for key in shown} for facts in self.listed]
        for row in rows:
            row["summary"] = row["summary"][:_SUMMARY]
        values = {"entries": rows, "choices": choices, "states": STATES, "site": self, "page_suffix": PAGE}
        script = pages.script("site.js") + self.script
        return pages.render("site.html.j2", values, script, connects=bool(self.script)).encode()

    def _machine_index(self) -> bytes:
        document = {"kind": _KIND, "format": 1, "entries": list(self.listed)}
        return json.dumps(document, indent=1, ensure_ascii=False).encode() + b"\n"


def read(folder: Path, script: str = "", earlier: Site | None = None) -> Site:
    """The site of the packages and cards in ``folder``, at whatever depth.

    A package is a folder with a manifest; a card is any other ``*.md`` but a README. Hidden folders are passed over.

    Args:
        folder: where they are.
        script: that every page runs.
        earlier: the site as it was before, whose entries are kept where nothing has changed.

    Raises:
        HubpkgError: there are none.
    """
    if not folder.is_dir():
        raise HubpkgError(
            f"{folder}: expected a folder of packages or cards, found {'a file' if folder.exists() else 'none'}"
        )
    before: Iterable[Entry | LeftOut] = (*earlier.entries, *earlier.left_out) if earlier else ()
    known = {each.source: each for each in before}
    found: list[Entry] = []
    left_out: list[LeftOut] = []
    for source, stamp in _walk(folder):
        entry = known.get(source)
        if entry is None or entry.stamp != stamp:
            entry = read_entry(folder, source, stamp, script)
        if isinstance(entry, LeftOut):
            entry = entry.entry or entry
        if isinstance(entry, LeftOut):
            left_out.append(entry)
        else:
            found.append(entry)
    entries, without_place = _placed(found)
    left_out += without_place
    if not entries:
        reasons = f": {'; '.join(map(str, left_out))}" if left_out else ""
        raise HubpkgError(f"{folder}: expected packages or cards, found none{reasons}")
    return Site(tuple(sorted(entries, key=lambda entry: entry.path)), tuple(left_out), script)


def _placed(found: Iterable[Entry]) -> tuple[list[Entry], list[LeftOut]]:
    """Those that can have their places in the site, what verifies first and cards last, and those that can't."""
    placed: list[Entry] = []
    left_out: list[LeftOut] = []
    packages: set[str] = set()
    files = dict.fromkeys(("index.html", INDEX, *_OWN), "the site's own")  # whose each file or package's folder is
    folders: dict[str, str] = {}  # and whose file lies below
    states = list(STATES)
    for entry in sorted(found, key=lambda entry: states.index(entry.facts["state"])):
        is_package = entry.source.is_dir()
        if not is_package and entry.path in packages:
            continue  # a package has its own card
        within = f"{entry.path}/"
        wanted = [entry.path] if is_package else []
        wanted += [name for name in entry.files if not (is_package and name.startswith(within))]
        reason = _why_not(wanted, files, folders) or _too_long(entry.files)
        if reason:
            left_out.append(LeftOut(entry.source, entry.stamp, reason, entry))
            continue
        placed.append(entry)
        packages |= {entry.path} if is_package else set()
        for name in wanted:
            files[name] = str(entry.source)
            folders |= dict.fromkeys(_above(name), str(entry.source))
    return placed, left_out


def _why_not(wanted: Iterable[str], files: Mapping[str, str], folders: Mapping[str, str]) -> str | None:
    """Why there is no room for the files ``wanted``; None if there is."""
    for name in wanted:
        taken = [(place, files[place]) for place in (name, *_above(name)) if place in files]
        taken += [(name, folders[name])] if name in folders else []
        for place, whose in taken:
            return f"expected nothing else at {place} in the site, found {whose}; move or rename one of them"
    return None


def _too_long(names: Iterable[str]) -> str | None:
    for name in map(os.fsencode, names):
        if len(name) > _LONGEST_PATH or max(map(len, name.split(b"/"))) > _LONGEST_NAME:
            shown = os.fsdecode(name.rpartition(b"/")[2][:40])
            return (
                f"expected names of at most {_LONGEST_NAME} bytes, and {_LONGEST_PATH} with their folders, found a "
                f"longer one, {shown}...; rename it"
            )
    return None


def _above(name: str) -> Iterator[str]:
    """The folders that ``name`` lies in."""
    while name := name.rpartition("/")[0]:
        yield name


def _walk(folder: Path) -> Iterator[tuple[Path, Stamp]]:
    """The packages and cards in ``folder``, each with what tells whether it has changed."""
    for name, folders, files in os.walk(folder):
        place = Path(name)
        if manifest.NAME in files:
            folders[:] = []
            inside = (path for path in sorted(place.rglob("*")) if path.is_symlink() or not path.is_dir())
            yield place, _stamp([*inside, signature.path_of(place)])
            continue
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for file in sorted(files):
            if file.endswith(".md") and file.lower() not in engine.NO_CARDS and not file.startswith("."):
                yield place / file, _stamp([place / file])


def _stamp(paths: Iterable[Path]) -> Stamp:
    found = []
    for path in paths:
        with suppress(OSError):  # it may go away meanwhile
            status = path.lstat()
            found.append((str(path), status.st_mtime_ns, status.st_size))
    return tuple(found)


def write(site: Site, out: Path, say: Callable[[str], None]) -> None:
    """Put the site in the folder ``out``, all at once: an earlier site there is replaced.

    The files of packages are hard links where the file system allows it, and else copies.

    Args:
        site: what is written.
        out: a folder that holds a site or nothing, or none.
        say: told when it waits for another one.

    Raises:
        HubpkgError: there is something else; it stays.
        OSError: it can't be written; ``out`` is as it was.
    """
    with _output(out, say) as made:
        for name, content in site.files.items():
            path = made / name
            path.parent.mkdir(parents=True, exist_ok=True)
            if isinstance(content, Path):
                _link(content, path)
            else:
                path.write_bytes(content())


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target, follow_symlinks=False)
    except OSError:
        shutil.copyfile(source, target, follow_symlinks=False)


def check_out(folder: Path, out: Path) -> None:
    """Refuse to write the site of ``folder`` into ``out`` where one holds the other.

    Raises:
        HubpkgError: it does.
    """
    inside, outside = folder.resolve(), out.resolve()
    if inside.is_relative_to(outside) or outside.is_relative_to(inside):
        raise HubpkgError(f"--out: expected a folder beside {folder}, found {out}, of which one holds the other")


@contextmanager
def _output(out: Path, say: Callable[[str], None]) -> Iterator[Path]:
    """The path of a folder that takes the place of ``out`` in the end; nothing is left of it, whatever happens."""
    out = out.absolute()
    made, replaced = (out.with_name(f".{out.name}.{kind}") for kind in ("partial", "replaced"))
    out.parent.mkdir(parents=True, exist_ok=True)
    with cache.locked(cache.lock_of(manifest.digest(["site", str(out)])[:16]), say):
        if replaced.exists() and not out.exists():  # it was killed between two renames
            replaced.rename(out)
        if os.path.lexists(out) and not _may_be_replaced(out):
            raise HubpkgError(
                f"{out}: expected a site that may be replaced, or nothing, found something else; move it away, or "
                "give another --out"
            )
        for leftover in (made, replaced):
            if leftover.exists():
                shutil.rmtree(leftover)
        try:
            made.mkdir()
            yield made
            if out.exists():
                out.rename(replaced)
            made.rename(out)
            if replaced.exists():
                shutil.rmtree(replaced)
        finally:
            if made.exists():
                shutil.rmtree(made)


def _may_be_replaced(out: Path) -> bool:
    if not out.is_dir() or out.is_symlink():
        return False
    if not any(out.iterdir()):
        return True
    try:
        return bool(json.loads((out / INDEX).read_bytes())["kind"] == _KIND)
    except (OSError, ValueError, KeyError, TypeError):
        return False
