"""The lock file of the cache."""

import json
import os

import loopback
import pytest

from hubpkg import cache, documents, lockfile
from hubpkg.errors import HubpkgError, InvalidDocumentError

SHA256 = "0123456789abcdef" * 4
PINS = {
    "assets": ("https://model.example/a.ckpt 01234567", SHA256),
    "code": ("https://model.example/repository", {"commit": "0" * 40, "files": {"mindspore_hub_conf.py": SHA256}}),
    "documents": ("https://model.example/card.md", None),
}


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_it_is_in_the_cache_and_at_first_it_is_not_there(folder):
    assert lockfile.path() == folder / "hubpkg.lock"
    assert [lockfile.read(section) for section in PINS] == [{}, {}, {}]
    assert not folder.exists()


def test_what_is_pinned_is_read_and_nothing_else_changes():
    for section, (key, value) in PINS.items():
        lockfile.pin(section, key, value)
    lockfile.pin("assets", "another", SHA256)
    assert lockfile.read("assets") == {PINS["assets"][0]: SHA256, "another": SHA256}
    assert lockfile.read("code") == dict([PINS["code"]])
    assert lockfile.read("documents") == dict([PINS["documents"]])
    lockfile.pin("assets", "another", SHA256[::-1])
    assert lockfile.read("assets")["another"] == SHA256[::-1]


def test_it_is_a_document_of_its_schema_that_people_can_read_and_compare():
    for section, (key, value) in reversed(PINS.items()):
        lockfile.pin(section, key, value)
    text = lockfile.path().read_text(encoding="utf-8")
    contents = json.loads(text)
    assert not list(documents.faults_of(contents, "lock"))
    assert text == json.dumps(contents, indent=1, sort_keys=True) + "\n"


def test_two_folders_have_two_lock_files(tmp_path, monkeypatch):
    lockfile.pin("assets", "a", SHA256)
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path / "other"))
    assert lockfile.read("assets") == {}


def test_no_pin_is_lost_where_many_pin_at_once():
    keys = [str(number) for number in range(16)]
    with loopback.Clients() as clients:
        pids = [clients.start("pin", "assets", key, SHA256) for key in keys]
        assert {clients.wait(pid) for pid in pids} == {"None"}
    assert lockfile.read("assets") == dict.fromkeys(keys, SHA256)


def test_it_is_whole_wherever_a_pin_is_killed(folder):
    lockfile.pin("assets", "first", SHA256)
    killed = 0
    with loopback.Clients() as clients:
        while clients.wait(clients.start("pin", "assets", f"{killed}", SHA256, killed_before=killed)) == "SIGKILL":
            assert lockfile.read("assets")["first"] == SHA256
            lockfile.pin("assets", f"retry {killed}", SHA256)
            killed += 1
    assert killed > 3
    assert {f"retry {number}" for number in range(killed)} < set(lockfile.read("assets"))
    assert sorted(path.name for path in folder.iterdir()) == ["hubpkg.lock", "locks"]


def test_it_is_replaced_and_never_written_to():
    lockfile.pin("assets", "first", SHA256)
    with lockfile.path().open(encoding="utf-8") as before:
        lockfile.pin("assets", "second", SHA256)
        assert list(json.load(before)["assets"]) == ["first"]


@pytest.mark.parametrize("text", ["", "{", "null}", "[" * 100_000, "\ud800"])
def test_what_is_no_json_is_told_and_kept(text, folder):
    folder.mkdir()
    lockfile.path().write_bytes(text.encode("utf-8", "surrogatepass"))
    for call in (lambda: lockfile.read("assets"), lambda: lockfile.pin("assets", "a", SHA256)):
        with pytest.raises(HubpkgError, match=r"hubpkg\.lock: expected JSON, found: .*; mend it or delete it"):
            call()
    assert lockfile.path().read_bytes() == text.encode("utf-8", "surrogatepass")


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"format": 2}, "format"),
        ({"assets": {"a": "short"}}, "assets.a"),
        ({"assets": []}, "assets"),
        ({"code": {"a": {"files": {}}}}, "code.a.commit"),
        ({"code": {"a": {"commit": "main", "files": {}}}}, "code.a.commit"),
        ({"code": {"a": {"commit": None, "files": {"b": SHA256.upper()}}}}, "code.a.files.b"),
        ({"documents": {"a": ""}}, "documents.a"),
        ({"more": {}}, "more"),
    ],
)
def test_what_is_no_lock_file_is_told_with_its_place(change, place, folder):
    folder.mkdir()
    contents = {"format": 1, "assets": {}, "code": {}, "documents": {}, **change}
    lockfile.path().write_text(json.dumps(contents), encoding="utf-8")
    with pytest.raises(InvalidDocumentError) as caught:
        lockfile.read("documents")
    (line,) = str(caught.value).splitlines()
    assert line.startswith(f"{lockfile.path()}: {place}: ")
    assert line.endswith("; mend it or delete it")


def test_a_cache_that_can_t_be_written_is_told(folder):
    folder.write_bytes(b"")
    with pytest.raises(HubpkgError, match="HUBPKG_CACHE"):
        lockfile.pin("assets", "a", SHA256)


def test_a_waiting_pin_goes_on_when_the_lock_is_let_go():
    with loopback.Clients() as clients:
        with cache.locked(cache.lock_of(lockfile.NAME), pytest.fail):
            pid = clients.start("pin", "assets", "a", SHA256)
        assert clients.wait(pid) == "None"
    assert lockfile.read("assets") == {"a": SHA256}


def test_in_a_cache_of_another_user_it_is_the_users_own(folder, monkeypatch):
    folder.mkdir()
    monkeypatch.setattr(os, "getuid", lambda: folder.stat().st_uid + 1)
    assert lockfile.path() == folder / f"hubpkg-{folder.stat().st_uid + 1}.lock"


def test_another_users_lock_file_is_not_believed(folder, monkeypatch):
    lockfile.pin("assets", "known", SHA256)
    owner = folder.stat().st_uid
    monkeypatch.setattr(lockfile, "path", lambda: folder / lockfile.NAME)
    monkeypatch.setattr(os, "getuid", lambda: owner + 1)
    with pytest.raises(HubpkgError, match=rf"expected your own file, found one of user {owner}; read it, and delete"):
        lockfile.read("assets")
