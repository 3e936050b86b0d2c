"""Rows of the fault table: code from git, and what is loaded."""

import io
import os
import pickle
import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from faults import fault
from handmade import CONF, ENTRY, WEIGHTS, Card, git, refused, save_checkpoint, served

import hubpkg
from hubpkg import cache, lockfile, repository
from hubpkg.errors import CacheWarning, CheckpointError, FetchError, HubpkgError, IntegrityError, NotPinnedError
from hubpkg.runtime import framework

GIT, LOADING = "Code from git", "Loading"


def stored(sha256):
    """The cache's file with that digest, made writable."""
    path = cache.file_of(sha256)
    path.chmod(0o644)
    return path


def kept_conf():
    """The entrypoint in the folder that the cache keeps for reading."""
    (path,) = cache.folder().glob(f"code/*/{ENTRY}/{CONF}")
    return path


# What a repo-link leads to.


@fault(GIT, "the branch in repo-link does not exist", "an error names it; the next try, with the branch made, works")
def unknown_branch(folder, _):
    card = Card(folder)
    card.link = f"{card.repository}/tree/none/{ENTRY}"
    card.write()
    told = card.refused(FetchError, "expected the branch or tag none, found")
    git(card.repository, "branch", "none")
    card.works()
    return f"{told}; then loaded"


@fault(GIT, "the repository in repo-link does not exist", "an error says so; the next try, with the repository, works")
def unknown_repository(folder, _):
    card = Card(folder)
    away = card.repository.rename(folder / "away")
    told = card.refused(FetchError, "expected the branch or tag main, found")
    away.rename(card.repository)
    card.works()
    return f"{told}; then loaded"


@fault(GIT, "the folder in repo-link does not exist", "an error says so; the next try, with the folder, works")
def unknown_folder(folder, _):
    card = Card(folder)
    card.link = f"{card.repository}/tree/main/other"
    card.write()
    told = card.refused(HubpkgError, "expected a folder of at most 1000 files at .*")
    shutil.copytree(card.code, card.repository / "other")
    card.commit()
    card.works()
    return f"{re.sub('at [0-9a-f]+', 'at its commit', told)}; then loaded"


@fault(
    GIT,
    "the folder has no mindspore_hub_conf.py, and sys.path and sys.modules have another one",
    "an error says so; the other one is not run",
)
def no_entrypoint(folder, monkeypatch):
    card = Card(folder)
    (card.code / CONF).rename(card.code / "conf.py")
    card.commit()
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / CONF).write_text(card.source("elsewhere"), encoding="utf-8")
    monkeypatch.syspath_prepend(folder / "elsewhere")
    told = card.refused(HubpkgError, f"expected {CONF} among its files, found none")
    monkeypatch.setitem(sys.modules, Path(CONF).stem, pytest)
    card.refused(HubpkgError, f"expected {CONF} among")
    (card.code / "conf.py").rename(card.code / CONF)
    card.commit()
    card.works()
    return f"{told}; then loaded"


@fault(GIT, "a tag names a folder's tree and not a commit", "an error says so")
def tag_of_a_tree(folder, _):
    card = Card(folder)
    git(card.repository, "tag", "v1", git(card.repository, "rev-parse", "HEAD^{tree}"))
    card.link = f"{card.repository}/tree/v1/{ENTRY}"
    card.write()
    told = card.refused(FetchError, "expected the branch or tag v1, found")
    git(card.repository, "tag", "--force", "v1", "HEAD")
    card.works()
    return f"{told}; then loaded"


# What is pinned.


@fault(GIT, "code that nothing pins", "refused, naming what would run and from where; nothing runs")
def not_pinned(folder, _):
    card = Card(folder)
    commit = git(card.repository, "rev-parse", "HEAD")
    told = refused(card.load, NotPinnedError, rf"would run {CONF} .* 1 file at commit {commit}; expected .* found none")
    with pytest.raises(NotPinnedError, match=f"^{re.escape(card.link)}: .* read {re.escape(str(kept_conf().parent))}"):
        card.load()
    assert kept_conf().read_text(encoding="utf-8") == card.source("first")
    assert not card.runs()
    card.works()
    return f"{told.replace(commit, 'C')}; nothing ran; with trust_repo=True loaded"


@fault(GIT, "trust_repo=True once, and then the same load without it", "the second load works, from what was pinned")
def trusted_once(folder, _):
    card = Card(folder)
    card.works()
    card.load()
    assert card.runs() == ["first run", "first asked for net"]
    assert list(lockfile.read("code")) == [card.link]
    return "both loaded; the lock file has the link"


def forced_push(folder, _, ref):
    card = Card(folder)
    if ref == "tag":
        git(card.repository, "tag", "v1")
        card.link = f"{card.repository}/tree/v1/{ENTRY}"
        card.write()
    card.works()
    card.change("other", "--amend")
    if ref == "tag":
        git(card.repository, "tag", "--force", "v1")
    told = refused(partial(card.load, force_reload=True), NotPinnedError, "expected the ones that .* found others")
    assert not card.runs()
    card.load()
    assert card.runs() == ["first run", "first asked for net"]
    card.works("other", force_reload=True)
    card.load()
    assert card.runs() == ["other run", "other asked for net"]
    told = told.replace(str(lockfile.path()), "the lock file")
    return f"{told}; what was pinned still loaded; with trust_repo=True the other loaded, and from then on"


for _ref in ("branch", "tag"):
    fault(
        GIT,
        f"the {_ref} is force-pushed after its code was pinned",
        "with force_reload=True refused; what was pinned still loads; trust_repo=True accepts it",
    )(partial(forced_push, ref=_ref))


@fault(GIT, "the branch moves on, and then the repository is gone", "the pinned commit's code loads, from the cache")
def moved_on(folder, monkeypatch):
    card = Card(folder)
    card.works()
    card.change("second")
    card.load()
    assert card.runs() == ["first run", "first asked for net"]
    shutil.rmtree(card.repository)
    monkeypatch.setenv("HUBPKG_OFFLINE", "1")
    card.load()
    assert card.runs() == ["first run", "first asked for net"]
    return "the first code loaded, twice"


@fault(
    GIT,
    "the cache's code is removed after the branch was force-pushed and the pinned commit is gone",
    "refused; with the commit back it loads",
)
def commit_gone(folder, _):
    card = Card(folder)
    card.works()
    card.change("other", "--amend")
    keep = folder / "keep"
    shutil.copytree(card.repository, keep)
    git(card.repository, "reflog", "expire", "--expire=now", "--all")
    git(card.repository, "gc", "--quiet", "--prune=now")
    shutil.rmtree(cache.folder() / "file")
    shutil.rmtree(cache.folder() / "code")
    told = refused(card.load, NotPinnedError, "expected the ones that .* found others")
    assert not card.runs()
    shutil.rmtree(card.repository)
    keep.rename(card.repository)
    card.load()
    assert card.runs() == ["first run", "first asked for net"]
    return f"{told.replace(str(lockfile.path()), 'the lock file')}; nothing ran; then loaded"


@fault(GIT, "the cached file of code is altered on disk", "never run; brought again, with a warning")
def cached_code_altered(folder, _):
    card = Card(folder)
    card.works()
    (sha256,) = lockfile.read("code")[card.link]["files"].values()
    stored(sha256).write_text(card.source("wrong"), encoding="utf-8")
    with pytest.warns(CacheWarning) as warned:
        card.load()
    assert card.runs() == ["first run", "first asked for net"]
    assert cache.find(sha256)
    card.load()
    return f"{len(warned)} warning, and the right code loaded"


@fault(
    GIT,
    "the cached file of code is altered on disk, and the repository is gone",
    "refused; with the repository back it loads",
)
def cached_code_altered_and_gone(folder, _):
    card = Card(folder)
    card.works()
    (sha256,) = lockfile.read("code")[card.link]["files"].values()
    stored(sha256).write_text(card.source("wrong"), encoding="utf-8")
    card.runs()
    away = card.repository.rename(folder / "away")
    told = refused(card.load, FetchError, "expected the branch or tag main, found")
    assert not card.runs()
    away.rename(card.repository)
    with pytest.warns(CacheWarning):
        card.load()
    assert card.runs() == ["first run", "first asked for net"]
    return f"{told}; nothing ran; then loaded"


def kept_folder_altered(folder, _, how):
    card = Card(folder)
    card.works()
    conf = kept_conf()
    home, other = conf.parents[1], folder / "other"
    if how == "link":
        home.rename(other)
        home.symlink_to(other)
        conf = other / ENTRY / CONF
    conf.write_text(card.source("wrong"), encoding="utf-8")
    (conf.parent / "mindspore.py").write_text(card.source("wrong"), encoding="utf-8")
    card.load()
    assert card.runs() == ["first run", "first asked for net"]
    assert not home.is_symlink()
    assert {path.name: path.read_text(encoding="utf-8") for path in (home / ENTRY).iterdir()} == {
        CONF: card.source("first")
    }
    card.load()
    return "the right code loaded, and the folder as it was"


for _how, _injected in {
    "file": "the folder that the cache keeps for reading is altered, with a file more",
    "link": "the folder that the cache keeps for reading is replaced by a link to an altered one",
}.items():
    fault(GIT, _injected, "what is in it is never run; it is made again")(partial(kept_folder_altered, how=_how))


@fault(
    GIT, "an entry folder beside the card is altered after it was trusted", "refused; as it was, or trusted, it loads"
)
def local_code_altered(folder, _):
    card = Card(folder)
    beside = Path(shutil.copytree(card.code, card.path.with_name(ENTRY)))
    refused(card.load, NotPinnedError, "found none")
    card.works()
    card.load()
    card.runs()
    (beside / CONF).write_text(card.source("other"), encoding="utf-8")
    told = refused(card.load, NotPinnedError, "expected the ones that .* found others")
    assert not card.runs()
    (beside / CONF).write_text(card.source("first"), encoding="utf-8")
    card.load()
    assert card.runs() == ["first run", "first asked for net"]
    (beside / CONF).write_text(card.source("other"), encoding="utf-8")
    card.works("other")
    return f"{told.replace(str(lockfile.path()), 'the lock file')}; nothing ran; then loaded"


# What the folder holds.


@fault(GIT, "a symbolic link in the entry folder", "refused; without it the code loads")
def link_in_folder(folder, _):
    card = Card(folder)
    (card.code / "data").symlink_to("/etc/hostname")
    card.commit()
    told = card.refused(HubpkgError, "data: expected a file, found a symbolic link")
    (card.code / "data").unlink()
    card.commit()
    card.works()
    return f"{told}; then loaded"


@fault(GIT, "the entry folder itself is a symbolic link", "refused; with a folder in its place the code loads")
def link_to_folder(folder, _):
    card = Card(folder)
    card.code.rename(card.repository / "other")
    card.code.symlink_to("other")
    card.commit()
    told = card.refused(HubpkgError, "expected a folder of at most 1000 files at .*")
    card.code.unlink()
    (card.repository / "other").rename(card.code)
    card.commit()
    card.works()
    return f"{re.sub('at [0-9a-f]+', 'at its commit', told)}; then loaded"


def submodule(folder, _, place):
    card = Card(folder)
    other = folder / "other"
    other.mkdir()
    (other / CONF).write_text(card.source("submodule"), encoding="utf-8")
    git(other, "init", "--quiet")
    git(other, "add", "--all")
    git(other, "commit", "--quiet", "--message=code")
    git(card.repository, "submodule", "--quiet", "add", f"file://{other}", place)
    card.commit()
    before = snapshot(other / ".git")
    card.link = f"{card.repository}/tree/main/{place}" if place == "module" else card.link
    card.write()
    told = card.refused(HubpkgError, "module: expected a file, found a submodule")
    assert snapshot(other / ".git") == before
    git(card.repository, "rm", "--quiet", "--force", place)
    card.link = f"{card.repository}/tree/main/{ENTRY}"
    card.write()
    card.commit()
    card.works()
    return f"{told}; then loaded"


def snapshot(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


fault(GIT, "a submodule in the entry folder", "refused, and never fetched")(partial(submodule, place=f"{ENTRY}/module"))
fault(GIT, "the entry folder itself is a submodule", "refused, and never fetched")(partial(submodule, place="module"))


def crafted(folder, _, names, kind, pattern):
    """Trees that git's own commands would not make: a way of names, the last one a file's."""
    card = Card(folder)
    outside = names_in(folder)
    item = ("100644", git(card.repository, "hash-object", "-w", f"{ENTRY}/{CONF}"))
    conf = item
    for depth, name in enumerate(reversed(names)):
        entries = [(item, name)] + ([(conf, CONF)] if depth == len(names) - 1 else [])
        item = ("40000", tree(card, entries))
    top = tree(card, [(item, ENTRY.encode())])
    commit = git(card.repository, "commit-tree", "-m", "code", top)
    good = git(card.repository, "rev-parse", "HEAD")
    git(card.repository, "update-ref", "refs/heads/main", commit)
    told = card.refused(kind, pattern)
    assert not [path for path in cache.folder().rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert names_in(folder) <= outside | {"cache"}
    git(card.repository, "update-ref", "refs/heads/main", good)
    card.works()
    return f"{told}; then loaded"


def tree(card, entries):
    lines = sorted((name if isinstance(name, bytes) else name.encode(), mode, sha1) for (mode, sha1), name in entries)
    raw = b"".join(mode.encode() + b" " + name + b"\0" + bytes.fromhex(sha1) for name, mode, sha1 in lines)
    return git(card.repository, "hash-object", "-t", "tree", "--literally", "-w", "--stdin", given=raw)


def names_in(folder):
    return {path.name for path in folder.iterdir()}


for _injected, _names, _kind, _pattern in [
    ("a tree of git with an entry called '..'", [b"..", b"x.py"], FetchError, "hasDotdot"),
    ("a tree of git with an entry called '.git'", [b".git", b"config"], FetchError, "hasDotgit"),
    ("a tree of git with an entry called '../../x.py'", [b"../../x.py"], FetchError, "fullPathname"),
    ("a file's name in git with a backslash", [b"..\\x.py"], HubpkgError, "expected a file's path inside its folder"),
    ("a file's name in git with a control character", [b"x\x1b[2J.py"], HubpkgError, "expected a file's path inside"),
    ("a file's name in git that is not UTF-8", [b"x\xff.py"], HubpkgError, "expected a file's path inside its folder"),
    (
        "a file's name in git of 5,000 bytes",
        [b"x" * 4997 + b".py"],
        HubpkgError,
        r"expected a file's path inside its folder, found 'x{40}\.\.\. of 5000 characters'",
    ),
    (
        "a file in git called con.py",
        [b"con.py"],
        HubpkgError,
        "expected a file's path inside its folder, found 'con.py'",
    ),
    ("a folder in git called AUX", [b"AUX", b"x.py"], HubpkgError, "expected a file's path inside its folder.*"),
]:
    fault(GIT, _injected, "refused; nothing is written outside; with a good commit it loads")(
        partial(crafted, names=_names, kind=_kind, pattern=_pattern)
    )


def too_much(folder, monkeypatch, limit, most, pattern):
    card = Card(folder)
    for number in range(3):
        (card.code / f"part_{number}.py").write_bytes(b"#" * 2000)
    card.commit()
    with monkeypatch.context() as patch:
        patch.setattr(repository, limit, most)
        told = card.refused(HubpkgError, pattern)
    card.works()
    return f"{re.sub('at [0-9a-f]{12}', 'at its commit', told)}; with a larger limit loaded"


fault(GIT, "more files of code than the limit, here 3", "refused; within the limit it loads")(
    partial(too_much, limit="_MOST_FILES", most=3, pattern="expected a folder of at most 3 files at .*, found 4 files")
)
fault(GIT, "more bytes of code than the limit, here 4,000", "refused; within the limit it loads")(
    partial(too_much, limit="_MOST_BYTES", most=4000, pattern="expected at most 4000 bytes of code, found more")
)


@fault(
    GIT,
    "hooks in the repository and in the user's settings, and a filter that .gitattributes asks for",
    "none of them runs, and the code is as it is stored",
)
def hooks_and_filters(folder, monkeypatch):
    card = Card(folder)
    (card.repository / ".gitattributes").write_text("* filter=trap text eol=crlf ident\n", encoding="utf-8")
    card.commit()
    ran, home = folder / "trap", folder / "home"
    trap = f"#!/bin/sh\necho $0 >> {ran}\ncat\n"
    for place in (card.repository / ".git" / "hooks", home / "hooks", home / "template" / "hooks"):
        place.mkdir(parents=True, exist_ok=True)
        for name in ("post-checkout", "post-merge", "reference-transaction", "pre-auto-gc", "post-index-change"):
            (place / name).write_text(trap, encoding="utf-8")
            (place / name).chmod(0o755)
    settings = (
        f"[core]\nhooksPath = {home}/hooks\nautocrlf = true\n[init]\ntemplateDir = {home}/template\n"
        f'[filter "trap"]\nsmudge = echo smudge >> {ran}; cat\nclean = cat\nrequired = true\n'
    )
    (home / ".gitconfig").write_text(settings, encoding="utf-8")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    card.works()
    assert not ran.exists()
    assert kept_conf().read_bytes() == card.source("first").encode()
    checkout = {"HOME": str(home), "PATH": os.environ["PATH"]}
    command = ["git", "clone", "--quiet", f"file://{card.repository}", str(folder / "clone")]
    subprocess.run(command, env=checkout, check=True, capture_output=True)
    kinds = {Path(line).name for line in ran.read_text().splitlines()}
    assert {"smudge", "post-checkout", "reference-transaction"} <= kinds  # else the traps would show nothing
    return "loaded; none ran, where git clone runs the filter and the hooks"


# Names that want to lead elsewhere.


def bad_link(folder, _, link, pattern, kind=HubpkgError):
    card = Card(folder)
    good, card.link = card.link, link.format(repository=card.repository)
    card.write()
    told = card.refused(kind, pattern)
    card.link = good
    card.write()
    card.works()
    return f"{told}; then loaded"


for _injected, _link, _pattern in [
    (
        "repo-link's folder is ../../x",
        "{repository}/tree/main/../../x",
        r"repo-link: expected a file's path inside its folder, found '\.\./\.\./x'",
    ),
    (
        "repo-link's folder is absolute",
        "{repository}/tree/main//etc",
        "repo-link: expected a file's path inside its folder, found '/etc'",
    ),
    (
        "repo-link ends in '/..'",
        "{repository}/tree/main/net/..",
        r"repo-link: expected a file's path inside its folder, found '\.\.'",
    ),
    (
        "repo-link's folder looks like an option",
        "{repository}/tree/main/--help",
        "expected a folder of at most 1000 files",
    ),
    (
        "repo-link's branch looks like an option",
        "{repository}/tree/--upload-pack=x/net",
        "repo-link: expected a repository and a branch or a tag of it, found",
    ),
    (
        "a NUL in repo-link",
        "{repository}\0/tree/main/net",
        "repo-link: expected <repository>/tree/<branch>/<folder>, found",
    ),
    ("repo-link names a transport of git's that runs a command", "ext::sh -c x/tree/main/net", "expected an https URL"),
]:
    fault(GIT, _injected, "refused; nothing runs; with a good link it loads")(
        partial(bad_link, link=_link, pattern=_pattern, kind=FetchError if _link.startswith("ext") else HubpkgError)
    )


def bad_asset(folder, _, name, pattern):
    card = Card(folder)
    (folder / "net.ckpt").write_bytes(card.checkpoint.read_bytes())
    before = names_in(folder)
    card.asset = f"https://example.com/assets/{name}"
    card.write()
    with pytest.raises(HubpkgError, match=pattern) as caught:
        card.load(trust_repo=True)
    assert not card.runs()
    assert names_in(folder) <= before | {"cache"}
    card.asset = "https://example.com/assets/net.ckpt"
    card.write()
    card.works()
    return f"{type(caught.value).__name__}: {re.search(pattern, str(caught.value))[0]}; nothing ran; then loaded"


for _injected, _name, _found in [
    ("asset-link ends in '/..'", "net.ckpt/..", r"'\.\.'"),
    ("asset-link's file is '..' and a backslash and a name", "..\\net.ckpt", r"'\.\.\\\\net\.ckpt'"),
    ("a NUL in asset-link's file", "net\0.ckpt", r"'net\\x00\.ckpt'"),
    ("asset-link's file has a reserved name", "nul.ckpt", r"'nul\.ckpt'"),
    ("asset-link's file has a name of 400 characters", "x" * 395 + ".ckpt", r"'x{40}\.\.\. of 400 characters'"),
]:
    fault(LOADING, _injected, "refused, before anything is fetched; with a good link it loads")(
        partial(bad_asset, name=_name, pattern=f"asset-link: expected a file's path inside its folder, found {_found}")
    )


@fault(
    LOADING,
    "asset-link's file is %2e%2e%2fnet.ckpt, and the folder above has net.ckpt",
    "taken as a name, never as a path; the file above is not read",
)
def quoted_asset(folder, monkeypatch):
    card = Card(folder)
    above = folder / "net.ckpt"
    above.write_bytes(card.checkpoint.read_bytes())
    card.asset = "https://example.com/assets/%2e%2e%2fnet.ckpt"
    card.write()
    monkeypatch.setenv("HUBPKG_OFFLINE", "1")
    beside = Path(shutil.copytree(card.code, card.path.with_name(ENTRY)))
    told = card_refused_offline(card)
    card.checkpoint.rename(card.path.with_name("%2e%2e%2fnet.ckpt"))
    card.works()
    assert beside.is_dir()
    return f"{told}; with a file of that very name beside the card loaded"


def card_refused_offline(card):
    told = refused(
        partial(hubpkg.load, card.path, trust_repo=True), FetchError, "in the cache, found none, and hubpkg is"
    )
    assert not card.runs()
    return f"{told} offline"


def bad_name(folder, _, name, source, pattern):
    card = Card(folder)
    (folder / "x").mkdir()
    shutil.copyfile(card.path, folder / "x" / "y.md")
    hub = folder / "hub" / "a"
    hub.mkdir(parents=True)
    told = refused(partial(hubpkg.load, name, source=source and str(hub), trust_repo=True), HubpkgError, pattern)
    refused(partial(hubpkg.load_weights, name, source and str(hub)), HubpkgError, pattern)
    assert not card.runs()
    card.works()
    return f"{told}; nothing ran"


for _injected, _name, _source, _pattern in [
    ("a uid such as ../../x/y in a hub's folder", "../../x/y", True, "found no such path and no uid"),
    ("a uid with a part that is '..'", "a/../x/y", True, "found no such path and no uid"),
    ("a uid with a NUL", "a/b/c\0", True, "found no such path and no uid"),
    ("a uid of 5,000 characters", "a/b/" + "c" * 4996, True, "found no such path and no uid"),
    ("a name with a NUL", "net\0", False, "expected a card's path or URL, a package's folder, or a uid"),
    ("a name of 5,000 characters", "n" * 5000, False, "expected a card's path or URL, a package's folder, or a uid"),
    ("a name below the home of nobody", "~nobody-of-that-name/net", False, "expected a card's path or URL"),
]:
    fault(LOADING, _injected, "refused, and never read as a path outside")(
        partial(bad_name, name=_name, source=_source, pattern=_pattern)
    )


# Checkpoints whose digest is right.


def zipped():
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w") as archive:
        for name in ("../escaped", "/tmp/escaped", "archive/data.pkl"):  # noqa: S108 - where nothing must appear
            archive.writestr(name, pickle.dumps({"weight": [1.0]}))
    return raw.getvalue()


def tarred():
    raw = io.BytesIO()
    with tarfile.open(fileobj=raw, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../escaped"), io.BytesIO())
    return raw.getvalue()


class Trap:
    """What a pickle can do."""

    def __reduce__(self):
        return (Path.touch, (Path("escaped"),))


def torch_file():
    """As torch.save writes them: a zip file with a pickle in it."""
    raw = io.BytesIO()
    with zipfile.ZipFile(raw, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr("net/data.pkl", pickle.dumps(Trap()))
        archive.writestr("net/version", "3\n")
        archive.writestr("net/data/0", WEIGHTS["weight"].tobytes())
    return raw.getvalue()


def no_checkpoint(folder, monkeypatch, make):
    (folder / "cwd").mkdir()
    monkeypatch.chdir(folder / "cwd")
    card = Card(folder)
    good = card.checkpoint.read_bytes()
    card.checkpoint.chmod(0o644)
    card.checkpoint.write_bytes(make())
    card.write()
    told = card_refused_late(card, "expected a MindSpore checkpoint")
    assert not list(folder.rglob("escaped"))
    assert not Path("/tmp/escaped").exists()  # noqa: S108 - where an archive's member points
    card.checkpoint.write_bytes(good)
    card.write()
    card.works()
    return f"{told}; then loaded"


def card_refused_late(card, pattern):
    """Refused when the code was found right, but before any of it ran."""
    told = refused(partial(hubpkg.load, card.path, trust_repo=True), CheckpointError, pattern)
    refused(partial(hubpkg.load_weights, card.path), CheckpointError, pattern)
    assert not card.runs()
    return f"{told}; no network was made"


for _what, _make in {
    "a zip file with members that point outside": zipped,
    "a tar file with a member that points outside": tarred,
    "a web page": lambda: b"<!DOCTYPE html>\n<html><body>Please sign in</body></html>\n",
    "a pickle that would run something": lambda: pickle.dumps(Trap()),
    "a PyTorch file": torch_file,
    "an empty file": bytes,
}.items():
    fault(
        LOADING,
        f"the checkpoint is {_what}, and its digest is right",
        "refused before a network is made; nothing is unpacked or run",
    )(partial(no_checkpoint, make=_make))


@fault(LOADING, "a checkpoint cut short at every byte, and its digest is right", "refused, at each of the lengths")
def truncated(folder, _):
    card = Card(folder)
    good = card.checkpoint.read_bytes()
    card.checkpoint.chmod(0o644)
    incomplete = 0
    for size in range(len(good)):
        card.checkpoint.write_bytes(good[:size])
        card.write()
        with pytest.raises(CheckpointError) as caught:
            card.load(trust_repo=True)
        if str(caught.value).endswith("bias is missing"):
            assert card.runs()
            incomplete += 1
        else:
            assert "expected a MindSpore checkpoint" in str(caught.value)
            assert not card.runs()
    assert incomplete == 1
    card.checkpoint.write_bytes(good)
    card.write()
    card.works()
    return f"{caught.type.__name__}: unreadable; where a parameter ends, the next one is missing; then loaded"


def other_parameters(folder, _, parameters, differences):
    card = Card(folder)
    save_checkpoint(card.checkpoint, **parameters)
    card.write()
    with pytest.raises(CheckpointError) as caught:
        card.load(trust_repo=True)
    told = str(caught.value)
    at = [told.index(difference) for difference in differences]
    assert told[at[0] :].count(";") + told[at[0] :].count("\n") == len(differences) - 1  # and no others
    save_checkpoint(card.checkpoint, **WEIGHTS)
    card.write()
    card.runs()
    card.works()
    found = "; ".join(told[start:][: len(difference)] for start, difference in zip(at, differences, strict=True))
    return f"{caught.type.__name__}: {found}; then loaded"


for _injected, _parameters, _differences in [
    (
        "a checkpoint of another network",
        {"kernel": np.zeros((3, 3), np.float32), "bias": np.zeros(3, np.float32), "scale": np.zeros(1, np.float32)},
        [
            "weight is missing",
            "bias has shape (3,) instead of (2,)",
            "kernel is not in the network",
            "scale is not in the network",
        ],
    ),
    (
        "a checkpoint in which a parameter has another shape",
        {"weight": np.zeros((4, 1), np.float32), "bias": np.zeros(2, np.float32)},
        ["weight has shape (4, 1) instead of (2, 2)"],
    ),
    (
        "a checkpoint in which a parameter has another type",
        {"weight": np.zeros((2, 2), np.float16), "bias": np.zeros(2, np.float32)},
        ["weight has type Float16 instead of Float32"],
    ),
]:
    fault(LOADING, f"{_injected}, and its digest is right", "refused, with every difference; the right one loads")(
        partial(other_parameters, parameters=_parameters, differences=_differences)
    )


@fault(LOADING, "the checkpoint is replaced between its check and its use", "refused; the right one loads")
def replaced_meanwhile(folder, monkeypatch):
    card = Card(folder)
    card.works()
    good = card.checkpoint.read_bytes()
    found = framework.load

    def replace():
        save = found()
        card.checkpoint.chmod(0o644)
        card.checkpoint.write_bytes(good[:-1] + b"\0")
        return save

    with monkeypatch.context() as patch:
        patch.setattr(framework, "load", replace)
        told = refused(card.load, IntegrityError, "expected sha256")
    assert not card.runs()
    card.checkpoint.write_bytes(good)
    card.works()
    return f"{told} and found another; nothing ran; then loaded"


# The code that runs.


@fault(
    LOADING,
    "the code changes sys.path, and has a module called as one that the program has loaded",
    "both are as before afterwards",
)
def changed_interpreter(folder, monkeypatch):
    card = Card(folder)
    shadowed = type(sys)("network")
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setitem(sys.modules, "network", shadowed)
    (card.code / "network.py").write_text("import mindspore\n\nNet = mindspore.nn.Dense\n", encoding="utf-8")
    source = (
        "import sys\n\nsys.path = ['/nowhere', *sys.path]\nsys.path.insert(0, '/elsewhere')\n"
        "import network\n\n\ndef create_network(name):\n"
        "    sys.path.append('/anywhere')\n    return network.Net(2, 2)\n"
    )
    (card.code / CONF).write_text(source, encoding="utf-8")
    card.commit()
    path, modules, finders = sys.path.copy(), set(sys.modules), sys.meta_path.copy()
    card.load(trust_repo=True)
    card.load()
    assert sys.path == path
    assert sys.meta_path == finders
    assert sys.modules["network"] is shadowed
    more = {name for name in set(sys.modules) - modules if not name.startswith("hubpkg")}
    assert not {name for name in more if "network" in name or "conf" in name}
    return "loaded; sys.path and the program's module as before"


@fault(LOADING, "the code fails half way, after it changed sys.path", "its own error; all as before; mended code loads")
def failing_code(folder, _):
    card = Card(folder)
    (card.code / CONF).write_text(
        "import sys\n\nsys.path.insert(0, '/elsewhere')\nraise ZeroDivisionError('its own')\n", encoding="utf-8"
    )
    card.commit()
    path, finders = sys.path.copy(), sys.meta_path.copy()
    with pytest.raises(ZeroDivisionError, match=r"^its own$") as caught:
        card.load(trust_repo=True)
    assert (sys.path, sys.meta_path) == (path, finders)
    assert Path(CONF).stem not in sys.modules
    card.change("first")
    card.works(force_reload=True)
    return f"{type(caught.value).__name__}: {caught.value}; sys.path as before; then loaded"


@fault(LOADING, "two cards whose code has modules of the same names", "each gets its own")
def same_names(folder, _):
    cards = []
    for name, factor in (("one", 1), ("two", 2)):
        (folder / name).mkdir()
        card = Card(folder / name)
        (card.code / "network.py").write_text(
            "import mindspore\n\n\nclass Net(mindspore.nn.Dense):\n    def construct(self, x):\n"
            f"        return {factor} * super().construct(x)\n",
            encoding="utf-8",
        )
        (card.code / CONF).write_text(
            "import network\n\n\ndef create_network(name):\n    return network.Net(2, 2)\n", encoding="utf-8"
        )
        card.commit()
        cards.append(card)
    inputs = framework.load().Tensor(np.ones((1, 2), np.float32))
    networks = [card.load(trust_repo=True) for card in cards + cards]
    answers = [network(inputs).asnumpy().tolist() for network in networks]
    expected = (np.ones((1, 2)) @ WEIGHTS["weight"].T + WEIGHTS["bias"]).tolist()
    assert answers == [expected, (2 * np.array(expected)).tolist()] * 2
    assert not {"network", Path(CONF).stem} & set(sys.modules)
    return "each answered by its own code, loaded in turn, twice"


# Cards and manifests from a server.


def bad_document(folder, _, name, text, kind, pattern):
    card = Card(folder)
    file = card.path.with_name(name)
    good = file.read_bytes() if file.exists() else None
    with served(card.path.parent) as (url, asked):
        file.write_bytes(text)
        load = partial(hubpkg.load, f"{url}/{card.path.name}", trust_repo=True)
        told = refused(load, kind, pattern)
        assert not card.runs()
        assert not lockfile.read("documents")
        if good is None:
            file.unlink()
        else:
            file.write_bytes(good)
        load(pretrained=False)
        assert card.runs() == ["first run", "first asked for net"]
        del asked[:]
        load(pretrained=False)
        assert not asked
    return f"{told}; nothing ran, nothing was pinned; then loaded"


for _injected, _file, _text, _kind, _pattern in [
    (
        "a sign-in page, with status 200, in a card's place",
        "card.md",
        b"<!DOCTYPE html><html><body>Please sign in</body></html>\n",
        hubpkg.errors.InvalidDocumentError,
        "expected a front matter between two lines '---', found none",
    ),
    (
        "a card that is cut short",
        "card.md",
        b"# A card\n\n---\n\nmodel-name: Ne",
        hubpkg.errors.InvalidDocumentError,
        "expected a front matter between two lines '---', found one, line 3",
    ),
    (
        "a card that is not UTF-8",
        "card.md",
        b"\xff\xfe# A card",
        HubpkgError,
        "expected a card in UTF-8, found other bytes",
    ),
    (
        "a manifest that is cut short, beside a card",
        "hubpkg.json",
        b'{"card":{"author":"a',
        hubpkg.errors.InvalidDocumentError,
        "expected canonical JSON, found: Unterminated string",
    ),
]:
    fault(LOADING, _injected, "refused, and not held against the next try, which works")(
        partial(bad_document, name=_file, text=_text, kind=_kind, pattern=_pattern)
    )
