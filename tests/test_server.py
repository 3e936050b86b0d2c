"""The site on loopback while its folder changes."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager

import drawn
import pytest
from loopback import wait_until

from hubpkg.errors import HubpkgError
from hubpkg.server import HOST, Server


class Still(Server):
    """Looks for changes when a test does, and not in between: of two looks at once, both would tell of a change."""

    def _watch(self):
        pass


@contextmanager
def serving(folder, kind=Server):
    said = []
    server = kind(folder, 0, said.append)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        yield server, said
    finally:
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("dist")
    drawn.package(made)
    drawn.card(made, "mindspore/1.9/net_cifar10")
    return made


@pytest.fixture(scope="module")
def server(folder):
    with serving(folder) as (server, _):
        yield server


def ask(server, path, method="GET", host=None):
    connection = http.client.HTTPConnection(HOST, server.server_port, timeout=120)
    connection.putrequest(method, path, skip_host=True)
    connection.putheader("Host", host or f"{HOST}:{server.server_port}")
    connection.endheaders()
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response, body


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/", "text/html; charset=utf-8"),
        ("/index.json", "application/json"),
        ("/lab/2.8/tiny_digits.report.html?x=1", "text/html; charset=utf-8"),
        ("/lab/2.8/tiny_digits.badge.svg", "image/svg+xml"),
        ("/lab/2.8/tiny_digits/tiny_digits.md", "text/plain; charset=utf-8"),
        ("/mindspore/1.9/net%5Fcifar10.report.html", "text/html; charset=utf-8"),
    ],
)
def test_all_of_the_site_is_there(server, path, kind):
    response, body = ask(server, path)
    assert response.status == 200
    assert response.headers["Content-Type"] == kind
    assert int(response.headers["Content-Length"]) == len(body) > 0
    response, nothing = ask(server, path, "HEAD")
    assert (int(response.headers["Content-Length"]), nothing) == (len(body), b"")


def test_a_package_s_files_are_the_very_bytes(server, folder):
    (checkpoint,) = (folder / "tiny_digits").glob("*.ckpt")
    response, body = ask(server, f"/lab/2.8/tiny_digits/{checkpoint.name}")
    assert body == checkpoint.read_bytes()
    # Were it a page with a script, that would run nowhere near the site's.
    assert response.headers["Content-Security-Policy"].startswith("sandbox; default-src 'none'; ")


@pytest.mark.parametrize(
    "path",
    [
        "/../../../../../etc/passwd",
        "/..%2f..%2f..%2fetc%2fpasswd",
        "/lab/2.8/tiny_digits/../../../../etc/passwd",
        "//etc/passwd",
        "/%2e%2e/%2e%2e/etc/passwd",
        "/lab/2.8/tiny_digits/",
        "/lab",
        "/index.html/",
        "/index.html%00",
        "/%ff",
    ],
)
def test_no_path_leads_out_of_the_site(server, path):
    response, body = ask(server, path)
    assert response.status == 404
    assert b"root:" not in body


def test_only_reading_is_answered(server):
    assert ask(server, "/", "POST")[0].status == 501
    assert ask(server, "/", "PUT")[0].status == 501


@pytest.mark.parametrize("host", ["example.com", "example.com:80", "127.0.0.1.example.com:8000", ""])
def test_another_name_for_this_machine_is_told_nothing(server, host):
    response, body = ask(server, "/", host=host or " ")
    assert response.status == 421
    assert b"tiny_digits" not in body


def test_it_listens_on_loopback_alone(server):
    assert server.socket.getsockname()[0] == "127.0.0.1"


def test_a_change_is_shown_and_told_to_the_pages_that_are_open(tmp_path):
    drawn.card(tmp_path, "a/1/one")
    with serving(tmp_path) as (server, said):
        assert ask(server, "/.changes")[1] == b"0"
        drawn.card(tmp_path, "a/1/one", summary="Quite another summary")
        wait_until(lambda: b"Quite another summary" in ask(server, "/a/1/one.report.html")[1])
        assert int(ask(server, "/.changes")[1]) > 0
        page = ask(server, "/")[1]
        assert b'fetch("/.changes")' in page
        assert b"connect-src &#39;self&#39;" in page
        assert said == []


def test_what_is_wrong_meanwhile_is_told_once_and_the_site_stays(tmp_path):
    card = drawn.card(tmp_path, "a/1/one")
    with serving(tmp_path, Still) as (server, said):
        card.unlink()
        server.watcher.look()
        server.watcher.look()
        (told,) = said
        assert "expected packages or cards, found none; what was there before is shown" in told
        assert ask(server, "/")[0].status == 200
        assert ask(server, "/a/1/one.md")[0].status == 404


def test_what_is_left_out_meanwhile_is_told_once(tmp_path):
    drawn.card(tmp_path, "a/1/one")
    with serving(tmp_path, Still) as (server, said):
        drawn.card(tmp_path, "a/1/index.html/x" + "y" * 250)
        assert [server.watcher.look() for _ in range(3)] == [False] * 3
        (told,) = said
        assert ": left out: " in told


def test_a_port_in_use_is_one_clear_line(folder):
    with socket.socket() as taken:
        taken.bind((HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(
            HubpkgError, match=f"^--port: expected a free port, found that {port} is in use; give anoth"
        ):
            Server(folder, port, print)


def test_the_command_says_where_it_is_and_ends_with_130_when_interrupted(folder):
    with subprocess.Popen(
        [sys.executable, "-m", "hubpkg", "serve", str(folder), "--port", "0"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    ) as process:
        try:
            url = process.stdout.readline()
            port = int(url.rpartition(":")[2].strip().rstrip("/"))
            assert url == f"http://127.0.0.1:{port}/\n"
            connection = http.client.HTTPConnection(HOST, port, timeout=120)
            connection.request("GET", "/")
            assert connection.getresponse().status == 200
            connection.close()
            process.send_signal(signal.SIGINT)
            out, errors = process.communicate(timeout=120)
        finally:
            process.kill()
    assert (process.returncode, out) == (130, "")
    assert errors.count("\n") == 1
