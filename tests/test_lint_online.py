"""Links that are requested, on servers of this machine, and digests computed from files."""

import hashlib
import json
import re
import threading
import time

import pytest
from linting import check, fixed, good_card, line_of
from loopback import Server

from hubpkg.lint import online


def answer(status, **headers):
    def send(exchange):
        exchange.head(status, Content_Length=0, **headers)

    return send


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """A cache folder of the test's own."""
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def ask(*urls):
    return online.check_links(urls, public_only=False)


def methods(server):
    return [exchange.method for exchange in server.exchanges]


def test_a_link_that_answers_is_asked_once_a_day_with_head(cache):
    with Server(answer("200 OK")) as server:
        url = server.url("/a")
        assert ask(url, url) == {}
        assert ask(url) == {}
        assert methods(server) == ["HEAD"]
        times = json.loads((cache / "links.json").read_text(encoding="utf-8"))
        (cache / "links.json").write_text(json.dumps({url: times[url] - 90_000}), encoding="utf-8")
        assert ask(url) == {}
        assert methods(server) == ["HEAD", "HEAD"]


def test_a_server_that_knows_no_head_is_asked_with_get():
    with Server(answer("405 Method Not Allowed"), answer("200 OK")) as server:
        assert ask(server.url("/a")) == {}
        assert methods(server) == ["HEAD", "GET"]


@pytest.mark.parametrize("status", ["404 Not Found", "410 Gone"])
def test_a_link_that_leads_nowhere_is_told_and_asked_again_next_time(status):
    with Server(answer(status)) as server:
        url = server.url("/a")
        assert ask(url) == {url: f"status {status[:3]}"}
        assert ask(url) == {url: f"status {status[:3]}"}
        assert methods(server) == ["HEAD", "GET"] * 2


@pytest.mark.parametrize("status", ["401 Unauthorized", "403 Forbidden", "429 Too Many Requests"])
def test_a_server_that_wants_a_login_or_less_is_believed(status):
    with Server(answer(status)) as server:
        assert ask(server.url("/a")) == {}


def test_a_server_that_fails_is_tried_again_and_told():
    with Server(answer("500 Internal Server Error")) as server:
        [fault] = ask(server.url("/a")).values()
        assert "500" in fault
        assert methods(server) == ["HEAD", "GET"] * 2
    with Server(answer("503 Busy"), answer("503 Busy"), answer("200 OK")) as server:
        assert ask(server.url("/a")) == {}


def test_a_host_that_does_not_answer_is_told():
    with Server(answer("200 OK")) as server:
        url = server.url("/a")
    [fault] = ask(url).values()
    assert "refused" in fault


def test_redirects_are_followed():
    with Server(answer("302 Found", Location="/b"), answer("404 Not Found"), answer("404 Not Found")) as server:
        url = server.url("/a")
        assert ask(url) == {url: "status 404"}
        assert [exchange.path for exchange in server.exchanges] == ["/a", "/b", "/a"]


def test_one_host_is_asked_one_at_a_time_and_several_at_once():
    busy = {"now": 0, "most": 0}

    def slow(exchange):
        busy["now"] += 1
        busy["most"] = max(busy["most"], busy["now"])
        time.sleep(0.1)
        busy["now"] -= 1
        exchange.head("200 OK", Content_Length=0)

    with Server(slow) as server:
        assert ask(*(server.url(f"/{index}") for index in range(4))) == {}
        assert busy["most"] == 1
    both = threading.Barrier(2)

    def slow_together(exchange):
        both.wait(60)  # until the other host is asked too
        exchange.head("200 OK", Content_Length=0)

    with Server(slow_together) as first, Server(slow_together) as second:
        assert ask(*(server.url(f"/{index}") for index in range(2) for server in (first, second))) == {}
        assert [len(server.exchanges) for server in (first, second)] == [2, 2]


def test_links_to_private_addresses_are_told_and_not_asked():
    with Server(answer("200 OK")) as server:
        text = good_card(0)[1].replace("https://arxiv.org/abs/2106.09681", server.url("/a"))
        text = re.sub(r"https://(?!127)[^\s<>)]*", "https://example.com/a/b/tree/v1/c", text)
        found = check(text, select=["dead-link"], online=True)
        assert found == [
            (
                "dead-link",
                line_of(text, server.url("/a")),
                text.splitlines()[line_of(text, server.url("/a")) - 1].index("http") + 1,
            )
        ]
        assert server.connections == 0
        assert check(text, select=["dead-link"]) == []


def test_a_memory_that_is_damaged_is_forgotten(cache):
    cache.mkdir()
    (cache / "links.json").write_text("[1", encoding="utf-8")
    with Server(answer("200 OK")) as server:
        assert ask(server.url("/a")) == {}


def with_file(folder, data, digest):
    """A good card whose asset lies in ``folder``, with that digest in the card."""
    name, text = good_card(5)
    file = re.search(r"asset-link: <.*/(.*)>", text)[1]
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / file).write_bytes(data)
    return name, re.sub(r"asset-sha256: .*", f"asset-sha256: {digest}", text)


def test_a_digest_cut_short_is_completed_from_the_file(tmp_path):
    whole = hashlib.sha256(b"weights").hexdigest()
    name, text = with_file(tmp_path / "files", b"weights", whole[:8])
    rule = ["asset-digest-mismatch"]
    assert [line for _, line, _ in check(text, name, rule, assets=tmp_path / "files")] == [
        line_of(text, "asset-sha256")
    ]
    mended = fixed(text, rule, name, assets=tmp_path / "files")
    assert mended == text.replace(f"asset-sha256: {whole[:8]}\n", f"asset-sha256: {whole}\n")
    assert check(mended, name, rule, assets=tmp_path / "files") == []
    assert check(text, name, rule) == []


@pytest.mark.parametrize("digest", ["0" * 64, "bd90776e", "abc", ""])
def test_a_digest_of_another_file_is_told_and_left(tmp_path, digest):
    name, text = with_file(tmp_path / "files", b"weights", digest)
    assert check(text, name, ["asset-digest-mismatch"], assets=tmp_path / "files")
    assert fixed(text, ["asset-digest-mismatch"], name, assets=tmp_path / "files") == text


def test_a_file_that_is_not_there_is_told(tmp_path):
    name, text = good_card(5)
    assert len(check(text, name, ["asset-digest-mismatch"], assets=tmp_path)) == 1
