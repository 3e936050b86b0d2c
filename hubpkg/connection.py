"""The connections of one request: to which addresses they may lead, and how long they may last."""

import ipaddress
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, Self
from urllib.parse import urlsplit

import urllib3
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies, select_proxy

from hubpkg.errors import FetchError

_CUT_AGAIN_SECONDS = 0.1  # a connection may be made after the first cut


class Connections(HTTPAdapter):
    """An adapter of requests for one request and its redirects.

    No public address can send it to a private one. As a context, it cuts its connections at a deadline, whatever the
    server does to keep it waiting: a time-out of reading alone is met by one byte of a header now and then.

    Attributes:
        was_cut: whether the deadline came.
    """

    def __init__(self, name: str, stall_seconds: float, deadline: float, *, public_only: bool = False) -> None:
        """Serve the request that errors call ``name``, until ``deadline`` on the monotonic clock.

        With ``public_only`` its URL, too, may lead to no private address.
        """
        self._name, self._stall_seconds, self._deadline = name, stall_seconds, deadline
        self._public_only = self._sent_by_public = public_only
        self._seen_public = self.was_cut = False
        self._lines: list[socket.socket] = []
        self._done = threading.Event()
        self._watch = threading.Thread(target=self._cut, daemon=True)
        super().__init__()

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._watch.join()
        for line in self._lines:
            line.close()

    def extend(self) -> None:
        """Put the deadline off: a byte was gained."""
        self._deadline = time.monotonic() + self._stall_seconds

    def begin(self, url: str) -> None:
        """Note that ``url`` is asked next.

        Raises:
            FetchError: it names a private host, and only public ones may be asked.
        """
        if self._public_only and _is_private(url):
            raise FetchError(f"{self._name}: expected a public address, found a private one")

    def redirect(self, here: str, there: str) -> None:
        """Note that ``here`` sends the request to the URL ``there``.

        Raises:
            FetchError: a proxy would take it from a public host to a private one.
        """
        self._sent_by_public = self._seen_public or self._public_only
        # A proxy connects by itself: of the host that it connects to, nothing but the name is known here.
        proxied = select_proxy(there, get_environ_proxies(there)) is not None
        if proxied and _is_private(there) and not _is_private(here):
            raise FetchError(f"{self._name}: expected a redirect to a public address, found one to a private one")

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the connections of requests' own pools known to this adapter."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _pools(self._check)

    def proxy_manager_for(self, *args: Any, **kwargs: Any) -> Any:
        """The same for those to a proxy, which may have a private address."""
        manager = super().proxy_manager_for(*args, **kwargs)
        manager.pool_classes_by_scheme = _pools(self._keep)
        return manager

    def _check(self, line: socket.socket) -> socket.socket:
        # The address that answered, and not what its name resolved to some time before.
        address = line.getpeername()[0]
        self._seen_public = self._seen_public or is_public(address)
        if self._sent_by_public and not is_public(address):
            line.close()
            what = "a public address" if self._public_only else "a redirect to a public address"
            raise FetchError(f"{self._name}: expected {what}, found one to {address}")
        return self._keep(line)

    def _keep(self, line: socket.socket) -> socket.socket:
        self._lines.append(line.dup())
        return line

    def _cut(self) -> None:
        while not self._done.wait(max(0.0, self._deadline - time.monotonic())):
            if time.monotonic() >= self._deadline:
                self.was_cut = True
                for line in tuple(self._lines):
                    with suppress(OSError):
                        line.shutdown(socket.SHUT_RDWR)
                self._done.wait(_CUT_AGAIN_SECONDS)


def _pools(seen: Callable[[socket.socket], socket.socket]) -> dict[str, Any]:
    """Pools of connections, each of which ``seen`` is shown when it is made."""
    kinds: dict[str, Any] = {"http": urllib3.HTTPConnectionPool, "https": urllib3.HTTPSConnectionPool}
    return {scheme: _pool(kind, seen) for scheme, kind in kinds.items()}


def _pool(pool: Any, seen: Callable[[socket.socket], socket.socket]) -> Any:
    class Connection(pool.ConnectionCls):  # type: ignore[misc]
        def _new_conn(self) -> socket.socket:
            return seen(super()._new_conn())

    return type(pool.__name__, (pool,), {"ConnectionCls": Connection})


def is_public(address: str) -> bool:
    """Whether an IP address is one that the whole internet can reach."""
    found = ipaddress.ip_address(address.partition("%")[0])
    mapped = getattr(found, "ipv4_mapped", None)
    return (mapped or found).is_global


def _is_private(url: str) -> bool:
    """Whether the host in ``url`` is said to be one that not the whole internet can reach."""
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or not is_public(host)
    except ValueError:
        return False
