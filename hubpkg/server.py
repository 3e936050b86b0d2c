"""The site of a folder, shown on loopback while the folder changes."""

import errno
import mimetypes
import shutil
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from hubpkg import pages, site
from hubpkg.entries import Content
from hubpkg.errors import HubpkgError
from hubpkg.site import Site

HOST = "127.0.0.1"
_CHANGES = ".changes"  # where pages ask whether they should be loaded again
_LOOK_SECONDS = 0.5  # between two looks for changes, at least
_SHARE = 10  # times as long as a look takes, too
# What browsers would rather put on the disk than show.
_TEXT = frozenset({".csv", ".jsonl", ".md", ".py", ".sig", ".yaml"})


class Watcher:
    """The site of a folder as it was when it last changed.

    Attributes:
        site: what it was then.
        version: how often it has changed.
    """

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        """Read the folder.

        Raises:
            HubpkgError: there is nothing to show.
        """
        self._folder, self._say = folder, say
        self.version = 0
        self._trouble = ""
        self.site = self._read(None)

    def _read(self, earlier: Site | None) -> Site:
        found = site.read(self._folder, pages.script("live.js"), earlier)
        for each in found.left_out:
            if earlier is None or each not in earlier.left_out:
                self._say(str(each))
        return found

    def look(self) -> bool:
        """Read the folder again; say whether anything has changed. What is wrong then is told once."""
        try:
            found = self._read(self.site)
        except (HubpkgError, OSError) as error:
            if str(error) != self._trouble:
                self._say(f"hubpkg: {error}; what was there before is shown")
            self._trouble = str(error)
            return False
        self._trouble = ""
        before = [(entry.path, entry.stamp) for entry in self.site.entries]
        changed = [(entry.path, entry.stamp) for entry in found.entries] != before
        self.site, self.version = found, self.version + changed
        return changed


class _Handler(BaseHTTPRequestHandler):
    """Answers with what the site has, and nothing else: no path of a request is ever one of the file system."""

    server: "Server"
    protocol_version = "HTTP/1.0"
    server_version = "hubpkg"

    def do_GET(self) -> None:
        self._answer(body=True)

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def log_message(self, *_: Any) -> None:
        """Say nothing of requests."""

    def _answer(self, *, body: bool) -> None:
        # A page of another site may have its name lead here, and read what is shown: it is not told.
        if self.headers.get("Host", "").partition(":")[0] not in (HOST, "localhost"):
            self.send_error(HTTPStatus.MISDIRECTED_REQUEST)
            return
        name = unquote(urlsplit(self.path).path, errors="replace").removeprefix("/") or "index.html"
        watcher = self.server.watcher
        content = watcher.site.files.get(name)
        if name == _CHANGES:
            content = str(watcher.version).encode
        if content is None:
            self.send_error(HTTPStatus.NOT_FOUND)
            return
        try:
            self._send(name, content, body=body)
        except FileNotFoundError:  # it went away since
            self.send_error(HTTPStatus.NOT_FOUND)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True

    def _send(self, name: str, content: Content, *, body: bool) -> None:
        suffix = Path(name).suffix
        kind = "text/plain" if suffix in _TEXT else mimetypes.guess_type(name)[0] or "application/octet-stream"
        if kind.startswith("text/"):
            kind += "; charset=utf-8"
        if isinstance(content, Path):
            with content.open("rb") as file:
                self._head(kind, content.stat().st_size, {"Content-Security-Policy": site.SANDBOX})
                if body:
                    shutil.copyfileobj(file, self.wfile)
            return
        data = content()
        self._head(kind, len(data), {})
        if body:
            self.wfile.write(data)

    def _head(self, kind: str, size: int, more: Mapping[str, str]) -> None:
        self.send_response(HTTPStatus.OK)
        for name, value in {
            "Content-Type": kind,
            "Content-Length": str(size),
            "Cache-Control": "no-cache",
            "X-Content-Type-Options": "nosniff",
            **more,
        }.items():
            self.send_header(name, value)
        self.end_headers()


class Server(ThreadingHTTPServer):
    """Shows a folder's site on loopback, and to no other machine.

    Attributes:
        watcher: has the site.
        closing: set when it ends.
    """

    daemon_threads = True

    def __init__(self, folder: Path, port: int, say: Callable[[str], None]) -> None:
        """Read the folder, and listen on ``port``; on a free one, if it is 0.

        Raises:
            HubpkgError: there is nothing to show, or the port is in use.
        """
        self.watcher = Watcher(folder, say)
        self.closing = threading.Event()
        try:
            super().__init__((HOST, port), _Handler)
        except OSError as error:
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise
            found = "is in use" if error.errno == errno.EADDRINUSE else "may not be used by you"
            raise HubpkgError(
                f"--port: expected a free port, found that {port} {found}; give another one, or 0 for any"
            ) from None
        except OverflowError:
            raise HubpkgError(f"--port: expected 0 to 65535, found {port}") from None

    @property
    def url(self) -> str:
        """Where the site is."""
        return f"http://{HOST}:{self.server_port}/"

    def run(self) -> None:
        """Serve, and look for changes, until it is interrupted."""
        threading.Thread(target=self._watch, daemon=True).start()
        try:
            self.serve_forever(poll_interval=_LOOK_SECONDS)
        finally:
            self.closing.set()
            self.server_close()

    def _watch(self) -> None:
        taken = 0.0
        while not self.closing.wait(max(_LOOK_SECONDS, _SHARE * taken)):
            began = time.monotonic()
            self.watcher.look()
            taken = time.monotonic() - began
