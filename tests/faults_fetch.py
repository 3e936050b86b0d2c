"""Faults of servers, of the network and of the machine, while a file is fetched."""

import errno
import gzip
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial

import faults
import loopback
import pytest
import trustme
from loopback import Clients, Server, cut, error, file, redirect, wait_until, whole

from hubpkg import cache, connection, fetch, lockfile, transport
from hubpkg.errors import FetchError, HubpkgError, IntegrityError, NotPinnedError

POLICY = transport.Policy(backoff_seconds=0.01)


def noise(seed):
    """300 kB that no compression makes smaller."""
    return random.Random(seed).randbytes(300_000)  # noqa: S311 - the same ones each time


BODY, OTHER = noise(1), noise(2)
HALF = len(BODY) // 2
TWINS = (b"69235", b"95303")  # their digests begin with the same 8 digits, found by a search over numbers

row = partial(faults.fault, "Fetching")


def digest(body):
    return hashlib.sha256(body).hexdigest()


def give(body, *urls, notes=None, **policy):
    """Fetch ``body``, which must be what comes, whole, in its place."""
    report = (lambda _: None) if notes is None else notes.append
    path = fetch.fetch(urls, digest(body), replace(POLICY, **policy), report)
    assert path == cache.file_of(digest(body))
    assert path.read_bytes() == body
    assert not path.is_symlink()
    assert not list((cache.folder() / "partial").glob("*"))


def refuse(kind, body, *urls, **policy):
    """Try to fetch ``body``, which must fail; give the message."""
    with pytest.raises(HubpkgError) as caught:
        fetch.fetch(urls, digest(body), replace(POLICY, **policy), lambda _: None)
    assert type(caught.value) is kind
    message = str(caught.value)
    assert message.count("\n") == len(urls) - 1
    assert not os.path.lexists(cache.file_of(digest(body)))
    return message


def forgotten():
    """That no part of a file is left."""
    return not list((cache.folder() / "partial").glob("*"))


def written(count):
    """Waits until ``count`` bytes of a file are on the disk, but for those that Python still holds."""

    def wait():
        folder = cache.folder() / "partial"
        wait_until(lambda: sum(part.stat().st_size for part in folder.glob("*[!n]")) >= count - 8192)

    return wait


def of(count, noun):
    return f"{count} {noun}{'' if count == 1 else 's'}"


@row("the body ends too early, at any of seven places", "resumed with Range and If-Range; no byte is sent twice")
def _(_folder, _monkeypatch):
    places = (0, 1, 8191, 8192, 100_001, HALF, len(BODY) - 1)
    for seed, count in enumerate(places):
        body = noise(seed)
        with Server(cut(body, count, ETag='"v"'), file(body, etag='"v"')) as server:
            give(body, server.url())
        assert server.ranges() == [None, f"bytes={count}-" if count else None]
        assert server.exchanges[1].headers.get("if-range") == ('"v"' if count else None)
        assert server.sent == len(body)
    return f"resumed at each of {len(places)} places; each byte sent once"


@row("the body ends too early again and again", "as long as each try gains a byte, it goes on")
def _(_folder, _monkeypatch):
    starts = range(0, len(BODY), 30_000)
    answers = [lambda exchange, end=start + 30_000: _until(exchange, end) for start in starts]
    with Server(*answers) as server:
        give(BODY, server.url(), tries=2)
    assert server.ranges() == [None, *(f"bytes={start}-" for start in starts[1:])]
    assert server.sent == len(BODY)
    return f"{of(len(starts), 'request')}, each byte sent once, though two tries were allowed"


def _until(exchange, end):
    """The right answer, cut before byte ``end``."""
    start = int(exchange.headers.get("range", "bytes=0-")[6:-1])
    stated = {"Content_Range": f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"} if start else {}
    exchange.head("206 Partial Content" if start else "200 OK", Content_Length=len(BODY) - start, ETag='"1"', **stated)
    exchange.send(BODY[start:end])


@row("one bit is flipped", "refused and deleted; both digests, the size and the URL are told")
def _(_folder, _monkeypatch):
    wrong = bytearray(BODY)
    wrong[HALF] ^= 1
    with Server(file(wrong), file(BODY)) as server:
        message = refuse(IntegrityError, BODY, server.url())
        for word in (server.url(), digest(BODY), digest(wrong), f"{len(BODY)} bytes", "deleted"):
            assert word in message
        assert forgotten()
        give(BODY, server.url())
    return "IntegrityError after one request, with both digests, size and URL; nothing left"


@row("Content-Length is larger than the body", "the digest tells that the file is whole")
def _(_folder, _monkeypatch):
    with Server(whole(BODY, Content_Length=len(BODY) + 1000)) as server:
        give(BODY, server.url())
    return f"the right file after {of(len(server.exchanges), 'request')}"


@row("Content-Length is smaller than the body", "refused and deleted")
def _(_folder, _monkeypatch):
    with Server(whole(BODY, Content_Length=len(BODY) - 1000), file(BODY)) as server:
        message = refuse(IntegrityError, BODY, server.url())
        assert f"{len(BODY) - 1000} bytes" in message
        give(BODY, server.url())
    return "IntegrityError, with the size that came"


def unstated(body, count=None):
    """The answer whose body ends where the connection does."""

    def answer(exchange):
        exchange.head("200 OK", ETag='"1"')
        exchange.send(body[:count])

    return answer


@row("no Content-Length", "the body ends where the connection does")
def _(_folder, _monkeypatch):
    with Server(unstated(BODY)) as server:
        give(BODY, server.url())
    return f"the right file after {of(len(server.exchanges), 'request')}"


@row("no Content-Length, and the body ends too early", "refused and deleted, since nothing says that it is not whole")
def _(_folder, _monkeypatch):
    with Server(unstated(BODY, HALF), unstated(BODY)) as server:
        message = refuse(IntegrityError, BODY, server.url())
        assert f"{HALF} bytes" in message
        assert forgotten()
        give(BODY, server.url())
    return "IntegrityError, with the size that came; nothing left"


def chunked(body, count=None, **headers):
    """The answer in chunks; cut after ``count`` of them."""

    def answer(exchange):
        exchange.head("200 OK", Transfer_Encoding="chunked", ETag='"1"', **headers)
        for start in list(range(0, len(body), 10_000))[:count]:
            chunk = body[start : start + 10_000]
            exchange.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if count is None:
            exchange.send(b"0\r\n\r\n")

    return answer


@row("chunked transfer encoding", "undone")
def _(_folder, _monkeypatch):
    with Server(chunked(BODY)) as server:
        give(BODY, server.url())
    return f"the right file after {of(len(server.exchanges), 'request')}"


@row("chunked transfer encoding that ends too early", "resumed")
def _(_folder, _monkeypatch):
    with Server(chunked(BODY, 7), file(BODY)) as server:
        give(BODY, server.url())
    assert server.ranges() == [None, "bytes=70000-"]
    return "resumed at the end of the last whole chunk"


@row("status 200 in answer to Range", "started again with what comes")
def _(_folder, _monkeypatch):
    with Server(cut(BODY, HALF), whole(BODY)) as server:
        give(BODY, server.url())
    assert server.ranges() == [None, f"bytes={HALF}-"]
    return f"the right file after {of(len(server.exchanges), 'request')}"


@row("status 206 for another range, or for none", "not used; started again")
def _(_folder, _monkeypatch):
    def unsaid(exchange):
        exchange.head("206 Partial Content", Content_Length=len(BODY) - HALF, ETag='"1"')
        exchange.hang()

    near = [loopback.partial(BODY, HALF + step, then=loopback.Exchange.hang) for step in (-1, 1)]
    for wrong in (*near, unsaid):
        with Server(cut(BODY, HALF), wrong, file(BODY)) as server:
            give(BODY, server.url())
        assert server.ranges() == [None, f"bytes={HALF}-", None]
        shutil.rmtree(cache.folder())
    return "the right file from a third request, without Range, each of three times"


@row("status 416 in answer to Range", "started again")
def _(_folder, _monkeypatch):
    with Server(cut(BODY, HALF), error("416 Range Not Satisfiable"), file(BODY)) as server:
        give(BODY, server.url())
    assert server.ranges() == [None, f"bytes={HALF}-", None]
    return "the right file from a third request, without Range"


@row("the file changes between two parts", "If-Range lets the server send the new one whole")
def _(_folder, _monkeypatch):
    with Server(cut(OTHER, HALF, ETag='"old"'), file(BODY, etag='"new"')) as server:
        give(BODY, server.url())
    assert server.exchanges[1].headers["if-range"] == '"old"'
    assert server.exchanges[1].sent == len(BODY)
    return "the right file from the second request, whole"


@row("the file changes between two parts, and the server knows no If-Range", "its other ETag tells; started again")
def _(_folder, _monkeypatch):
    new = loopback.partial(BODY, HALF, etag='"new"', then=loopback.Exchange.hang)
    with Server(cut(OTHER, HALF, ETag='"old"'), new, file(BODY, etag='"new"')) as server:
        give(BODY, server.url())
    assert server.ranges() == [None, f"bytes={HALF}-", None]
    return "the right file from a third request, without Range"


@row("the file changes between two parts, and its ETag does not", "the digest tells; fetched whole once more")
def _(_folder, _monkeypatch):
    with Server(cut(OTHER, HALF), file(BODY)) as server:
        give(BODY, server.url())
    assert server.ranges() == [None, f"bytes={HALF}-", None]
    return "the right file from a third request, without Range"


@row("the wrong file, in two parts each time", "fetched whole once more, and then refused")
def _(_folder, _monkeypatch):
    parts = [cut(OTHER, HALF), file(OTHER)]
    with Server(*parts, *parts, file(BODY)) as server:
        message = refuse(IntegrityError, BODY, server.url())
        assert digest(OTHER) in message
        count = len(server.exchanges)
        give(BODY, server.url())
    return f"IntegrityError after {of(count, 'request')}"


@row("the body ends too early, and only a weak ETag or nothing tells the version", "started again")
def _(_folder, _monkeypatch):
    for etag in ('W/"1"', ""):
        with Server(cut(BODY, HALF, ETag=etag), file(BODY)) as server:
            give(BODY, server.url())
        assert server.ranges() == [None, None]
        shutil.rmtree(cache.folder())
    return "the right file from a second request, without Range, both times"


@row("the connection is reset amid the body", "resumed")
def _(_folder, _monkeypatch):
    def reset(exchange):
        written(HALF)()
        exchange.reset()

    def broken(exchange):
        cut(BODY, HALF, then=reset)(exchange)

    with Server(broken, file(BODY)) as server:
        give(BODY, server.url())
    start = int(server.ranges()[1].removeprefix("bytes=").removesuffix("-"))
    assert HALF - 8192 <= start <= HALF
    return f"the right file after {of(len(server.exchanges), 'request')}, the second with Range"


def silent(exchange):
    """The right answer up to its half, and no more, whatever part of it was asked for."""
    _until(exchange, HALF)
    exchange.hang()


def of_the_second_half(exchange):
    """Whether that alone is asked for; a client that had to wait for a busy machine may have asked for more before."""
    return exchange.headers.get("range") == f"bytes={HALF}-"


@row("the server falls silent amid the body", "the read times out; resumed")
def _(_folder, _monkeypatch):
    def answer(exchange):
        (file(BODY) if of_the_second_half(exchange) else silent)(exchange)

    with Server(answer) as server:
        give(BODY, server.url(), read_seconds=0.5, tries=100)
    assert server.ranges()[0] is None
    assert of_the_second_half(server.exchanges[-1])
    return "the right file, the last request with Range"


@row("the server falls silent for good", "given up after the time without a byte gained; resumed when it speaks again")
def _(_folder, _monkeypatch):
    with Server(silent) as server:
        begun = time.monotonic()
        message = refuse(FetchError, BODY, server.url(), read_seconds=0.3, stall_seconds=2, tries=1000)
        assert time.monotonic() - begun > 1
        assert re.search(r"given up after \d+ tries and \d+ s without a byte gained$", message)
    assert of_the_second_half(server.exchanges[-1])
    with Server(file(BODY), port=server.port) as server:
        give(BODY, server.url())
    assert server.ranges() == [f"bytes={HALF}-"]
    return "FetchError that says so; the retry asked for the second half alone"


def busy(start, again):
    """An answer that says ``start``, and then ``again`` and again, for ever."""

    def answer(exchange):
        exchange.send(start)
        while True:
            exchange.send(again)
            time.sleep(0.02)

    return answer


@row("the server keeps the connection busy, with no byte of the file", "given up after the time without a byte gained")
def _(_folder, _monkeypatch):
    ok = b"HTTP/1.1 200 OK\r\n"
    answers = [
        busy(ok + b"X: ", b"x"),
        busy(b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        busy(ok + b"Content-Encoding: gzip\r\n\r\n\x1f\x8b\x08\x08" + bytes(6), b"n"),
        busy(ok + b"Transfer-Encoding: chunked\r\n\r\n5;", b"x"),
    ]
    for answer in answers:
        with Server(answer) as server:
            message = refuse(FetchError, BODY, server.url(), read_seconds=30, stall_seconds=0.4)
            assert re.search(r"given up after \d+ tr(y|ies) and \d+ s without a byte gained$", message)
        with Server(file(BODY), port=server.port) as server:
            give(BODY, server.url())
        shutil.rmtree(cache.folder())
    return "FetchError each of four times: an endless header, status 100, gzip header and chunk extension"


@row("the body comes drop by drop", "waited for, since each drop is a gain")
def _(_folder, _monkeypatch):
    def drip(exchange):
        exchange.head("200 OK", Content_Length=len(BODY))
        for start in range(0, len(BODY), 20_000):
            exchange.send(BODY[start : start + 20_000])
            time.sleep(0.15)

    with Server(drip) as server:
        begun = time.monotonic()
        give(BODY, server.url(), stall_seconds=2, tries=1)
        assert time.monotonic() - begun > 2
    return "the right file after one request that took longer than a stall may"


ENDLESS = 50_000_000  # that is where an endless body ends, should the client not go away before


def endless(exchange, block=b"2710\r\n%b\r\n" % bytes(10_000)):
    while exchange.sent < ENDLESS:
        exchange.send(block)


@row("an endless body", "cut off at the most that is taken from a server that states no length")
def _(_folder, _monkeypatch):
    def plain(exchange):
        exchange.head("200 OK")
        endless(exchange, bytes(10_000))

    def in_chunks(exchange):
        exchange.head("200 OK", Transfer_Encoding="chunked")
        endless(exchange)

    def in_chunks_of_stated_length(exchange):
        exchange.head("200 OK", Transfer_Encoding="chunked", Content_Length=10)
        endless(exchange)

    with Server(plain, in_chunks, in_chunks_of_stated_length, file(BODY)) as server:
        for _ in range(3):
            message = refuse(FetchError, BODY, server.url(), unstated_bytes=1_000_000)
            assert "expected at most 1000000 bytes" in message
            assert forgotten()
        give(BODY, server.url())
    return "FetchError each of three times, plain, in chunks, and in chunks with a Content-Length; nothing left"


@row("an HTML page with status 200", "refused and deleted; told to be a web page")
def _(_folder, _monkeypatch):
    page = b"<html><title>Please log in</title></html>"
    with Server(whole(page, Content_Type="text/html; charset=utf-8"), file(BODY)) as server:
        message = refuse(IntegrityError, BODY, server.url())
        assert f"{len(page)} bytes (a web page)" in message
        give(BODY, server.url())
    return "IntegrityError that says a web page came"


ZIPPED = gzip.compress(BODY, mtime=0)


@row("gzip on the wire", "undone, before the digest is taken")
def _(_folder, _monkeypatch):
    with Server(whole(ZIPPED, Content_Encoding="gzip")) as server:
        give(BODY, server.url())
    assert server.exchanges[0].headers["accept-encoding"] == "identity"
    return "the right file, though identity alone was asked for"


@row("gzip on the wire that ends too early", "started again, since a part of it can't be resumed")
def _(_folder, _monkeypatch):
    with Server(cut(ZIPPED, HALF, Content_Encoding="gzip"), file(BODY)) as server:
        give(BODY, server.url())
    assert server.ranges() == [None, None]
    return "the right file from a second request, without Range"


@row("gzip on the wire that is no gzip", "retried, and then given up")
def _(_folder, _monkeypatch):
    with Server(*[whole(OTHER, Content_Encoding="gzip")] * 5, file(BODY)) as server:
        message = refuse(FetchError, BODY, server.url())
        count = len(server.exchanges)
        assert "given up after 5 tries" in message
        give(BODY, server.url())
    return f"FetchError after {of(count, 'request')}"


@row("a redirect to itself", "given up after five redirects")
def _(_folder, _monkeypatch):
    with Server(*[redirect("/model.ckpt")] * 6, file(BODY)) as server:
        message = refuse(FetchError, BODY, server.url())
        assert "expected at most 5 redirects" in message
        count = len(server.exchanges)
        give(BODY, server.url())
    return f"FetchError after {of(count, 'request')}"


@row("six redirects, and then the file", "given up; five redirects are followed")
def _(_folder, _monkeypatch):
    hops = [redirect(f"hop{number}") for number in range(6)]
    with Server(*hops, file(BODY)) as server:
        message = refuse(FetchError, BODY, server.url())
        assert "expected at most 5 redirects" in message
        count = len(server.exchanges)
    with Server(*hops[:5], file(BODY)) as server:
        give(BODY, server.url())
    assert server.exchanges[-1].path == "/hop4"
    return f"FetchError after {of(count, 'request')}; five were followed"


@row("a redirect with an endless body", "followed, and its body not read")
def _(_folder, _monkeypatch):
    def answer(exchange):
        exchange.head("302 Found", Location="there", Transfer_Encoding="chunked")
        endless(exchange)

    with Server(answer, file(BODY)) as server:
        give(BODY, server.url())
    assert server.exchanges[0].sent < ENDLESS
    return f"the right file after {of(len(server.exchanges), 'request')}"


def trusted(folder, monkeypatch):
    """An authority that requests trusts."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(folder / "ca.pem"))
    return authority


@row("a redirect from https to http", "not followed")
def _(folder, monkeypatch):
    context = loopback.certificate(trusted(folder, monkeypatch), "127.0.0.1")
    with Server(file(BODY)) as plain, Server(redirect(plain.url()), file(BODY), context=context) as server:
        message = refuse(FetchError, BODY, server.url())
        assert "expected a redirect to https" in message
        give(BODY, server.url())
    assert not plain.exchanges
    return "FetchError; no request over http"


@row("a redirect to a file of this machine", "not followed")
def _(folder, _monkeypatch):
    local = folder / "local"
    local.write_bytes(BODY)
    with Server(redirect(local.as_uri()), file(BODY)) as server:
        message = refuse(FetchError, BODY, server.url())
        assert "expected an https URL, found file" in message
        give(BODY, server.url())
    return "FetchError, though that file was the right one"


@row("a redirect from a public address to a private one", "not followed")
def _(_folder, monkeypatch):
    monkeypatch.setattr(connection, "is_public", lambda address: address == "127.0.0.2")
    with (
        Server(file(BODY)) as private,
        Server(redirect(private.url()), file(BODY), host="127.0.0.2") as public,
    ):
        message = refuse(FetchError, BODY, public.url())
        assert public.url() in message
        assert "expected a redirect to a public address, found one to 127.0.0.1" in message
        give(BODY, public.url())
    assert not private.exchanges
    return "FetchError; no request to the private address"


@row("a redirect from a public host to a private address, by way of a proxy", "not followed")
def _(_folder, monkeypatch):
    with Server(redirect("http://169.254.169.254/latest"), file(BODY)) as proxy:
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        message = refuse(FetchError, BODY, "http://model.invalid/model.ckpt", allow_http=True)
        assert message.endswith("expected a redirect to a public address, found one to a private one")
        assert len(proxy.exchanges) == 1
        give(BODY, "http://model.invalid/model.ckpt", allow_http=True)
    return "FetchError; the proxy was asked for the first URL alone"


@row("a redirect to a text that is no URL", "told")
def _(_folder, _monkeypatch):
    for location in ("/\xff", "http://[::1/x"):
        with Server(redirect(location), file(BODY)) as server:
            assert "expected a URL" in refuse(FetchError, BODY, server.url())
            give(BODY, server.url())
        shutil.rmtree(cache.folder())
    return "FetchError, each of two times"


@row("a certificate of an unknown authority", "refused, without a second try")
def _(folder, monkeypatch):
    authority = trustme.CA()
    with Server(file(BODY), context=loopback.certificate(authority, "127.0.0.1")) as server:
        message = refuse(FetchError, BODY, server.url())
        assert "certificate verify failed" in message
        assert not server.exchanges
        server.context = loopback.certificate(trusted(folder, monkeypatch), "127.0.0.1")
        give(BODY, server.url())
        assert server.connections == 2
    return "FetchError after one connection, with no request"


@row("a certificate for another host", "refused, without a second try")
def _(folder, monkeypatch):
    authority = trusted(folder, monkeypatch)
    with Server(file(BODY), context=loopback.certificate(authority, "elsewhere.example")) as server:
        message = refuse(FetchError, BODY, server.url())
        assert "certificate verify failed" in message
        assert not server.exchanges
        server.context = loopback.certificate(authority, "127.0.0.1")
        give(BODY, server.url())
        assert server.connections == 2
    return "FetchError after one connection, with no request"


@row("a plain http URL of another machine", "refused, and how to allow it is told")
def _(_folder, monkeypatch):
    with loopback.no_socket(monkeypatch):
        message = refuse(FetchError, BODY, "http://192.0.2.1/model.ckpt")
    assert "--allow-http" in message
    with Server(file(BODY)) as server:
        give(BODY, server.url())
    return "FetchError that names the option; no socket opened"


def names(monkeypatch, *errors):
    """Let looking a name up fail with these errors, and then give this machine."""
    found, left = socket.getaddrinfo, list(errors)
    asked = []

    def look_up(_host, *arguments, **options):
        asked.append(_host)
        if left:
            raise socket.gaierror(left.pop(0), "no answer")
        return found("127.0.0.1", *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


@row("the host's name does not exist", "given up without a second try")
def _(_folder, monkeypatch):
    with Server(file(BODY)) as server:
        url = server.url().replace("127.0.0.1", "model.invalid")
        asked = names(monkeypatch, socket.EAI_NONAME)
        refuse(FetchError, BODY, url, allow_http=True)
        assert asked == ["model.invalid"]
        give(BODY, url, allow_http=True)
    return "FetchError after the name was looked up once"


@row("the name server does not answer, twice", "retried")
def _(_folder, monkeypatch):
    with Server(file(BODY)) as server:
        asked = names(monkeypatch, socket.EAI_AGAIN, socket.EAI_AGAIN)
        give(BODY, server.url().replace("127.0.0.1", "model.invalid"), allow_http=True)
    return f"the right file after the name was looked up {len(asked)} times"


@row("the connection is refused", "retried, and then given up")
def _(_folder, _monkeypatch):
    with socket.socket() as bound:  # and not listening: no other process can take the port
        bound.bind(("127.0.0.1", 0))
        port = bound.getsockname()[1]
        message = refuse(FetchError, BODY, f"http://127.0.0.1:{port}/model.ckpt")
    assert "ConnectionRefusedError" in message
    assert "given up after 5 tries" in message
    with Server(file(BODY), port=port) as server:
        give(BODY, server.url())
    return "FetchError after 5 tries"


@row("status 404, 403, 401 or 410", "given up without a second try")
def _(_folder, _monkeypatch):
    for status in ("404 Not Found", "403 Forbidden", "401 Unauthorized", "410 Gone"):
        with Server(error(status), file(BODY)) as server:
            message = refuse(FetchError, BODY, server.url())
            assert f"found status {status}" in message
            assert len(server.exchanges) == 1
            give(BODY, server.url())
        shutil.rmtree(cache.folder())
    return "FetchError after one request, each time"


@row("status 429 with Retry-After in seconds", "waited for as long as asked")
def _(_folder, _monkeypatch):
    with Server(error("429 Too Many Requests", Retry_After=1), file(BODY)) as server:
        begun = time.monotonic()
        give(BODY, server.url())
        assert time.monotonic() - begun >= 1
    return f"the right file after {of(len(server.exchanges), 'request')}, no sooner than asked"


@row("status 429 with a Retry-After that is longer than the patience", "given up at once, with how long was asked")
def _(_folder, _monkeypatch):
    for value, asked in (("3600", r"3600"), (loopback.date(3600), r"3[56]\d\d")):
        with Server(error("429 Too Many Requests", Retry_After=value), file(BODY)) as server:
            message = refuse(FetchError, BODY, server.url())
            assert re.search(rf"asks to wait {asked} s; given up after 1 try", message)
            assert len(server.exchanges) == 1
            give(BODY, server.url())
        shutil.rmtree(cache.folder())
    return "FetchError after one request, in seconds and as a date"


@row("status 500 three times, and then the file", "retried")
def _(_folder, _monkeypatch):
    with Server(*[error("500 Internal Server Error")] * 3, file(BODY)) as server:
        give(BODY, server.url())
    return f"the right file after {of(len(server.exchanges), 'request')}"


@row("no answer that is HTTP", "retried, and then given up")
def _(_folder, _monkeypatch):
    with Server(*[lambda exchange: exchange.send(b"SSH-2.0-OpenSSH\r\n\r\n")] * 5, file(BODY)) as server:
        message = refuse(FetchError, BODY, server.url())
        count = len(server.exchanges)
        assert "given up after 5 tries" in message
        give(BODY, server.url())
    return f"FetchError after {of(count, 'request')}"


@row("the first of two mirrors does not answer", "told; the second is used")
def _(_folder, _monkeypatch):
    notes = []
    with Server(error("503 Service Unavailable")) as dead, Server(file(BODY)) as mirror:
        give(BODY, dead.url(), mirror.url(), notes=notes, tries=2)
        assert len(notes) == 1
        assert notes[0].endswith(f"trying {mirror.url()}")
    return f"the right file from the second, after {of(len(dead.exchanges), 'request')} to the first"


@row("the first of two mirrors breaks off and dies", "the second starts again, and not in the middle")
def _(_folder, _monkeypatch):
    with Server(cut(OTHER, HALF), error("404 Not Found")) as dead, Server(file(BODY)) as mirror:
        give(BODY, dead.url(), mirror.url())
    assert mirror.ranges() == [None]
    return "the right file from the second, asked for without Range"


@row("the first of two mirrors has another file", "told; the second is used")
def _(_folder, _monkeypatch):
    notes = []
    with Server(file(OTHER)) as stale, Server(file(BODY)) as mirror:
        give(BODY, stale.url(), mirror.url(), notes=notes)
        assert len(notes) == 1
        assert digest(OTHER) in notes[0]
    return f"the right file from the second, after {of(len(stale.exchanges), 'request')} to the first"


@row("no mirror has the file", "the fault of each is told")
def _(_folder, _monkeypatch):
    with Server(file(OTHER), file(BODY)) as stale, Server(error("404 Not Found"), file(BODY)) as dead:
        first, second = refuse(IntegrityError, BODY, stale.url(), dead.url()).splitlines()
        assert first.startswith(stale.url())
        assert digest(OTHER) in first
        assert second.startswith(dead.url())
        assert "status 404" in second
        give(BODY, stale.url(), dead.url())
    return "IntegrityError with one line for each"


@row("a digest in upper case", "the same digest")
def _(_folder, _monkeypatch):
    with Server(file(BODY)) as server:
        path = fetch.fetch([server.url()], digest(BODY).upper(), POLICY, lambda _: None)
        assert path == cache.file_of(digest(BODY))
        give(BODY, server.url())
    return f"the right file after {of(len(server.exchanges), 'request')}"


@row("a digest that is too short, too long, or none", "refused")
def _(_folder, monkeypatch):
    policy = replace(POLICY, allow_short_digest=True)
    with Server(file(BODY)) as server:
        wrong = ("", digest(BODY)[:7], digest(BODY) + "0", digest(BODY)[:-1] + "g", f"{digest(BODY)}\n")
        for text in wrong:
            with loopback.no_socket(monkeypatch), pytest.raises(HubpkgError) as caught:
                fetch.fetch([server.url()], text, policy, lambda _: None)
            assert str(caught.value) == f"sha256: expected 64 hex digits, found {text!r}"
        give(BODY, server.url())
    return f"HubpkgError for each of {len(wrong)}; no socket opened"


@row("a digest that is cut to 8 digits", "refused, unless short digests are allowed")
def _(_folder, monkeypatch):
    with Server(file(BODY)) as server:
        with loopback.no_socket(monkeypatch), pytest.raises(NotPinnedError) as caught:
            fetch.fetch([server.url()], digest(BODY)[:8], POLICY, lambda _: None)
        assert "--allow-short-digest" in str(caught.value)
        give(BODY, server.url())
    return "NotPinnedError that names the option; no socket opened"


@row("another file with the same first 8 digits, later", "the lock file has the whole digest, and refuses it")
def _(_folder, _monkeypatch):
    first, second = TWINS
    short = digest(first)[:8]
    assert short == digest(second)[:8]
    policy = replace(POLICY, allow_short_digest=True)
    with Server(file(first), file(second, etag='"2"'), file(first)) as server:
        assert fetch.fetch([server.url()], short, policy, lambda _: None).read_bytes() == first
        assert lockfile.read("assets") == {f"{server.url()} {short}": digest(first)}
        shutil.rmtree(cache.folder() / "file")
        for again in (policy, POLICY):
            with pytest.raises(IntegrityError) if again is policy else ExitStack():
                assert fetch.fetch([server.url()], short, again, lambda _: None).read_bytes() == first
        assert not os.path.lexists(cache.file_of(digest(second)))
    return "IntegrityError, though short digests were allowed; the first file is taken, and needs no such leave"


@row("the file is larger than the free space", "refused before a byte of it is written")
def _(_folder, _monkeypatch):
    huge = whole(b"", Content_Length=10**17, ETag='"1"')
    with Server(huge, file(BODY)) as server:
        message = refuse(FetchError, BODY, server.url())
        assert re.search(r"expected 1\d+ bytes of free space in .*, found \d+; free some", message)
        give(BODY, server.url())
    return "FetchError with both sizes, where, and what to do"


@row("writing fails halfway, as on a full disk", "told as such; the part is deleted, to leave the room to others")
def _(_folder, _monkeypatch):
    with Clients() as clients, Server(file(BODY)) as server:
        order = ("fetch", [server.url()], digest(BODY), asdict(POLICY))
        told = clients.wait(clients.start(*order, largest=HALF))
        assert told == f"OSError: [Errno {errno.EFBIG}] {os.strerror(errno.EFBIG)}"
        assert forgotten()
        assert not os.path.lexists(cache.file_of(digest(BODY)))
        assert clients.wait(clients.start(*order)) == str(cache.file_of(digest(BODY)))
        give(BODY, server.url())
    return "OSError of the system, from a real limit on the size of files; nothing left"


@row("the process is killed at 200 places", "a retry gives the right file, whatever was left")
def _(_folder, _monkeypatch):
    places = resumed = 0
    with Clients() as clients, Server() as server:

        def killed(offset=None, **options):
            """Whether the process was killed, by itself or with so many bytes sent; and then a retry."""
            nonlocal resumed
            server.answers[:] = [file(BODY) if offset is None else cut(BODY, offset, then=loopback.Exchange.hang)]
            count = len(server.exchanges)
            pid = clients.start("fetch", [server.url()], digest(BODY), asdict(POLICY), **options)
            if offset is not None:
                wait_until(lambda: len(server.exchanges) > count and server.exchanges[count].sent == offset)
                if offset % 2:
                    written(offset)()
                os.kill(pid, signal.SIGKILL)
            ended = clients.wait(pid)
            assert ended in ("SIGKILL", str(cache.file_of(digest(BODY))))
            server.answers[:] = [file(BODY)]
            give(BODY, server.url())
            resumed += server.ranges()[-1] is not None
            shutil.rmtree(cache.folder())
            return ended == "SIGKILL"

        while killed(killed_before=places):
            places += 1
        left = 200 - places
        assert 10 < places < 100
        for number in range(left):
            assert killed(number * (len(BODY) - 1) // (left - 1))
    assert resumed > left // 4
    return (
        "killed before each operation on a file, from the first lock to the last rename, and at places all over the "
        "body; 200 retries gave the right file, many of them by Range"
    )


@row("Ctrl-C amid the body, on the command line", "exit status 130; the same command then resumes")
def _(folder, _monkeypatch):
    with Server(cut(BODY, HALF, then=loopback.Exchange.hang), file(BODY)) as server:
        command = [sys.executable, "-m", "hubpkg", "fetch", server.url(), "--sha256", digest(BODY)]
        options = {"cwd": folder, "text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        with subprocess.Popen(command, **options) as process:
            wait_until(lambda: server.exchanges)
            written(HALF)()
            process.send_signal(signal.SIGINT)
            _, told = process.communicate()
        assert told.startswith("hubpkg: interrupted")
        assert told.count("\n") == 1
        again = subprocess.run(command, **options, check=True)
        assert again.stdout == f"{cache.file_of(digest(BODY))}\n"
        assert re.fullmatch(r"bytes=\d+-", server.ranges()[1])
        give(BODY, server.url())
    return f"exit status {process.returncode}, one line; then {again.returncode}, with Range"


@row("offline, with nothing in the cache", "refused")
def _(_folder, monkeypatch):
    with Server(file(BODY)) as server:
        with loopback.no_socket(monkeypatch):
            message = refuse(FetchError, BODY, server.url(), offline=True)
        assert "offline" in message
        give(BODY, server.url())
    return "FetchError; no socket opened"


@row("offline, with the file in the cache", "given from there")
def _(_folder, monkeypatch):
    with Server(file(BODY)) as server:
        give(BODY, server.url())
        with loopback.no_socket(monkeypatch):
            give(BODY, server.url(), offline=True)
    return "the right file; no socket opened"
