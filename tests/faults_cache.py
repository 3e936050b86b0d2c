"""Faults of the cache, of those who share it, and of the clock."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from dataclasses import asdict, replace
from functools import partial

import faults
import loopback
import pytest
from faults_fetch import BODY, HALF, OTHER, POLICY, digest, forgotten, give, of, refuse
from loopback import Clients, Server, cut, error, file, wait_until

from hubpkg import cache, checkpoint, fetch, lockfile
from hubpkg.errors import CacheWarning, FetchError, HubpkgError, IntegrityError

DAY = 86_400

row = partial(faults.fault, "The cache")


def entry(body=BODY):
    return cache.file_of(digest(body))


def mended(change):
    """Let ``change`` befall the entry, which must then be set aside and fetched again; say what did happen."""
    with Server(file(BODY)) as server:
        give(BODY, server.url())
        entry().chmod(0o644)
        change(entry())
        with pytest.warns(CacheWarning, match="set aside as") as told:
            give(BODY, server.url())
        assert len(told) == 1
        assert len(list((cache.folder() / "damaged").iterdir())) == 1
        give(BODY, server.url())
    return f"CacheWarning; set aside, and the right file after {of(len(server.exchanges) - 1, 'further request')}"


def flip(path):
    """Change one bit, and neither the size nor the time."""
    stat, data = path.stat(), bytearray(path.read_bytes())
    data[HALF] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))


def linked(folder, body):
    """Puts a link to another file, that has ``body``, in a file's place."""

    def change(path):
        target = folder / "target"
        target.write_bytes(body)
        path.unlink()
        path.symlink_to(target)

    return change


@row("an entry is altered, and its size and time are not", "set aside with a warning, and fetched again")
def _(_folder, _monkeypatch):
    return mended(flip)


@row("an entry is cut short", "set aside with a warning, and fetched again")
def _(_folder, _monkeypatch):
    return mended(lambda path: os.truncate(path, HALF))


@row("an entry is replaced by a link to the same bytes", "set aside with a warning, and fetched again")
def _(folder, _monkeypatch):
    return mended(linked(folder, BODY))


@row("an entry is replaced by a link to other bytes", "set aside with a warning, and fetched again; the target stays")
def _(folder, _monkeypatch):
    did = mended(linked(folder, OTHER))
    assert (folder / "target").read_bytes() == OTHER
    return f"{did}; the target is as it was"


@row("an entry is replaced by a link to itself", "set aside with a warning, and fetched again")
def _(_folder, _monkeypatch):
    def change(path):
        path.unlink()
        path.symlink_to(path)

    return mended(change)


@row("an entry is replaced by a folder", "set aside with a warning, and fetched again")
def _(_folder, _monkeypatch):
    def change(path):
        path.unlink()
        path.mkdir()
        (path / digest(BODY)).write_bytes(BODY)

    return mended(change)


@row("an entry is replaced by a named pipe", "not waited for; set aside with a warning, and fetched again")
def _(_folder, _monkeypatch):
    def change(path):
        path.unlink()
        os.mkfifo(path)

    return mended(change)


@row("an entry is damaged, and hubpkg is offline", "refused")
def _(_folder, monkeypatch):
    with Server(file(BODY)) as server:
        give(BODY, server.url())
        entry().chmod(0o644)
        flip(entry())
        policy = replace(POLICY, offline=True)
        with loopback.no_socket(monkeypatch), pytest.raises(FetchError, match="offline"):
            fetch.fetch([server.url()], digest(BODY), policy, lambda _: None)
        with pytest.warns(CacheWarning):
            give(BODY, server.url())
    return "FetchError; no socket opened; mended when online"


@row("an entry is altered after it was verified", "other bytes are never loaded")
def _(_folder, monkeypatch):
    loaded = []

    def load(path):
        if len(loaded) == 1:
            flip(entry())  # at the last moment: what is loaded is not the entry
        loaded.append(path.read_bytes())
        return {}

    monkeypatch.setattr(checkpoint, "load", load)
    with Server(file(BODY)) as server:
        path = fetch.fetch([server.url()], digest(BODY), POLICY, lambda _: None)
        path.chmod(0o644)
        flip(path)
        with pytest.raises(IntegrityError) as caught:
            checkpoint.load_verified(path, digest(BODY))
        assert digest(BODY) in str(caught.value)
        assert not loaded
        for warned in (True, False, True):
            with pytest.warns(CacheWarning) if warned else warnings.catch_warnings():
                path = fetch.fetch([server.url()], digest(BODY), POLICY, lambda _: None)
            path.chmod(0o644)
            checkpoint.load_verified(path, digest(BODY))
    assert loaded == [BODY] * 3
    return "IntegrityError, with nothing loaded; what is loaded is a private copy, and was right each time"


def read_only(folder):
    """Let nobody write to the cache in ``folder``; give the user that is then to read it."""
    folder.chmod(0o755)
    for path in [cache.folder(), *cache.folder().rglob("*")]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    return 65534 if os.getuid() == 0 else None  # root may write anywhere


def writable():
    for path in [cache.folder(), *(path for path in cache.folder().rglob("*") if path.is_dir())]:
        path.chmod(0o755)


@row("the cache can't be written, and has the file", "given from there")
def _(folder, _monkeypatch):
    with Clients() as clients, Server(file(BODY)) as server:
        give(BODY, server.url())
        user = read_only(folder)
        before = {path: path.is_file() and path.read_bytes() for path in cache.folder().rglob("*")}
        pid = clients.start("fetch", [server.url()], digest(BODY), asdict(POLICY), user=user)
        assert clients.wait(pid) == str(entry())
        assert {path: path.is_file() and path.read_bytes() for path in cache.folder().rglob("*")} == before
        writable()
        give(BODY, server.url())
    return f"the right file, with nothing written and {of(len(server.exchanges) - 1, 'further request')}"


@row(
    "the cache can't be written, and has not the file", "refused in one line, which names another folder as the way out"
)
def _(folder, _monkeypatch):
    with Clients() as clients, Server(file(BODY)) as server:
        order = ("fetch", [server.url()], digest(BODY), asdict(POLICY))
        for folders in ([], ["locks"], ["locks", "partial", "file"]):
            for name in folders:
                (cache.folder() / name).mkdir(parents=True)
            cache.folder().mkdir(exist_ok=True)
            user = read_only(folder)
            told = clients.wait(clients.start(*order, user=user))
            assert told.startswith(f"HubpkgError: expected a cache folder that can be written, found {cache.folder()}:")
            assert told.endswith("name another one in the environment variable HUBPKG_CACHE")
            assert "\n" not in told
            writable()
            shutil.rmtree(cache.folder())
        assert not server.exchanges
        give(BODY, server.url())
    return "HubpkgError, three times, before any request"


@row("the cache's folder is a file", "refused in one line, which names another folder as the way out")
def _(_folder, _monkeypatch):
    with Server(file(BODY)) as server:
        cache.folder().write_bytes(b"")
        assert "HUBPKG_CACHE" in refuse(HubpkgError, BODY, server.url())
        assert not server.exchanges
        cache.folder().unlink()
        give(BODY, server.url())
    return "HubpkgError before any request; the right file when it was gone"


@row("a lock file is left from long ago", "no hindrance")
def _(_folder, _monkeypatch):
    lock, notes = cache.lock_of(digest(BODY)), []
    lock.parent.mkdir(parents=True)
    lock.write_text("1\n", encoding="utf-8")
    os.utime(lock, (0, 0))
    with Server(file(BODY)) as server:
        give(BODY, server.url(), notes=notes)
    assert not notes
    return "the right file, with no wait"


@row("the holder of a lock is killed", "the one that waits goes on, with what is there")
def _(_folder, _monkeypatch):
    with Clients() as clients, Server(cut(BODY, HALF, then=loopback.Exchange.hang), file(BODY)) as server:
        pid = clients.start("fetch", [server.url()], digest(BODY), asdict(POLICY))
        part = cache.partial_of(digest(BODY))
        wait_until(lambda: part.exists() and part.stat().st_size > 0)
        notes = []

        def report(note):
            notes.append(note)
            os.kill(pid, signal.SIGKILL)

        path = fetch.fetch([server.url()], digest(BODY), POLICY, report)
        assert path.read_bytes() == BODY
        assert notes == [f"waiting for another hubpkg that holds {cache.lock_of(digest(BODY))}"]
        ended = clients.wait(pid)
        assert server.ranges()[1].startswith("bytes=")
        give(BODY, server.url())
    return f"the holder ended by {ended}; the other said that it waited, and resumed"


@row("two processes fetch two files at once", "neither waits for the other")
def _(_folder, _monkeypatch):
    with Server() as server, Clients() as clients:

        def both(exchange):
            wait_until(lambda: len(server.exchanges) >= 2)
            file(BODY if exchange.path == "/body" else OTHER)(exchange)

        server.answers[:] = [both]
        wanted = {"/body": BODY, "/other": OTHER}
        pids = [
            clients.start("fetch", [server.url(path)], digest(body), asdict(POLICY)) for path, body in wanted.items()
        ]
        assert [clients.wait(pid) for pid in pids] == [str(entry(body)) for body in wanted.values()]
        give(BODY, server.url("/body"))
        give(OTHER, server.url("/other"))
    return f"both right, after {of(len(server.exchanges), 'request')} that were answered together"


def at_once(count):
    """Fetch one file from so many processes at once; say what the server saw."""
    with Server() as server, Clients() as clients:
        begun = threading.Event()

        def slow(exchange):
            assert begun.wait(60)
            cut(BODY, HALF)(exchange)

        server.answers[:] = [slow, file(BODY)]
        pids = [clients.start("fetch", [server.url()], digest(BODY), asdict(POLICY)) for _ in range(count)]
        begun.set()
        assert [clients.wait(pid) for pid in pids] == [str(entry())] * count
        assert server.sent == len(BODY)
        give(BODY, server.url())
    return f"{count} times the right file; one body sent, in {of(len(server.exchanges), 'part')}"


@row("two processes fetch one file at once, and the connection breaks", "one download")
def _(_folder, _monkeypatch):
    return at_once(2)


@row("fifty processes fetch one file at once, and the connection breaks", "one download")
def _(_folder, _monkeypatch):
    return at_once(50)


@row("three processes fetch one file by a short digest at once", "one download, which binds all of them")
def _(_folder, _monkeypatch):
    def slow(exchange):
        wait_until(lambda: len(started) == 3)
        time.sleep(0.3)
        file(BODY)(exchange)

    started = []
    policy = asdict(replace(POLICY, allow_short_digest=True))
    with Clients() as clients, Server(slow, file(OTHER)) as server:
        order = ("fetch", [server.url()], digest(BODY)[:8], policy)
        started.extend([clients.start(*order) for _ in range(3)])
        assert [clients.wait(pid) for pid in started] == [str(entry())] * 3
        assert len(server.exchanges) == 1
        assert list(lockfile.read("assets").values()) == [digest(BODY)]
    return "3 times the right file, after one request"


@row("two processes fetch one damaged entry at once", "set aside once; one download")
def _(_folder, _monkeypatch):
    entry().parent.mkdir(parents=True)
    entry().write_bytes(OTHER)
    did = at_once(2)
    assert len(list((cache.folder() / "damaged").iterdir())) == 1
    return did


@row("the clock goes backwards during a download", "no matter")
def _(_folder, monkeypatch):
    now = [time.time()]

    def backwards():
        now[0] -= 1000 * DAY
        return now[0]

    monkeypatch.setattr(time, "time", backwards)
    silent = cut(BODY, HALF, then=loopback.Exchange.hang)
    with Server(silent, error("503 Service Unavailable", Retry_After=0), file(BODY)) as server:
        give(BODY, server.url(), read_seconds=0.5, tries=100)
        give(BODY, server.url())
    return "the right file, after a wait and a silence"


@row("an entry is from the future", "kept by prune, and used")
def _(_folder, _monkeypatch):
    with Server(file(BODY)) as server:
        give(BODY, server.url())
        os.utime(entry(), (time.time() + 1000 * DAY,) * 2)
        kept = [cache.prune(days) for days in (0, 30)] == [[], []]
        give(BODY, server.url())
        assert [pruned.path for pruned in cache.prune(0)] == [entry()]  # its use has set its time
        give(BODY, server.url())
    assert kept
    return "kept, and used without a request; its use put its time right"


@row("the lock file hubpkg.lock is damaged", "refused in one line that says what to do, and never overwritten")
def _(_folder, _monkeypatch):
    short = replace(POLICY, allow_short_digest=True)
    damages = (b"", b"{", b"\xff\xfe", b"[]", b'{"format": 2, "assets": {}, "code": {}, "documents": {}}')
    with Server(file(BODY)) as server:
        for damage in damages:
            cache.folder().mkdir(exist_ok=True)
            lockfile.path().write_bytes(damage)
            with pytest.raises(HubpkgError) as caught:
                fetch.fetch([server.url()], digest(BODY)[:8], short, lambda _: None)
            assert str(caught.value).startswith(f"{lockfile.path()}: ")
            assert all(line.endswith("; mend it or delete it") for line in str(caught.value).splitlines())
            assert lockfile.path().read_bytes() == damage
            assert not server.exchanges
        give(BODY, server.url())  # a whole digest needs no lock file
        lockfile.path().unlink()
        path = fetch.fetch([server.url()], digest(BODY)[:8], short, lambda _: None)
        assert path.read_bytes() == BODY
    return f"HubpkgError for each of {len(damages)} damages, before any request; the right file when it was deleted"


def broken_off(server):
    """Leave half of the file, as a download does that is given up; give the path of the part."""
    refuse(FetchError, BODY, server.url())
    part = cache.partial_of(digest(BODY))
    assert part.read_bytes() == BODY[:HALF]
    return part


@row("the part of a file is altered between two tries", "the digest tells; fetched whole once more")
def _(_folder, _monkeypatch):
    with Server(cut(BODY, HALF), error("404 Not Found"), file(BODY)) as server:
        part = broken_off(server)
        part.write_bytes(OTHER[:HALF])
        give(BODY, server.url())
    assert server.ranges()[2:] == [f"bytes={HALF}-", None]
    return "the right file from a second request, without Range"


@row("the part of a file is longer than the file", "started again")
def _(_folder, _monkeypatch):
    with Server(cut(BODY, HALF), error("404 Not Found"), file(BODY)) as server:
        part = broken_off(server)
        part.write_bytes(BODY + BODY)
        give(BODY, server.url())
    assert server.ranges()[2:] == [f"bytes={2 * len(BODY)}-", None]
    return "the right file from a second request, without Range"


@row("the part of a file is replaced by a link", "started again; the link's target is never written")
def _(folder, _monkeypatch):
    target = folder / "target"
    target.write_bytes(BODY[:HALF])
    with Server(cut(BODY, HALF), error("404 Not Found"), file(BODY)) as server:
        part = broken_off(server)
        part.unlink()
        part.symlink_to(target)
        give(BODY, server.url())
    assert server.ranges()[2:] == [None]
    assert target.read_bytes() == BODY[:HALF]
    return "the right file; the target is as it was"


@row("the part of a file is a second name of another file", "started again; the other file is never written")
def _(folder, _monkeypatch):
    target = folder / "target"
    target.write_bytes(BODY[:HALF])
    with Server(cut(BODY, HALF), error("404 Not Found"), file(BODY)) as server:
        part = broken_off(server)
        part.unlink()
        part.hardlink_to(target)
        give(BODY, server.url())
    assert server.ranges()[2:] == [None]
    assert target.read_bytes() == BODY[:HALF]
    return "the right file; the other file is as it was"


@row("what is known of the part of a file is damaged", "started again")
def _(_folder, _monkeypatch):
    for damage in (b"", b"{", b"[]", b'{"url": 1}', b"\xff"):
        with Server(cut(BODY, HALF), error("404 Not Found"), file(BODY)) as server:
            part = broken_off(server)
            part.with_name(f"{part.name}.json").write_bytes(damage)
            give(BODY, server.url())
        assert server.ranges()[2:] == [None]
        shutil.rmtree(cache.folder())
    return "the right file from one request, without Range, each of five times"


def hubpkg(*arguments):
    command = [sys.executable, "-m", "hubpkg", *arguments]
    return subprocess.run(command, cwd=loopback.ROOT, capture_output=True, text=True, check=False)


@row("one of two entries is damaged, and the cache is verified and pruned", "told; set aside, and then removed")
def _(_folder, _monkeypatch):
    with Server(file(BODY), file(OTHER)) as server:
        give(BODY, server.url())
        give(OTHER, server.url())
        entry().chmod(0o644)
        flip(entry())
        first, second = hubpkg("cache", "verify"), hubpkg("cache", "verify", "--json")
        assert first.stdout.splitlines() == [f"{digest(BODY)}: damaged, set aside", "2 files, 1 damaged"]
        assert first.stderr.startswith("hubpkg: warning: ")
        assert json.loads(second.stdout) == {"files": 1, "damaged": []}
        pruned = json.loads(hubpkg("cache", "prune", "--json").stdout)
        assert [found["kind"] for found in pruned] == ["damaged"]
        assert not list((cache.folder() / "damaged").iterdir())
    assert entry(OTHER).read_bytes() == OTHER
    assert not entry().exists()
    with Server(file(BODY)) as server:
        give(BODY, server.url())
        assert forgotten()
    return (
        f"exit status {first.returncode}, then {second.returncode}; prune removed what was set aside and nothing else"
    )
