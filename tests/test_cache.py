"""What the cache promises where nothing goes wrong; for the rest see the fault table."""

import hashlib
import json
import os
import tempfile
import threading
import time
from pathlib import Path

import hypothesis
import loopback
import pytest
from hypothesis import strategies

from hubpkg import cache
from hubpkg.errors import CacheWarning, HubpkgError, IntegrityError

DAY = 86_400


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A cache of the test's own."""
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def command(hubpkg, folder):
    """The command ``hubpkg cache`` with that cache."""
    return lambda *arguments: hubpkg("cache", *arguments, env={"HUBPKG_CACHE": str(folder)})


def digest(data):
    return hashlib.sha256(data).hexdigest()


def damage(data):
    path = cache.file_of(digest(data))
    path.chmod(0o644)
    path.write_bytes(b"damaged")
    return path


def test_the_folder_is_the_chosen_one_or_the_environment_s_or_the_user_s(tmp_path, monkeypatch):
    assert cache.get_hub_dir() == os.environ["HUBPKG_CACHE"]
    cache.set_hub_dir(tmp_path / "chosen")
    try:
        assert cache.get_hub_dir() == str(tmp_path / "chosen")
        cache.set_hub_dir("relative")
        assert cache.get_hub_dir() == str(Path.cwd() / "relative")
    finally:
        cache.set_hub_dir()
    assert cache.get_hub_dir() == os.environ["HUBPKG_CACHE"]
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("HUBPKG_CACHE", "~/mine")
    assert cache.get_hub_dir() == str(tmp_path / "mine")
    monkeypatch.delenv("HUBPKG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert Path(cache.get_hub_dir()).name == "hubpkg"
    assert Path(cache.get_hub_dir()).is_relative_to(tmp_path)


@hypothesis.given(strategies.binary())
@hypothesis.settings(suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_what_is_added_is_what_is_read(data):
    sha256 = cache.add(data)
    assert sha256 == digest(data)
    assert cache.read(sha256) == data
    assert cache.find(sha256).read_bytes() == data


def test_nothing_is_read_of_what_is_not_there_or_damaged():
    assert cache.read(digest(b"x")) is None
    assert cache.find(digest(b"x")) is None
    cache.add(b"x")
    path = damage(b"x")
    assert cache.read(digest(b"x")) is None
    assert cache.find(digest(b"x")) is None
    path.unlink()
    path.mkdir()
    assert cache.read(digest(b"x")) is None


def test_a_damaged_entry_is_mended_by_adding_it_again():
    cache.add(b"x")
    path = damage(b"x")
    with pytest.warns(CacheWarning, match=f"{path}: expected sha256 {digest(b'x')}, found {digest(b'damaged')}; set"):
        cache.add(b"x")
    assert cache.read(digest(b"x")) == b"x"


def test_an_entry_can_be_read_by_all_and_written_by_none():
    cache.add(b"x")
    assert cache.file_of(digest(b"x")).stat().st_mode & 0o777 == 0o444


def test_adding_is_whole_or_not_at_all_wherever_it_is_killed(folder):
    killed = 0
    with loopback.Clients() as clients:
        # As another user where root runs the tests, since root may do all that the file's mode forbids.
        folder.mkdir(mode=0o777)
        for place in folder.parents:
            if place == Path(tempfile.gettempdir()):
                break
            place.chmod(place.stat().st_mode | 0o755)
        folder.chmod(0o777)
        user = 65534 if os.getuid() == 0 else None
        while clients.wait(clients.start("add", "x", user=user, killed_before=killed)) == "SIGKILL":
            assert cache.read(digest(b"x")) in (None, b"x")
            killed += 1
            assert clients.wait(clients.start("add", "x", user=user)) == digest(b"x")
            (folder / "file" / digest(b"x")[:2] / digest(b"x")).unlink()
    assert killed > 5
    assert not list((folder / "partial").iterdir())


def test_many_add_the_same_at_once():
    with loopback.Clients() as clients:
        pids = [clients.start("add", text) for text in "xyxyxyxy"]
        assert [clients.wait(pid) for pid in pids] == [digest(text.encode()) for text in "xyxyxyxy"]
    assert cache.read(digest(b"x")) == b"x"
    assert cache.read(digest(b"y")) == b"y"


def test_only_a_regular_file_has_a_digest(tmp_path):
    plain, link, pipe = (tmp_path / name for name in ("plain", "link", "pipe"))
    plain.write_bytes(b"x")
    link.symlink_to(plain)
    os.mkfifo(pipe)
    assert cache.digest_of(plain) == digest(b"x")
    for path in (link, pipe, tmp_path, tmp_path / "none"):
        assert cache.digest_of(path) is None


def test_whoever_shares_the_folder_may_take_a_lock():
    before = os.umask(0o077)
    try:
        with cache.locked(cache.lock_of("x"), pytest.fail):
            assert cache.lock_of("x").stat().st_mode & 0o777 == 0o666
    finally:
        os.umask(before)


def test_a_lock_is_let_go_when_something_is_raised():
    with pytest.raises(ZeroDivisionError), cache.locked(cache.lock_of("x"), pytest.fail):
        raise ZeroDivisionError
    with cache.locked(cache.lock_of("x"), pytest.fail):
        pass


def populate(folder):
    """Something of each kind, used in this order, 10 days apart, the last one now."""
    cache.add(b"xyz")
    paths = [folder / "code" / "commit", folder / "stage" / "train-1", folder / "partial" / digest(b"p")]
    for path in paths[:2]:
        path.mkdir(parents=True)
        (path / "part").write_bytes(b"12345")
    paths[2].write_bytes(b"12")
    paths.append(cache.file_of(digest(b"xyz")))
    for age, path in zip((30, 20, 10, 0), paths, strict=True):
        os.utime(path, (time.time() - age * DAY,) * 2)
    return paths


def test_entries_are_listed_the_longest_unused_first(folder, command):
    paths = populate(folder)
    found = cache.entries()
    assert [(entry.kind, entry.size) for entry in found] == [("code", 5), ("stage", 5), ("partial", 2), ("file", 3)]
    assert [entry.path for entry in found] == paths
    assert [entry.name for entry in found] == ["commit", "train-1", digest(b"p"), digest(b"xyz")]
    done = command("list")
    assert (done.returncode, done.stderr) == (0, "")
    *rows, total = done.stdout.splitlines()
    assert [row.split()[0::3] for row in rows] == [[entry.kind, entry.name] for entry in found]
    assert total == f"4 entries, 15 bytes in {folder}"
    assert json.loads(command("list", "--json").stdout) == [entry.as_json() for entry in found]


def test_to_use_a_file_keeps_it(folder):
    path = populate(folder)[-1]
    os.utime(path, (0, 0))
    assert cache.find(digest(b"xyz")) == path
    assert cache.prune(1)[-1].path != path
    assert path.exists()


@pytest.mark.parametrize(("days", "left"), [("31", 4), ("30", 3), ("15", 2), ("0", 0)])
def test_prune_removes_what_was_not_used_for_so_many_days(days, left, folder, command):
    paths = populate(folder)
    done = command("prune", "--days", days)
    assert (done.returncode, done.stderr) == (0, "")
    assert [path.exists() for path in paths] == [False] * (4 - left) + [True] * left
    assert done.stdout.splitlines()[-1].startswith(f"{4 - left} entries, ")
    assert done.stdout.splitlines()[-1].endswith(f" bytes removed from {folder}")


@pytest.mark.parametrize("days", ["-1", "nan", "many"])
def test_prune_wants_a_number_of_days(days, command):
    done = command("prune", f"--days={days}")
    assert (done.returncode, done.stdout) == (2, "")
    assert f"'{days}'" in done.stderr
    assert done.stderr.count("\n") == 1


def test_prune_leaves_a_link_s_target(folder, tmp_path):
    target = tmp_path / "target"
    target.mkdir()
    (target / "precious").write_bytes(b"x")
    (folder / "damaged").mkdir(parents=True)
    (folder / "damaged" / "link").symlink_to(target)
    assert [entry.kind for entry in cache.prune(30)] == ["damaged"]
    assert list(target.iterdir()) == [target / "precious"]


def test_verify_is_quiet_about_a_sound_cache(command):
    for text in (b"x", b"y"):
        cache.add(text)
    done = command("verify")
    assert (done.returncode, done.stdout, done.stderr) == (0, "2 files, 0 damaged\n", "")


def test_an_empty_cache_can_be_asked_anything(command, folder):
    assert command("dir").stdout == f"{folder}\n"
    assert json.loads(command("dir", "--json").stdout) == {"path": str(folder)}
    assert command("list").stdout == f"0 entries, 0 bytes in {folder}\n"
    assert command("verify").stdout == "0 files, 0 damaged\n"
    assert command("prune").stdout == f"0 entries, 0 bytes removed from {folder}\n"
    assert not folder.exists()


def test_a_copy_is_hashed_as_it_is_made(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"x" * 3_000_000)
    assert cache.copy(source, target) == digest(b"x" * 3_000_000) == digest(target.read_bytes())
    with pytest.raises(FileExistsError):
        cache.copy(source, target)


def test_a_delivery_replaces_a_file_whole(tmp_path):
    source, target = tmp_path / "source", tmp_path / "target"
    source.write_bytes(b"new")
    target.write_bytes(b"old")
    assert cache.deliver(source, target) == target
    assert target.read_bytes() == b"new"
    with pytest.raises(FileNotFoundError):
        cache.deliver(tmp_path / "none", target)
    assert target.read_bytes() == b"new"
    assert sorted(tmp_path.iterdir()) == [source, target]


def test_a_cache_that_can_t_be_written_is_told_to_whoever_adds(folder):
    folder.write_bytes(b"")
    with pytest.raises(HubpkgError, match="HUBPKG_CACHE"):
        cache.add(b"x")


def test_a_delivery_that_is_not_the_promised_file_does_not_happen(tmp_path):
    (tmp_path / "source").write_bytes(b"altered")
    (tmp_path / "target").write_bytes(b"before")
    with pytest.raises(IntegrityError, match=r"source: expected sha256 0{64}, found "):
        cache.deliver(tmp_path / "source", tmp_path / "target", "0" * 64)
    assert {file.name: file.read_bytes() for file in tmp_path.glob("*e*t*")} == {"target": b"before"}


def test_a_stray_file_is_no_damaged_entry():
    kept = cache.add(b"text")
    stray = cache.file_of(kept).with_name(".DS_Store")
    stray.write_bytes(b"stray")
    assert cache.verify() == (1, [])
    assert stray.exists()


def test_two_deliveries_to_one_place_leave_a_whole_file(tmp_path):
    sources = [tmp_path / "a", tmp_path / "b"]
    for source in sources:
        source.write_bytes(source.name.encode() * 20_000_000)
    threads = [threading.Thread(target=cache.deliver, args=(source, tmp_path / "target")) for source in sources]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (tmp_path / "target").read_bytes() in [source.read_bytes() for source in sources]
    assert len(list(tmp_path.iterdir())) == 3


def test_to_read_a_document_keeps_it(folder):
    sha256 = cache.add(b"card")
    os.utime(cache.file_of(sha256), (0, 0))
    assert cache.read(sha256) == b"card"
    assert cache.prune(1) == []
    assert folder.exists()
