"""URL -> verified file in the cache: resumed, retried, hashed while it streams, and put in place when it is right."""

import hashlib
import json
import re
import shutil
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hubpkg import cache, lockfile
from hubpkg.errors import FetchError, HubpkgError, IntegrityError, NotPinnedError
from hubpkg.transport import MayPassError, Meter, Policy, body, check_status, get, shown, without_secrets

if TYPE_CHECKING:
    import requests

_BLOCK = 1 << 20
_BLOCKS_AHEAD = 16  # that may wait to be hashed
_DIGEST = re.compile(r"[0-9a-f]{8,64}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_WHOLE = 64  # hex digits of a SHA-256


def fetch(urls: Sequence[str], sha256: str, policy: Policy, report: Callable[[str], None]) -> Path:
    """The file with the digest ``sha256``, in the cache; brought from the first of ``urls`` that has it.

    Args:
        urls: where the file is said to be; they are tried in order.
        sha256: its SHA-256, 64 hex digits; or, where the policy allows it, at least the first 8 of them. What such a
            digest stands for is written to the lock file, and holds from then on.
        policy: how patient and how strict to be.
        report: told, in one line each, of what is waited for or tried next.

    Raises:
        NotPinnedError: the digest is cut short.
        IntegrityError: what the URLs gave is not that file.
        FetchError: no URL gave anything.
        HubpkgError: a URL, the digest or the cache can't be used.
    """
    wanted = sha256.lower()
    if not _DIGEST.fullmatch(wanted):
        raise HubpkgError(f"sha256: expected 64 hex digits, found {sha256!r}")
    asset = f"{without_secrets(urls[0])} {wanted}"
    whole = _whole_digest(wanted, asset)
    if whole is None and not policy.allow_short_digest:
        raise NotPinnedError(
            f"{shown(urls[0])}: expected a sha256 of 64 hex digits, found the {len(wanted)} digits {wanted}, which "
            "many files can have; allow it with --allow-short-digest, or allow_short_digest=True in hubpkg.load"
        )
    if whole and (found := cache.find(whole)):
        return found
    if policy.offline:
        raise FetchError(f"{shown(urls[0])}: expected sha256 {wanted} in the cache, found none, and hubpkg is offline")
    name = whole or f"{wanted}-{hashlib.sha256(asset.encode()).hexdigest()[:16]}"
    with cache.locked(cache.lock_of(name), report):
        whole = _whole_digest(wanted, asset)  # another process may have seen to it meanwhile
        if whole:
            if found := cache.find(whole):
                return found
            cache.clear(whole)
        found_sha256, partial = _from_any(urls, whole or wanted, cache.partial_of(name), policy, report)
        path = cache.adopt(partial, found_sha256)
        if whole is None:
            lockfile.pin("assets", asset, found_sha256)
            report(f"{shown(urls[0])}: sha256 is {found_sha256}, which {lockfile.path()} holds from now on")
    return path


def _whole_digest(digest: str, asset: str) -> str | None:
    """``digest`` if it is whole, else what the lock file says that it stands for as the digest of ``asset``."""
    return digest if len(digest) == _WHOLE else lockfile.read("assets").get(asset)


def _from_any(
    urls: Sequence[str], wanted: str, partial: Path, policy: Policy, report: Callable[[str], None]
) -> tuple[str, Path]:
    """Bring the file to ``partial`` from the first URL that has it; give its digest."""
    faults: list[HubpkgError] = []
    for url in urls:
        try:
            with cache.writing():
                partial.parent.mkdir(parents=True, exist_ok=True)
                return _Download(url, wanted, partial, policy).run(), partial
        except (FetchError, IntegrityError) as fault:
            faults.append(fault)
            if len(faults) < len(urls):
                report(f"{fault}; trying {shown(urls[len(faults)])}")
    kind = next((type(fault) for fault in faults if isinstance(fault, IntegrityError)), FetchError)
    raise kind("\n".join(map(str, faults)))


class _Download:
    """One file from one URL to the path ``partial``, where an earlier download may have left a part of it."""

    def __init__(self, url: str, wanted: str, partial: Path, policy: Policy) -> None:
        self._url, self._wanted, self._partial, self._policy = url, wanted, partial, policy
        self._validator_file = partial.with_name(f"{partial.name}.json")
        self._meter = Meter(url, policy)
        self._resumed = self._again = False
        self._content_type = ""

    def run(self) -> str:
        """Bring the file, and give its digest.

        Raises:
            IntegrityError: it is another file, which is deleted.
            FetchError: it can't be had.
        """
        while True:
            try:
                found = self._meter.retry(self._attempt)
            except OSError:
                self._forget()  # the disk is full, and a part of a file is of no use to its other users
                raise
            if found.startswith(self._wanted):
                self._validator_file.unlink(missing_ok=True)
                return found
            size = self._partial.stat().st_size
            self._forget()
            if not self._resumed or self._again:
                page = " (a web page)" if self._content_type.startswith("text/html") else ""
                raise IntegrityError(
                    f"{shown(self._url)}: expected sha256 {self._wanted}, found {found}, {size} bytes{page}; deleted"
                )
            self._again = True  # what is there may be of two versions of the file: once more, from its start

    def _attempt(self) -> str:
        with self._meter.excused():
            hasher, size, validator = self._state()
        if size and self._is_wanted(hasher):
            return str(hasher.hexdigest())
        headers = {"Range": f"bytes={size}-", "If-Range": validator} if size and validator else {}
        with get(self._url, headers, self._policy, self._meter.deadline) as response:
            self._content_type = response.headers.get("Content-Type", "")
            if headers and response.status_code in (
                HTTPStatus.PARTIAL_CONTENT,
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            ):
                if not self._continues(response, size, validator):
                    self._forget()
                    raise MayPassError(f"expected the part from byte {size} on, found another")
                self._resumed = True
            else:
                check_status(response, self._url)
                hasher, size = hashlib.sha256(), 0
                self._forget()
            encoded = response.headers.get("Content-Encoding", "identity").lower() not in ("identity", "")
            # Where there is a Transfer-Encoding, it alone says where the body ends.
            stated = "" if "Transfer-Encoding" in response.headers else response.headers.get("Content-Length", "")
            total = size + int(stated) if _NUMBER.fullmatch(stated) and not encoded else None
            self._check_space(size, total)
            if not size and not encoded:
                self._validator_file.write_text(json.dumps(_validator(self._url, response)), encoding="utf-8")
            self._write(response, hasher, size, total)
        return str(hasher.hexdigest())

    def _state(self) -> tuple[Any, int, str]:
        """Digest and size of the part that is there, and what tells whether it is still a part of that file."""
        hasher = hashlib.sha256()
        try:
            known = json.loads(self._validator_file.read_text(encoding="utf-8"))
            validator = known["validator"] if known["url"] == _identity(self._url) else ""
        except (OSError, ValueError, KeyError, TypeError):
            validator = ""
        size = 0
        # A link, symbolic or hard, would have what comes written to another's file.
        if self._partial.is_file() and not self._partial.is_symlink() and self._partial.stat().st_nlink == 1:
            with self._partial.open("rb") as file:
                while block := file.read(_BLOCK):
                    hasher.update(block)
                size = file.tell()
        if size and (validator or self._is_wanted(hasher)):
            return hasher, size, str(validator)
        self._forget()
        return hashlib.sha256(), 0, ""

    def _is_wanted(self, hasher: Any) -> bool:
        return bool(hasher.hexdigest().startswith(self._wanted))

    def _continues(self, response: "requests.Response", size: int, validator: str) -> bool:
        start = re.match(rf"bytes ({_NUMBER.pattern})-", response.headers.get("Content-Range", ""))
        now = _validator(self._url, response)["validator"]
        return (
            response.status_code == HTTPStatus.PARTIAL_CONTENT
            and start is not None
            and int(start[1]) == size
            and now in ("", validator)
        )

    def _forget(self) -> None:
        self._partial.unlink(missing_ok=True)
        self._validator_file.unlink(missing_ok=True)

    def _check_space(self, size: int, total: int | None) -> None:
        free = shutil.disk_usage(self._partial.parent).free
        if total is not None and total - size > free:
            raise FetchError(
                f"{shown(self._url)}: expected {total - size} bytes of free space in {self._partial.parent}, "
                f"found {free}; free some, or name another folder in the environment variable HUBPKG_CACHE"
            )

    def _write(self, response: "requests.Response", hasher: Any, size: int, total: int | None) -> None:
        from hubpkg import progress

        name = urlsplit(self._url).path.rsplit("/", 1)[-1]
        with (
            self._partial.open("ab") as file,
            progress.transfer(name, size, total) as advance,
            _hashing(hasher) as update,
        ):
            for block in body(response):
                update(block)
                file.write(block)
                size += len(block)
                self._meter.reached(size)
                advance(len(block))
                if total is None and size > self._policy.unstated_bytes:
                    self._forget()
                    raise FetchError(
                        f"{shown(self._url)}: expected at most {self._policy.unstated_bytes} bytes from a server that "
                        "does not say how many there are, found more; allow more in HUBPKG_UNSTATED_BYTES"
                    )


@contextmanager
def _hashing(hasher: Any) -> Iterator[Callable[[bytes], None]]:
    """Gives what to call with each block, which is hashed beside the caller; all are when the context ends."""
    with ThreadPoolExecutor(1) as worker:
        waiting: deque[Future[None]] = deque()

        def update(block: bytes) -> None:
            waiting.append(worker.submit(hasher.update, block))
            if len(waiting) > _BLOCKS_AHEAD:
                waiting.popleft().result()

        yield update


def _identity(url: str) -> str:
    """What tells ``url`` from others, without the secrets that it may hold."""
    return hashlib.sha256(url.encode()).hexdigest()


def _validator(url: str, response: "requests.Response") -> dict[str, str]:
    """What the file's version is told by: a strong ETag, else the time of its last change, else nothing."""
    etag = response.headers.get("ETag", "")
    strong = etag if etag.startswith('"') else ""
    return {"url": _identity(url), "validator": strong or response.headers.get("Last-Modified", "")}
