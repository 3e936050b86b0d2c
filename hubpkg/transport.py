"""HTTP: requests that are sent nowhere they must not, told apart by whether another try can help."""

import email.utils
import hashlib
import ipaddress
import math
import os
import random
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar
from urllib.parse import urljoin, urlsplit

from hubpkg.errors import FetchError, HubpkgError

if TYPE_CHECKING:
    import requests

T = TypeVar("T")
_BLOCK = 1 << 20
_REDIRECTS = 5
_DOCUMENT_BYTES = 16 << 20  # more than any card or manifest has
_CAN_PASS = frozenset({408, 425, 429, 500, 502, 503, 504})
_SWITCHES = {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}


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
        """The policy by ``HUBPKG_`` and the name of one of these attributes.

        They are ``HUBPKG_TRIES``, ``HUBPKG_STALL_SECONDS``, ``HUBPKG_UNSTATED_BYTES``, ``HUBPKG_ALLOW_HTTP`` and
        ``HUBPKG_OFFLINE``.

        Raises:
            HubpkgError: one of them has no such value.
        """
        given: dict[str, Any] = {}
        kinds = {"tries": int, "stall_seconds": float, "unstated_bytes": int, "allow_http": bool, "offline": bool}
        for key, kind in kinds.items():
            name = f"HUBPKG_{key.upper()}"
            value = os.environ.get(name)
            if not value:
                continue
            try:
                given[key] = _SWITCHES[value.lower()] if kind is bool else kind(value)
            except (KeyError, ValueError):
                expected = "1 or 0" if kind is bool else "a number"
                raise HubpkgError(f"{name}: expected {expected}, found {value!r}") from None
        return cls(**given)

    def __post_init__(self) -> None:
        if self.tries < 1:
            raise HubpkgError(f"tries: expected at least 1, found {self.tries}")
        if not 0 < self.stall_seconds < math.inf:
            raise HubpkgError(f"stall seconds: expected more than 0, found {self.stall_seconds}")


def read(url: str, policy: Policy) -> bytes | None:
    """The document at ``url``, a card or a manifest, or None where there is none.

    Raises:
        FetchError: it could not be fetched, or is no document.
    """
    if policy.offline:
        raise FetchError(f"{shown(url)}: expected it in the cache, found none, and hubpkg is offline")
    meter = Meter(url, policy)

    def attempt() -> bytes | None:
        data = bytearray()
        with get(url, {}, policy, meter.deadline) as response:
            if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                return None
            check_status(response, url)
            for block in body(response):
                data += block
                if len(data) > _DOCUMENT_BYTES:
                    raise FetchError(
                        f"{shown(url)}: expected a document of at most {_DOCUMENT_BYTES} bytes, found more"
                    )
        return bytes(data)

    return meter.retry(attempt)


def digest(url: str, policy: Policy) -> str | None:
    """SHA-256 of the file at ``url``, asked for now and never taken from a cache; None where there is none.

    Raises:
        FetchError: it could not be fetched.
    """
    if policy.offline:
        raise FetchError(f"{shown(url)}: expected to read it back, but hubpkg is offline; unset HUBPKG_OFFLINE")
    meter = Meter(url, policy)

    def attempt() -> str | None:
        hasher, size = hashlib.sha256(), 0
        with get(url, {"Cache-Control": "no-cache"}, policy, meter.deadline) as response:
            if response.status_code in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                return None
            check_status(response, url)
            for block in body(response):
                hasher.update(block)
                size += len(block)
                meter.reached(size)
        return hasher.hexdigest()

    return meter.retry(attempt)


def put(url: str, file: Path, policy: Policy) -> None:
    """Send the file to ``url`` by PUT, where nothing may be yet; the whole of it again where a connection breaks.

    An answer that nothing may be put there because something is there (412) is no fault: the caller reads it back.

    Raises:
        FetchError: it was not taken.
    """
    meter = Meter(url, policy)

    def attempt() -> None:
        with (
            file.open("rb") as opened,
            get(url, {"If-None-Match": "*"}, policy, meter.deadline, method="PUT", data=opened) as response,
        ):
            meter.reached(opened.tell())
            if response.status_code == HTTPStatus.PRECONDITION_FAILED or response.ok:
                return
            check_status(response, url, "it to be taken")

    meter.retry(attempt)


class _Sent:
    """A file that is sent, telling how far it is read; what requests needs of one."""

    def __init__(self, file: IO[bytes], gained: Callable[[], None]) -> None:
        file.seek(0)
        self._file, self._gained = file, gained

    def __len__(self) -> int:
        return os.fstat(self._file.fileno()).st_size

    def read(self, size: int = -1) -> bytes:
        self._gained()
        return self._file.read(size)


class MayPassError(Exception):
    """A fault that another try may not meet."""

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class Meter:
    """Counts tries and time since the last byte gained."""

    def __init__(self, url: str, policy: Policy) -> None:
        self._url, self._policy = url, policy
        self._best, self._failures, self._since = 0, 0, time.monotonic()

    def reached(self, size: int) -> None:
        """Note that there are ``size`` bytes now; only more than ever before are a gain."""
        if size > self._best:
            self._best, self._failures, self._since = size, 0, time.monotonic()

    @property
    def deadline(self) -> float:
        """When it is given up, on the monotonic clock, if no byte is gained before."""
        return self._since + self._policy.stall_seconds

    @contextmanager
    def excused(self) -> Iterator[None]:
        """Leave the time that the context takes out of the time without a byte gained."""
        started = time.monotonic()
        yield
        self._since += time.monotonic() - started

    def retry(self, attempt: Callable[[], T]) -> T:
        """What ``attempt`` gives, tried again, after a wait, for as long as the policy says."""
        while True:
            try:
                return attempt()
            except MayPassError as fault:
                self._failures += 1
                wait = self._policy.backoff_seconds * 2 ** (self._failures - 1) * random.uniform(0.5, 1.5)  # noqa: S311
                wait = wait if fault.retry_after is None else fault.retry_after
                idle = time.monotonic() - self._since
                if self._failures >= self._policy.tries or idle + wait > self._policy.stall_seconds:
                    tries = f"{self._failures} tr{'y' if self._failures == 1 else 'ies'}"
                    raise FetchError(
                        f"{shown(self._url)}: {fault}; given up after {tries} and {idle:.0f} s without a byte gained"
                    ) from None
            time.sleep(wait)


def check_status(response: "requests.Response", url: str, wanted: str = "the file") -> None:
    """Raise MayPassError or FetchError, which say that ``wanted`` was expected, unless the answer's status is 200."""
    status = f"expected {wanted}, found status {response.status_code} {response.reason}"
    if response.status_code in _CAN_PASS:
        retry_after = _retry_after(response.headers.get("Retry-After", ""))
        asked = "" if retry_after is None else f", which asks to wait {retry_after:.0f} s"
        raise MayPassError(f"{status}{asked}", retry_after)
    if response.status_code != HTTPStatus.OK:
        raise FetchError(f"{shown(url)}: {status}")


def _retry_after(value: str) -> float | None:
    """Seconds that the header Retry-After asks for, a number or a date."""
    if value.isdecimal():
        return float(value)
    try:
        return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
    except ValueError:
        return None


def body(response: "requests.Response") -> Iterator[bytes]:
    """The bytes of the file, in blocks of at most 1 MiB, as they come; an encoding for the way is undone."""
    import urllib3

    try:
        while block := response.raw.read1(_BLOCK, decode_content=True):
            response.connection.extend()  # type: ignore[attr-defined]
            yield block
        if response.connection.was_cut:  # type: ignore[attr-defined] # which may look like the end of the body
            raise MayPassError("expected a byte of it, found none for too long")
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise MayPassError(_reason(error)) from None


@contextmanager
def get(  # noqa: PLR0913 - method and public_only are for lint, which asks for strangers' links
    url: str,
    headers: Mapping[str, str],
    policy: Policy,
    deadline: float,
    *,
    method: str = "GET",
    data: IO[bytes] | None = None,
    public_only: bool = False,
) -> Iterator["requests.Response"]:
    """The answer to a request for ``url``, after at most 5 redirects, none of which leads where it must not.

    With ``public_only`` no address is asked that not the whole internet can reach: the URL is a stranger's.

    The connection is cut at ``deadline``, on the monotonic clock; what is taken of ``data``, a file that is sent, and
    what :func:`body` gives put it off. Proxies,
    ``.netrc`` and certificates are taken from the environment, as requests does.
    """
    import requests
    import urllib3

    from hubpkg.connection import Connections

    class Session(requests.Session):
        def resolve_redirects(self, *_: Any, **__: Any) -> Any:
            # Called even where redirects are not followed; it would read their bodies, however long they are.
            return iter(())

    guarded = Connections(shown(url), policy.stall_seconds, deadline, public_only=public_only)
    with Session() as session, guarded as guard:
        session.mount("http://", guard)
        session.mount("https://", guard)
        session.headers["Accept-Encoding"] = "identity"
        here = url
        for _ in range(_REDIRECTS + 1):
            check_scheme(here, policy)
            guard.begin(here)
            try:
                response = session.request(
                    method,
                    here,
                    headers=headers,
                    data=None if data is None else _Sent(data, guard.extend),
                    stream=True,
                    allow_redirects=False,
                    timeout=(policy.connect_seconds, policy.read_seconds),
                )
            except requests.exceptions.InvalidProxyURL as error:
                raise FetchError(f"{shown(url)}: {_reason(error)}") from None
            except (requests.exceptions.InvalidURL, urllib3.exceptions.LocationValueError):
                raise FetchError(_malformed(here)) from None  # what they say may hold a password
            except requests.RequestException as error:
                if _can_pass(error):
                    raise MayPassError(_reason(error)) from None
                raise FetchError(f"{shown(url)}: {_reason(error)}") from None
            with response:
                if not (response.is_redirect or response.is_permanent_redirect):
                    yield response
                    return
                try:
                    there = urljoin(here, session.get_redirect_target(response))
                except ValueError:
                    raise FetchError(_malformed(response.headers["Location"])) from None
            if urlsplit(here).scheme == "https" and urlsplit(there).scheme != "https":
                raise FetchError(f"{shown(url)}: expected a redirect to https, found one to {shown(there)}")
            guard.redirect(here, there)
            here = there
        raise FetchError(f"{shown(url)}: expected at most {_REDIRECTS} redirects, found more")


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
    raise FetchError(f"{shown(url)}: expected an https URL, found {parts.scheme or 'none'}{hint}")


def _is_loopback(host: str | None) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host or "").is_loopback
    except ValueError:
        return False


def _can_pass(error: "requests.RequestException") -> bool:
    import requests

    cause = _cause(error)
    if isinstance(cause, socket.gaierror):
        return cause.errno == socket.EAI_AGAIN
    kinds = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
    return isinstance(error, kinds) and "CERTIFICATE_VERIFY_FAILED" not in str(error)


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


def without_secrets(url: str) -> str:
    """``url`` without user and password, and with a digest in place of its query, to be known by.

    Raises:
        FetchError: it is no URL.
    """
    try:
        parts = urlsplit(url)
    except ValueError:
        raise FetchError(_malformed(url)) from None
    query = hashlib.sha256(parts.query.encode()).hexdigest()[:16] if parts.query else ""
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query=query, fragment="").geturl()


def shown(url: str) -> str:
    """``url`` without what may be secret in it."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "a URL"  # which part of it is secret can't be told
    host = parts.netloc.rpartition("@")[2]
    return parts._replace(netloc=host, query="..." if parts.query else "", fragment="").geturl()


def _malformed(url: str) -> str:
    return f"{shown(url)}: expected a URL, found a text that is none; is its host or port mistyped?"
