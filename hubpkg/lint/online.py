"""Rules that look beyond the card: links that are requested, and files whose digests are computed."""

import json
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urldefrag, urlsplit

from hubpkg import replacement
from hubpkg.lint import link
from hubpkg.lint.rules import ERROR, Finding, Fix, Options, replace, rule
from hubpkg.lint.source import Card
from hubpkg.lint.values import Value

_HOSTS_AT_ONCE = 8
_PAUSE_SECONDS = 0.1  # between two requests to one host
_FRESH_SECONDS = 86_400.0  # how long a link that answered is not asked again
_FIRST_DIGITS = 8  # of a digest that was cut short
_GONE = frozenset((HTTPStatus.NOT_FOUND, HTTPStatus.GONE))


@rule("L901", "dead-link", ERROR, collection=True)
def dead_link(cards: Sequence[Card], options: Options) -> Iterator[tuple[Card, Finding]]:
    """A link that leads nowhere. It is checked with ``--online`` alone.

    The links are repo-link, those of the assets and those of the body. Each is asked once: one at a time of a host,
    several hosts at once; what answered is not asked again for a day. A server that wants a login or fewer requests is
    believed to have the page. Links to private addresses are not asked, and told; names reserved for examples are left
    out.

    Why:
        A checkpoint that is gone can't be loaded, and a recipe that is gone can't be repeated.

    Bad:
        repo-link: <https://gitee.com/mindspore/models/tree/r1.7/no/such/folder>

    Good:
        repo-link: <https://gitee.com/mindspore/models/tree/r1.7/official/cv/resnet>
    """
    if not options.online:
        return
    places = [(card, *place) for card in cards for place in _links(card)]
    faults = check_links({url for _, url, _, _ in places})
    for card, url, start, end in places:
        if fault := faults.get(url):
            yield card, Finding(start, end, f"expected a link that answers, found {fault}")


def _links(card: Card) -> Iterator[tuple[str, int, int]]:
    """URLs that can be requested, without their fragments, with their spans."""
    values = [card.fields["repo-link"].value] if "repo-link" in card.fields else []
    for entry in card.assets:
        values += [field.value for name in ("asset-link", "asset-mirrors") if (field := entry.get(name))]
    for value in (item for whole in values for item in (whole.items or [whole])):
        yield from _web(value.link, value.link_start, value.link_start + len(value.link))
    for each in card.links:
        yield from _web(each.url, each.start, each.end)


def _web(url: str, start: int, end: int) -> Iterator[tuple[str, int, int]]:
    if url.lower().startswith(("http://", "https://")) and not link.is_placeholder(url):
        with suppress(ValueError):
            yield urldefrag(url).url, start, end


def check_links(urls: Iterable[str], *, public_only: bool = True) -> dict[str, str]:
    """What is wrong with each of the URLs that do not answer, in a few words.

    Args:
        urls: what to ask; each once, those of one host one after the other.
        public_only: whether an address that not the whole internet can reach is a fault, and not asked.
    """
    known = _Answers.read()
    hosts: dict[str, list[str]] = defaultdict(list)
    for url in sorted(set(urls)):
        if not known.answered(url):
            hosts[urlsplit(url).netloc.lower()].append(url)
    faults: dict[str, str] = {}
    stop = threading.Event()

    def ask(those: Sequence[str]) -> None:
        for index, url in enumerate(those):
            if index and stop.wait(_PAUSE_SECONDS):
                return
            fault = _fault(url, public_only=public_only)
            if fault is None:
                known.add(url)
            else:
                faults[url] = fault

    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(_HOSTS_AT_ONCE) as pool:
        try:
            for done in [pool.submit(ask, those) for those in hosts.values()]:
                done.result()
        finally:
            stop.set()
            pool.shutdown(cancel_futures=True)
            known.write()
    return faults


def _fault(url: str, *, public_only: bool) -> str | None:
    from hubpkg.errors import FetchError
    from hubpkg.transport import MayPassError, Meter, Policy, get

    policy = Policy(tries=2, stall_seconds=20, allow_http=True)
    meter = Meter(url, policy)

    def status(method: str) -> int:
        with get(url, {}, policy, meter.deadline, method=method, public_only=public_only) as response:
            return response.status_code

    def attempt() -> int:
        found = status("HEAD")
        # Some servers know no HEAD, and say so in many ways.
        found = found if found < HTTPStatus.BAD_REQUEST else status("GET")
        if found >= HTTPStatus.INTERNAL_SERVER_ERROR:
            raise MayPassError(f"found status {found}")
        return found

    try:
        found = meter.retry(attempt)
    except FetchError as error:
        return str(error).removeprefix(f"{url}: ").partition("\n")[0]
    return f"status {found}" if found in _GONE else None


class _Answers:
    """When which link answered, kept in the cache folder between runs."""

    def __init__(self, file: Path, times: Mapping[str, float]) -> None:
        self._file = file
        self._times = dict(times)
        self._now = time.time()

    @classmethod
    def read(cls) -> "_Answers":
        from hubpkg import cache as folders

        file = folders.folder() / "links.json"
        try:
            times = json.loads(file.read_text(encoding="utf-8"))
            times = {url: float(asked) for url, asked in times.items()}
        except (OSError, ValueError, TypeError, AttributeError):  # it is no more than a memory
            times = {}
        return cls(file, times)

    def answered(self, url: str) -> bool:
        return 0 <= self._now - self._times.get(url, 0.0) < _FRESH_SECONDS

    def add(self, url: str) -> None:
        self._times[url] = self._now

    def write(self) -> None:
        fresh = {url: asked for url, asked in sorted(self._times.items()) if self.answered(url)}
        with suppress(OSError):  # a cache that can't be written costs time, and nothing else
            self._file.parent.mkdir(parents=True, exist_ok=True)
            replacement.write(self._file, json.dumps(fresh, indent=0).encode())


@rule("A901", "asset-digest-mismatch", ERROR, fixable=True)
def asset_digest_mismatch(card: Card, options: Options) -> Iterator[Finding]:
    """``asset-sha256`` is not the digest of the asset's file. It is checked with ``--assets DIR`` alone.

    The file is looked for in DIR and its folders, by the last part of asset-link. Where the card has the first 8 digits
    or more of the file's digest, the whole digest is the fix; where it has another digest, a human has to say which is
    right.

    Why:
        The hub's client refuses the checkpoint, after it was downloaded whole.

    Bad:
        asset-sha256: bd90776e

    Good:
        asset-sha256: 64 digits, those of the file
    """
    if options.assets is None:
        return
    for entry in card.assets:
        link, digest = entry.get("asset-link"), entry.get("asset-sha256")
        if link is None or digest is None:
            continue
        name = _last_part(link.value.link)
        file = _files_in(options.assets).get(name)
        value = digest.value
        found = _digest(file) if file is not None else None
        if found is None:
            message = f"expected the file {name or 'of the asset'} in {options.assets} to compare with, found none"
            yield Finding(value.start, value.end, message)
        elif value.text != found:
            message = f"expected {found}, the digest of {file}, found {value.text or 'none'}"
            yield Finding(value.start, value.end, message, _complete(value, found))


def _complete(value: Value, found: str) -> Fix | None:
    given = value.text.strip().lower()
    if len(given) < _FIRST_DIGITS or not found.startswith(given):
        return None
    # A digest of digits alone, or with one 'e' in it, is a number to YAML.
    return replace(value.start, value.end, found if Value(0, 0, found).resolved == found else f'"{found}"')


def _last_part(url: str) -> str:
    """The last part of a URL's path; ``""`` if it has none."""
    try:
        return urlsplit(url).path.rpartition("/")[2]
    except ValueError:
        return ""


@cache
def _files_in(folder: Path) -> dict[str, Path]:
    return {name: Path(root, name) for root, _, names in os.walk(folder) for name in sorted(names, reverse=True)}


@cache
def _digest(file: Path) -> str | None:
    from hubpkg import cache as folders

    return folders.digest_of(file)
