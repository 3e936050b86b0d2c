"""What fetching promises where nothing goes wrong; for the rest see the fault table."""

import base64
import errno
import gzip
import json
import os
import pty
import re
import subprocess
import sys
import time
import tracemalloc
from contextlib import suppress

import loopback
import pytest
from faults_fetch import BODY, HALF, OTHER, POLICY, digest, give, refuse
from loopback import Server, cut, error, file, redirect, whole

from hubpkg import cache, fetch, progress
from hubpkg.errors import FetchError, HubpkgError

MB = 1 << 20


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def command(hubpkg, folder):
    """The command ``hubpkg fetch`` with that cache."""
    return lambda *arguments: hubpkg("fetch", *arguments, env={"HUBPKG_CACHE": str(folder)})


def test_a_file_is_given_from_the_cache_the_second_time(monkeypatch):
    with Server(file(BODY)) as server:
        give(BODY, server.url())
        with loopback.no_socket(monkeypatch):
            give(BODY, server.url())


def test_an_empty_file_is_a_file():
    with Server(file(b"")) as server:
        give(b"", server.url())


def test_a_proxy_of_the_environment_is_used(monkeypatch):
    with Server(file(BODY)) as proxy:
        for name in ("no_proxy", "NO_PROXY"):
            monkeypatch.delenv(name)
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        give(BODY, "http://model.invalid/model.ckpt", allow_http=True)
    assert [exchange.path for exchange in proxy.exchanges] == ["http://model.invalid/model.ckpt"]


def test_netrc_is_used_for_its_own_host_alone(tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.2 login me password secret\n", encoding="utf-8")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    with Server(file(BODY)) as other, Server(redirect(other.url()), host="127.0.0.2") as server:
        give(BODY, server.url())
    expected = f"Basic {base64.b64encode(b'me:secret').decode()}"
    assert server.exchanges[0].headers["authorization"] == expected
    assert "authorization" not in other.exchanges[0].headers


def test_a_password_and_a_query_are_used_and_never_shown(command):
    notes = []
    with Server(error("404 Not Found")) as server, Server(redirect(server.url("/x?token=hidden"))) as first:
        urls = [each.url("/a/model.ckpt?key=hidden#part").replace("//", "//me:hidden@") for each in (first, server)]
        with pytest.raises(FetchError) as caught:
            fetch.fetch(urls, digest(BODY), POLICY, notes.append)
        done = command(*urls, "--sha256", digest(BODY))
        assert f"http://127.0.0.1:{server.port}/a/model.ckpt?...: expected the file" in str(caught.value)
    assert "authorization" in first.exchanges[0].headers
    assert server.exchanges[1].path == "/a/model.ckpt?key=hidden"
    assert len(notes) == 1
    assert done.returncode == 2
    for text in (str(caught.value), notes[0], done.stderr):
        assert "hidden" not in text
        assert "me:" not in text


@pytest.mark.parametrize(
    "url",
    [
        "https://me:hidden@[::1/model.ckpt",
        "https://me:hidden@a..b/model.ckpt",
        "https://me:hidden@host:port/model.ckpt",
        "https://me:hidden@host:99999/model.ckpt",
        "https://me:hidden@/model.ckpt",
        "https://me:hidden@ho st/model.ckpt",
        "https://me:hidden@*/model.ckpt",
        "https:model.ckpt",
    ],
)
def test_a_malformed_url_is_told_in_one_line_without_its_password(url, monkeypatch):
    with loopback.no_socket(monkeypatch):
        message = refuse(FetchError, BODY, url)
    assert "expected a URL" in message
    assert "hidden" not in message


@pytest.mark.parametrize("url", ["file:///etc/hostname", "ftp://127.0.0.1/x", "model.ckpt", "", "http://192.0.2.1/x"])
def test_another_scheme_than_https_is_refused(url, monkeypatch):
    with loopback.no_socket(monkeypatch):
        assert "expected an https URL" in refuse(FetchError, BODY, url)


def test_a_redirect_to_a_malformed_url_is_told():
    with Server(redirect("http://[::1/x")) as server:
        assert "expected a URL" in refuse(FetchError, BODY, server.url())


def test_a_redirect_in_utf_8_is_followed():
    with Server(redirect("/mod\u00e8le.ckpt".encode().decode("latin-1")), file(BODY)) as server:
        give(BODY, server.url())
    assert server.exchanges[1].path == "/mod%C3%A8le.ckpt"


def test_a_redirect_from_a_private_address_to_a_private_one_is_followed():
    with Server(file(BODY)) as other, Server(redirect(other.url())) as server:
        give(BODY, server.url())


@pytest.mark.parametrize("length", ["-1", "1" * 5000, "300000, 300000", "+300000", " 300000", "many"])
def test_a_content_length_that_is_no_number_is_no_length(length):
    with Server(whole(BODY, Content_Length=length)) as server:
        give(BODY, server.url())


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_memory_does_not_grow_with_the_file(encoding):
    body = bytes(128 * MB)
    data = gzip.compress(body) if encoding == "gzip" else body
    with Server(file(BODY), whole(data, Content_Encoding=encoding)) as server:
        give(BODY, server.url())  # what is imported for it is no matter here
        tracemalloc.start()
        try:
            fetch.fetch([server.url()], digest(body), POLICY, lambda _: None)
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < 32 * MB


def test_tries_and_patience_can_be_set(command):
    with Server(error("500 Internal Server Error")) as server:
        done = command(server.url(), "--sha256", digest(BODY), "--tries", "2")
        assert (done.returncode, len(server.exchanges)) == (2, 2)
        server.answers[:] = [error("503 Service Unavailable", Retry_After=20), file(BODY)]  # it would wait 30 s
        done = command(server.url(), "--sha256", digest(BODY), "--stall-seconds", "15")
        assert (done.returncode, len(server.exchanges)) == (2, 3)
    assert "status 503 Service Unavailable, which asks to wait 20 s; given up after 1 try" in done.stderr


def full(tmp_path):
    """A file system of 1 MiB, where this process may make one."""
    place = tmp_path / "small"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(place)]
    if os.getuid() or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("only root can mount a small file system")
    return place


def test_a_full_disk_is_told_and_left_as_it_was(tmp_path, monkeypatch, hubpkg):
    body = BODY * 5
    place = full(tmp_path)
    try:
        monkeypatch.setenv("HUBPKG_CACHE", str(place))

        def unstated(exchange):  # the space can't be checked first
            exchange.head("200 OK", ETag='"1"')
            exchange.send(body)

        with Server(unstated) as server:
            with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
                fetch.fetch([server.url()], digest(body), POLICY, lambda _: None)
            assert not list((place / "partial").iterdir())
            done = hubpkg("fetch", server.url(), "--sha256", digest(body), env={"HUBPKG_CACHE": str(place)})
            assert done.returncode == 2
            assert done.stderr.startswith("hubpkg: error: ")
            assert "free some space" in done.stderr
            assert done.stderr.count("\n") == 1
        with Server(file(body), file(BODY)) as server:
            with pytest.raises(FetchError, match="bytes of free space"):
                fetch.fetch([server.url()], digest(body), POLICY, lambda _: None)
            give(BODY, server.url())
    finally:
        subprocess.run(["umount", str(place)], check=True)  # noqa: S607 - it is where the system has it


def test_the_command_prints_the_path_and_is_silent_without_a_terminal(command):
    with Server(file(BODY)) as server:
        for _ in range(2):
            done = command(server.url(), "--sha256", digest(BODY))
            assert (done.returncode, done.stdout, done.stderr) == (0, f"{cache.file_of(digest(BODY))}\n", "")
    assert len(server.exchanges) == 1


def test_the_command_prints_json(command):
    with Server(file(BODY)) as server:
        done = command(server.url(), "--sha256", digest(BODY).upper(), "--json")
    expected = {"path": str(cache.file_of(digest(BODY))), "sha256": digest(BODY), "size": len(BODY)}
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout) == expected


def test_the_command_puts_a_copy_where_it_is_told(command, tmp_path):
    target = tmp_path / "out" / "model.ckpt"
    target.parent.mkdir()
    with Server(file(BODY)) as server:
        done = command(server.url(), "--sha256", digest(BODY), "--out", target)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{target}\n", "")
    assert target.read_bytes() == BODY
    assert os.access(target, os.W_OK)
    assert list(target.parent.iterdir()) == [target]


def test_a_copy_that_has_no_place_leaves_nothing(command, tmp_path):
    target = tmp_path / "out"
    target.mkdir()
    with Server(file(BODY)) as server:
        done = command(server.url(), "--sha256", digest(BODY), "--out", target)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "out"]


@pytest.mark.parametrize(
    ("answer", "arguments", "status", "words"),
    [
        (file(OTHER), [], 1, ["expected sha256", digest(OTHER), digest(BODY)]),
        (error("404 Not Found"), [], 2, ["status 404 Not Found"]),
        (file(BODY), ["--offline"], 2, ["offline"]),
        (file(BODY), ["--sha256", "abc"], 2, ["expected 64 hex digits, found 'abc'"]),
        (file(BODY), ["--sha256", digest(BODY)[:8]], 2, ["--allow-short-digest"]),
        (file(BODY), ["--tries", "many"], 2, ["--tries", "'many'", "hubpkg fetch --help"]),
    ],
)
def test_a_failure_is_one_line_and_a_status(answer, arguments, status, words, command):
    with Server(answer) as server:
        done = command(server.url(), "--sha256", digest(BODY), *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert done.stderr.count("\n") == 1
    for word in words:
        assert word in done.stderr


def test_a_short_digest_is_pinned_and_told(command):
    with Server(file(BODY)) as server:
        first = command(server.url(), "--sha256", digest(BODY)[:9], "--allow-short-digest")
        second = command(server.url(), "--sha256", digest(BODY)[:9])
    assert (first.returncode, second.returncode, len(server.exchanges)) == (0, 0, 1)
    assert (
        first.stderr
        == f"{server.url()}: sha256 is {digest(BODY)}, which {cache.folder()}/hubpkg.lock holds from now on\n"
    )
    assert second.stderr == ""


def test_progress_on_a_terminal_tells_rate_and_time_left():
    resumed = []

    def slow(exchange):
        start = int(exchange.headers["range"][6:-1])
        resumed.append(start)
        content_range = f"bytes {start}-{len(BODY) - 1}/{len(BODY)}"
        exchange.head("206 Partial Content", Content_Length=len(BODY) - start, Content_Range=content_range, ETag='"1"')
        for place in range(start, len(BODY), 20_000):
            exchange.send(BODY[place : place + 20_000])
            time.sleep(0.15)

    with Server(cut(BODY, HALF), error("404 Not Found"), slow) as server:
        refuse(FetchError, BODY, server.url("/[model].ckpt"))
        shown, status = on_a_terminal("fetch", server.url("/[model].ckpt"), "--sha256", digest(BODY))
    assert status == 0
    assert resumed == [HALF]
    assert "[model].ckpt" in shown
    assert "300.0/300.0 kB" in shown
    assert re.search(r"[\d.]+ [kM]B/s 0:00:0\d", shown)
    first = float(re.search(r"([\d.]+)/300.0 kB", shown)[1])
    assert first >= HALF / 1000  # what was there before counts as done


def on_a_terminal(*arguments):
    """What the command shows there, and its status."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "120", "PYTHONPATH": str(loopback.ROOT)}
    command = [sys.executable, "-m", "hubpkg", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        with open(ours, "rb", buffering=0) as terminal, suppress(OSError):  # noqa: PTH123 - a descriptor has no path
            while block := terminal.read(65536):  # Linux fails when the other end is closed, others give nothing
                shown += block
    return re.sub(r"\x1b\[[?\d;]*\w", "", shown.decode()), process.returncode


def test_progress_says_nothing_where_no_one_looks(capfd):
    with progress.transfer("model.ckpt", 0, 100) as advance:
        advance(100)
    assert capfd.readouterr() == ("", "")


def test_the_cache_is_needed_even_for_what_is_refused_there(monkeypatch, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path / "file" / "cache"))
    with loopback.no_socket(monkeypatch), pytest.raises(HubpkgError, match="HUBPKG_CACHE"):
        fetch.fetch(["https://model.invalid/x"], digest(BODY), POLICY, lambda _: None)
