"""Where a request may go, how patient it is, and documents that are read."""

from dataclasses import replace

import loopback
import pytest
from faults_fetch import POLICY
from loopback import Server, cut, error, whole

from hubpkg import connection, transport
from hubpkg.errors import FetchError

MB = 1 << 20


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "127.9.9.9", "[::1]"])
def test_http_is_allowed_to_this_machine(host):
    transport.check_scheme(f"http://{host}:80/x", POLICY)


@pytest.mark.parametrize("host", ["localhost.example", "127.0.0.1.example", "10.0.0.1", "0.0.0.0"])  # noqa: S104
def test_http_is_allowed_to_no_other_machine(host):
    with pytest.raises(FetchError, match="--allow-http"):
        transport.check_scheme(f"http://{host}/x", POLICY)


@pytest.mark.parametrize(
    ("address", "public"),
    [
        ("93.184.216.34", True),
        ("2606:2800:220:1::1", True),
        ("::ffff:93.184.216.34", True),
        ("127.0.0.1", False),
        ("10.1.2.3", False),
        ("172.16.0.1", False),
        ("192.168.1.1", False),
        ("169.254.169.254", False),
        ("100.64.0.1", False),
        ("0.0.0.0", False),  # noqa: S104
        ("::1", False),
        ("::ffff:10.1.2.3", False),
        ("fe80::1%eth0", False),
        ("fd00::1", False),
    ],
)
def test_which_addresses_are_public(address, public):
    assert connection.is_public(address) is public


def test_the_policy_of_the_environment(monkeypatch):
    assert transport.Policy.from_environment() == transport.Policy()
    given = {"TRIES": "2", "STALL_SECONDS": "1.5", "ALLOW_HTTP": "1", "OFFLINE": "0"}
    for name, value in given.items():
        monkeypatch.setenv(f"HUBPKG_{name}", value)
    assert transport.Policy.from_environment() == transport.Policy(
        tries=2, stall_seconds=1.5, allow_http=True, offline=False
    )


def test_a_document_is_read(monkeypatch):
    with Server(whole(b"text"), error("404 Not Found"), error("410 Gone"), error("403 Forbidden")) as server:
        assert transport.read(server.url(), POLICY) == b"text"
        assert transport.read(server.url(), POLICY) is None
        assert transport.read(server.url(), POLICY) is None
        with pytest.raises(FetchError, match="status 403"):
            transport.read(server.url(), POLICY)
    with loopback.no_socket(monkeypatch), pytest.raises(FetchError, match="offline"):
        transport.read(server.url(), replace(POLICY, offline=True))


def test_a_document_is_read_again_where_it_broke_off():
    with Server(cut(b"text", 2), error("503 Service Unavailable"), whole(b"text")) as server:
        assert transport.read(server.url(), POLICY) == b"text"


def test_a_document_that_is_too_large_is_none():
    def endless(exchange):
        exchange.head("200 OK")
        while exchange.sent < 50 * MB:
            exchange.send(bytes(MB))

    with Server(endless) as server, pytest.raises(FetchError, match="expected a document of at most"):
        transport.read(server.url(), POLICY)


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("TRIES", "two", "HUBPKG_TRIES: expected a number, found 'two'"),
        ("TRIES", "0", "tries: expected at least 1, found 0"),
        ("STALL_SECONDS", "1 s", "HUBPKG_STALL_SECONDS: expected a number, found '1 s'"),
        ("STALL_SECONDS", "nan", "stall seconds: expected more than 0, found nan"),
        ("STALL_SECONDS", "-1", "stall seconds: expected more than 0, found -1.0"),
        ("ALLOW_HTTP", "maybe", "HUBPKG_ALLOW_HTTP: expected 1 or 0, found 'maybe'"),
    ],
)
def test_a_bad_value_in_the_environment_is_told(name, value, expected, hubpkg, tmp_path):
    env = {f"HUBPKG_{name}": value, "HUBPKG_CACHE": str(tmp_path)}
    done = hubpkg("fetch", "https://x.invalid/y", "--sha256", "0" * 64, env=env)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"hubpkg: error: {expected}\n")


@pytest.mark.parametrize(("value", "allowed"), [("no", False), ("0", False), ("True", True), ("yes", True)])
def test_a_switch_of_the_environment_may_be_spelled_out(value, allowed, monkeypatch):
    monkeypatch.setenv("HUBPKG_ALLOW_HTTP", value)
    assert transport.Policy.from_environment().allow_http is allowed


def test_a_url_is_known_without_its_password():
    known, again = (transport.without_secrets(f"https://me:{word}@host:80/a?token=1") for word in ("hidden", "other"))
    assert known == again
    assert known.startswith("https://host:80/a?")
    assert "token" not in known
    assert transport.without_secrets("https://host/a?b=1") != transport.without_secrets("https://host/a?b=2")
