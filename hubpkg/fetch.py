"""URL -> verified file in the cache: resumed, retried, hashed while it streams, and put in place when it is right."""

import email.utils
import hashlib
import ipaddress
import json
import os
import random
import re
import shutil
import socket
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urljoin, urlsplit

from hubpkg import cache, lockfile
from hubpkg.errors import FetchError, HubpkgError, IntegrityError, NotPinnedError

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
_BLOCK = 1 << 20
_BLOCKS_AHEAD = 16  # that may wait to be hashed
_REDIRECTS = 5
_DOCUMENT_BYTES = 16 << 20  # more than any card or manifest has
_CAN_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})
_DIGEST = re.compile(r"[0-9a-f]{8,64}")
_NUMBER = re.compile(r"[0-9]{1,18}")
_WHOLE = 64  # hex digits of a SHA-256


@dataclass(frozen=True)
class Policy:
    """How patient and how strict fetching is.

    Attributes:
        tries: after so many in a row that gained no byte, it is given up.
        stall_seconds: after so many without a byte gained, too.
        connect_seconds: how long a connection may take to be made.
        read_seconds: how long a connection may say nothing before another try.
        backoff_seconds: about how long to wait before the second try; doubled for each further one.
        unstated_bytes: the largest body taken from a server that does not say its length.
        allow_http: whether a plain http URL may lead to another machine.
        allow_short_digest: whether a digest that was cut short will do, the first time.
        offline: whether to use nothing but the cache.
    """

    tries: int = 5
    stall_seconds: float = 30.0
    connect_seconds: float = 10.0
    read_seconds: float = 10.0
    backoff_seconds: float = 0.5
    unstated_bytes: int = 5 << 30
    allow_http: bool = False
    allow_short_digest: bool = False
    offline: bool = False

    @classmethod
    def from_environment(cls) -> Self:
        """The policy by ``HUBPKG_TRIES``, ``HUBPKG_STALL_SECONDS``, ``HUBPKG_ALLOW_HTTP`` and ``HUBPKG_OFFLINE``.

        Raises:
            HubpkgError: one of them has no such value.
        """
        given: dict[str, Any] = {}
        for key, kind in (("tries", int), ("stall_seconds", float), ("allow_http", bool), ("offline", bool)):
            name = f"HUBPKG_{key.upper()}"
            value = os.environ.get(name)
            if not value:
                continue
            try:
                given[key] = value != "0" if kind is bool else kind(value)
            except ValueError:
                raise HubpkgError(f"{name}: expected a number, found {value!r}") from None
        return cls(**given)


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
    short = wanted if len(wanted) < _WHOLE else None
    if short:
        wanted = lockfile.read("assets").get(_asset(urls, short), wanted)
    if len(wanted) < _WHOLE and not policy.allow_short_digest:
        raise NotPinnedError(
            f"{_shown(urls[0])}: expected a sha256 of 64 hex digits, found the {len(wanted)} digits {wanted}, which "
            "many files can have; allow it with --allow-short-digest, or allow_short_digest=True in hubpkg.load"
        )
    if len(wanted) == _WHOLE and (found := cache.find(wanted)):
        return found
    if policy.offline:
        raise FetchError(f"{_shown(urls[0])}: expected sha256 {wanted} in the cache, found none, and hubpkg is offline")
    name = wanted if len(wanted) == _WHOLE else f"{wanted}-{hashlib.sha256(urls[0].encode()).hexdigest()[:16]}"
    with cache.locked(cache.lock_of(name), report):
        if len(wanted) == _WHOLE:
            if found := cache.find(wanted):
                return found
            cache.clear(wanted)
        found_sha256, partial = _from_any(urls, wanted, cache.partial_of(name), policy, report)
        path = cache.adopt(partial, found_sha256)
    if short and len(wanted) < _WHOLE:
        lockfile.pin("assets", _asset(urls, short), found_sha256)
        report(f"{_shown(urls[0])}: sha256 is {found_sha256}, which {lockfile.path()} holds from now on")
    return path


def _asset(urls: Sequence[str], short: str) -> str:
    return f"{urls[0]} {short}"


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
                report(f"{fault}; trying {_shown(urls[len(faults)])}")
    kind = next((type(fault) for fault in faults if isinstance(fault, IntegrityError)), FetchError)
    raise kind("\n".join(map(str, faults)))


def read(url: str, policy: Policy) -> bytes | None:
    """The document at ``url``, a card or a manifest, or None where there is none.

    Raises:
        FetchError: it could not be fetched, or is no document.
    """
    if policy.offline:
        raise FetchError(f"{_shown(url)}: expected it in the cache, found none, and hubpkg is offline")
    meter = _Meter(url, policy)

    def attempt() -> bytes | None:
        data = bytearray()
        with _get(url, {}, policy) as response:
            if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                return None
            _check_status(response, url)
            for block in _body(response):
                data += block
                if len(data) > _DOCUMENT_BYTES:
                    raise FetchError(
                        f"{_shown(url)}: expected a document of at most {_DOCUMENT_BYTES} bytes, found more"
                    )
        return bytes(data)

    return meter.retry(attempt)


class _MayPassError(Exception):
    """A fault that another try may not meet."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class _Meter:
    """Counts tries and time since the last byte gained."""

    def __init__(self, url: str, policy: Policy) -> None:
        self._url, self._policy = url, policy
        self._best, self._failures, self._since = 0, 0, time.monotonic()

    def reached(self, size: int) -> None:
        """Note that there are ``size`` bytes now; only more than ever before are a gain."""
        if size > self._best:
            self._best, self._failures, self._since = size, 0, time.monotonic()

    def retry(self, attempt: Callable[[], T]) -> T:
        """What ``attempt`` gives, tried again, after a wait, for as long as the policy says."""
        while True:
            try:
                return attempt()
            except _MayPassError as fault:
                self._failures += 1
                wait = self._policy.backoff_seconds * 2 ** (self._failures - 1) * random.uniform(0.5, 1.5)  # noqa: S311
                wait = wait if fault.retry_after is None else fault.retry_after
                idle = time.monotonic() - self._since
                if self._failures >= self._policy.tries or idle + wait > self._policy.stall_seconds:
                    tries = f"{self._failures} tr{'y' if self._failures == 1 else 'ies'}"
                    raise FetchError(
                        f"{_shown(self._url)}: {fault}; given up after {tries} and {idle:.0f} s without a byte gained"
                    ) from None
            time.sleep(wait)


class _Download:
    """One file from one URL to the path ``partial``, where an earlier download may have left a part of it."""

    def __init__(self, url: str, wanted: str, partial: Path, policy: Policy) -> None:
        self._url, self._wanted, self._partial, self._policy = url, wanted, partial, policy
        self._validator_file = partial.with_name(f"{partial.name}.json")
        self._meter = _Meter(url, policy)
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
                    f"{_shown(self._url)}: expected sha256 {self._wanted}, found {found}, {size} bytes{page}; deleted"
                )
            self._again = True  # what is there may be of two versions of the file: once more, from its start

    def _attempt(self) -> str:
        hasher, size, validator = self._state()
        if size and hasher.hexdigest().startswith(self._wanted):
            return str(hasher.hexdigest())
        headers = {"Range": f"bytes={size}-", "If-Range": validator} if size and validator else {}
        with _get(self._url, headers, self._policy) as response:
            self._content_type = response.headers.get("Content-Type", "")
            if headers and response.status_code in (
                HTTPStatus.PARTIAL_CONTENT,
                HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
            ):
                if not self._continues(response, size, validator):
                    self._forget()
                    raise _MayPassError(f"expected the part from byte {size} on, found another")
                self._resumed = True
            else:
                _check_status(response, self._url)
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
            validator = known["validator"] if known["url"] == self._url else ""
        except (OSError, ValueError, KeyError, TypeError):
            validator = ""
        if not validator or cache.digest_of(self._partial) is None:
            self._forget()
            return hasher, 0, ""
        with self._partial.open("rb") as file:
            while block := file.read(_BLOCK):
                hasher.update(block)
            return hasher, file.tell(), str(validator)

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
                f"{_shown(self._url)}: expected {total - size} bytes of free space in {self._partial.parent}, "
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
            for block in _body(response):
                update(block)
                file.write(block)
                size += len(block)
                self._meter.reached(size)
                advance(len(block))
                if total is None and size > self._policy.unstated_bytes:
                    self._forget()
                    raise FetchError(
                        f"{_shown(self._url)}: expected at most {self._policy.unstated_bytes} bytes from a server that "
                        "does not say how many there are, found more"
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


def _validator(url: str, response: "requests.Response") -> dict[str, str]:
    """What the file's version is told by: a strong ETag, else the time of its last change, else nothing."""
    etag = response.headers.get("ETag", "")
    strong = etag if etag.startswith('"') else ""
    return {"url": url, "validator": strong or response.headers.get("Last-Modified", "")}


def _check_status(response: "requests.Response", url: str) -> None:
    status = f"expected the file, found status {response.status_code} {response.reason}"
    if response.status_code in _CAN_PASS:
        retry_after = _retry_after(response.headers.get("Retry-After", ""))
        asked = "" if retry_after is None else f", which asks to wait {retry_after:.0f} s"
        raise _MayPassError(f"{status}{asked}", retry_after)
    if response.status_code != HTTPStatus.OK:
        raise FetchError(f"{_shown(url)}: {status}")


def _retry_after(value: str) -> float | None:
    """Seconds that the header Retry-After asks for, a number or a date."""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def _body(response: "requests.Response") -> Iterator[bytes]:
    """The bytes of the file, in blocks of at most 1 MiB, as they come; an encoding for the way is undone."""
    import urllib3

    try:
        while block := response.raw.read1(_BLOCK, decode_content=True):
            yield block
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise _MayPassError(_reason(error)) from None


@contextmanager
def _get(url: str, headers: Mapping[str, str], policy: Policy) -> Iterator["requests.Response"]:
    """The answer to a request for ``url``, after at most 5 redirects, none of which leads where it must not.

    Proxies, ``.netrc`` and certificates are taken from the environment, as requests does.
    """
    import requests
    import urllib3

    with requests.Session() as session:
        guard = _adapter(url)
        session.mount("http://", guard)
        session.mount("https://", guard)
        session.headers["Accept-Encoding"] = "identity"
        here = url
        for _ in range(_REDIRECTS + 1):
            check_scheme(here, policy)
            try:
                response = session.get(
                    here,
                    headers=headers,
                    stream=True,
                    allow_redirects=False,
                    timeout=(policy.connect_seconds, policy.read_seconds),
                )
            except requests.exceptions.InvalidProxyURL as error:
                raise FetchError(f"{_shown(url)}: {_reason(error)}") from None
            except (requests.exceptions.InvalidURL, urllib3.exceptions.LocationValueError):
                raise FetchError(_malformed(here)) from None  # what they say may hold a password
            except requests.RequestException as error:
                if _can_pass(error):
                    raise _MayPassError(_reason(error)) from None
                raise FetchError(f"{_shown(url)}: {_reason(error)}") from None
            with response:
                location = session.get_redirect_target(response)
                if location is None:
                    yield response
                    return
            try:
                there = urljoin(here, location)
            except ValueError:
                raise FetchError(_malformed(location)) from None
            if urlsplit(here).scheme == "https" and urlsplit(there).scheme != "https":
                raise FetchError(f"{_shown(url)}: expected a redirect to https, found one to {_shown(there)}")
            guard.redirected()
            here = there
        raise FetchError(f"{_shown(url)}: expected at most {_REDIRECTS} redirects, found more")


def check_scheme(url: str, policy: Policy) -> None:
    """Raise FetchError unless ``url`` is https, or leads to this machine, or the policy allows http."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises ValueError where it is no port
    except ValueError:
        raise FetchError(_malformed(url)) from None
    if parts.scheme == "https" or (parts.scheme == "http" and (policy.allow_http or _is_loopback(parts.hostname))):
        return
    hint = "; allow it with --allow-http, or HUBPKG_ALLOW_HTTP=1" if parts.scheme == "http" else ""
    raise FetchError(f"{_shown(url)}: expected an https URL, found {parts.scheme or 'none'}{hint}")


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def is_public(address: str) -> bool:
    """Whether an IP address is one that the whole internet can reach."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_global


def _adapter(url: str) -> Any:
    """An adapter of requests, for a request for ``url``, that never connects to a private address after a public one sent it there."""
    import urllib3
    from requests.adapters import HTTPAdapter

    class Adapter(HTTPAdapter):
        seen_public = sent = False

        def redirected(self) -> None:
            self.sent = self.seen_public

        def check(self, connected: socket.socket) -> socket.socket:
            # The address that answered, and not what its name resolved to some time before.
            address = connected.getpeername()[0]
            self.seen_public = self.seen_public or is_public(address)
            if self.sent and not is_public(address):
                connected.close()
                raise FetchError(f"{_shown(url)}: expected a redirect to a public address, found one to {address}")
            return connected

        def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
            super().init_poolmanager(*args, **kwargs)
            self.poolmanager.pool_classes_by_scheme = {
                "http": _pool(urllib3.HTTPConnectionPool, self.check),
                "https": _pool(urllib3.HTTPSConnectionPool, self.check),
            }

    return Adapter()


def _pool(pool: Any, check: Callable[[socket.socket], socket.socket]) -> Any:
    class Connection(pool.ConnectionCls):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            return check(super()._new_conn())

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def _can_pass(error: "requests.RequestException") -> bool:
    import requests

    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text or isinstance(_cause(error), socket.gaierror):
        cause = _cause(error)
        return isinstance(cause, socket.gaierror) and cause.errno == socket.EAI_AGAIN
    kinds = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, kinds) and not isinstance(error, requests.exceptions.InvalidProxyURL)


def _cause(error: BaseException) -> BaseException:
    """The first error of a chain of them, which says most."""
    seen = {id(error)}
    while True:
        inner = getattr(error, "reason", None) or error.__cause__ or error.__context__
        if inner is None and error.args and isinstance(error.args[0], BaseException):
            inner = error.args[0]
        if not isinstance(inner, BaseException) or id(inner) in seen:
            return error
        seen.add(id(inner))
        error = inner


def _reason(error: BaseException) -> str:
    cause = _cause(error)
    return f"{type(cause).__name__}: {str(cause).strip() or 'no more is known'}"


def _shown(url: str) -> str:
    """``url`` without what may be secret in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a URL"  # which part of it is secret can't be told
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="..." if parts.query else "", fragment="").geturl()


def _malformed(url: str) -> str:
    return f"{_shown(url)}: expected a URL, found a text that is none; is its host or port mistyped?"
