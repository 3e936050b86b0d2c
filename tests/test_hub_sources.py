"""hubpkg.load by every kind of name, from every kind of source."""

import inspect
import shutil
import socket
import threading
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from forging import read_manifest, reseal
from handmade import CONF, ENTRY, WEIGHTS, Card, assert_loaded, refused, served

import hubpkg
from hubpkg import cache, lockfile, manifest, site
from hubpkg.errors import FetchError, HubpkgError, IntegrityError, InvalidDocumentError, NotPinnedError
from hubpkg.runtime import framework
from hubpkg.server import Server

UID = "hubpkg/2.8/xcit_small_digits"
NAME = UID.rpartition("/")[2]
CODE = f"xcit_small/{CONF}"
TRAP = b"raise AssertionError('the entrypoint was run')\n"
MARK = b"""
_first = create_network


def create_network(name, *args, **kwargs):
    network = _first(name, *args, **kwargs)
    network.is_second = True
    return network
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def no_socket(monkeypatch):
    def fail(*_):
        raise AssertionError("a socket was used")

    def forbid():
        for name in ("connect", "connect_ex", "sendto"):
            monkeypatch.setattr(socket.socket, name, fail)
        monkeypatch.setattr(socket, "getaddrinfo", fail)

    return forbid


@pytest.fixture
def hub(small_package, tmp_path):
    """A hub's folder that has the small package at its uid; a test may change it."""
    shutil.copytree(small_package, tmp_path / "hub" / UID)
    return tmp_path / "hub"


def weights_of(package):
    file = read_manifest(package)["checkpoint"]["file"]
    return {name: value.asnumpy() for name, value in framework.load().load_checkpoint(str(package / file)).items()}


def assert_same(parameters, package):
    expected = weights_of(package)
    assert parameters.keys() == expected.keys()
    for name, parameter in parameters.items():
        np.testing.assert_array_equal(parameter.asnumpy(), expected[name])


def assert_is_package(network, package):
    assert not network.training
    assert_same(network.parameters_dict(), package)


# A package needs no argument that mindspore_hub.load has not.


@pytest.mark.parametrize(
    "given",
    [
        {"name": "{hub}/{uid}"},
        {"name": "{hub}/{uid}", "source": "local"},
        {"name": "{hub}/{uid}/{name}.md"},
        {"name": "{uid}", "source": "{hub}"},
        {"name": "{uid}.md", "source": "{hub}"},
        {"name": "{uid}", "source": "{hub}/"},
    ],
)
def test_a_package_in_a_folder(hub, small_package, no_socket, given):
    no_socket()
    given = {key: value.format(hub=hub, uid=UID, name=NAME) for key, value in given.items()}
    assert_is_package(hubpkg.load(**given), small_package)
    assert not lockfile.path().exists()


def test_a_package_in_a_checkout_of_the_hub(small_package, tmp_path, no_socket):
    no_socket()
    shutil.copytree(small_package, tmp_path / "checkout" / "mshub_res" / "assets" / UID)
    assert_is_package(hubpkg.load(UID, source=str(tmp_path / "checkout")), small_package)
    assert_is_package(hubpkg.load(UID, source=tmp_path / "checkout"), small_package)


@pytest.mark.parametrize("shown", ["static", "live"])
def test_a_site_is_a_hub_to_load_from(shown, small_package, tmp_path):
    found = site.read(small_package.parent)
    if shown == "static":
        site.write(found, tmp_path / "site", print)
        with served(tmp_path / "site") as (url, _):
            assert_is_package(hubpkg.load(UID, source=url), small_package)
            return
    server = Server(small_package.parent, 0, print)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert_is_package(hubpkg.load(UID, source=server.url), small_package)
    finally:
        server.shutdown()
        thread.join()


def test_a_hub_may_have_the_card_beside_the_packages_folder(hub, small_package):
    shutil.copyfile(small_package / f"{NAME}.md", hub / f"{UID}.md")
    assert_is_package(hubpkg.load(UID, source=str(hub)), small_package)


@pytest.mark.parametrize(
    "given",
    [
        {"name": "{uid}", "source": "{url}"},
        {"name": "{uid}.md", "source": "{url}/"},
        {"name": "{url}/{uid}.md"},  # the card's place in a hub
        {"name": "{url}/{uid}/{name}.md"},  # in its package's folder
    ],
)
def test_a_package_at_a_url_and_again_without_a_network(hub, small_package, no_socket, monkeypatch, given):
    with served(hub) as (url, asked):
        given = {key: value.format(url=url, uid=UID, name=NAME) for key, value in given.items()}
        assert_is_package(hubpkg.load(**given), small_package)
        assert f"/{UID}/{CODE}" in asked
    assert not lockfile.read("code")  # the manifest pins it
    no_socket()
    assert_is_package(hubpkg.load(**given), small_package)
    monkeypatch.setenv("HUBPKG_OFFLINE", "1")
    assert_is_package(hubpkg.load(**given), small_package)
    assert_same(hubpkg.load_weights(**given), small_package)


def test_without_a_network_what_was_never_loaded_is_refused_without_a_socket(no_socket, monkeypatch):
    no_socket()
    monkeypatch.setenv("HUBPKG_OFFLINE", "1")
    for source, host in ((None, "gitee.com"), ("gitee", "gitee.com"), ("github", "github.com")):
        with pytest.raises(FetchError, match=f"^https://{host}/.*/mshub_res/assets/{UID}/.* hubpkg is offline$"):
            hubpkg.load(UID, source=source)


def test_a_package_on_a_server_needs_no_code_there_that_its_manifest_does_not_name(hub, small_package):
    (hub / UID / "xcit_small" / "json.py").write_bytes(TRAP)
    with served(hub) as (url, asked):
        assert_is_package(hubpkg.load(UID, source=url), small_package)
    assert not [path for path in asked if path.endswith("json.py")]


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (manifest.NAME, InvalidDocumentError),
        (f"{NAME}.md", IntegrityError),
        (CODE, IntegrityError),
        ("xcit_small/xcit_small_network.py", IntegrityError),
        ("xcit_small/create_network.json", IntegrityError),
        ("checkpoint", IntegrityError),
    ],
)
def test_what_was_altered_on_the_server_is_refused_and_the_next_try_works(hub, small_package, file, kind):
    package = hub / UID
    file = package / (read_manifest(package)["checkpoint"]["file"] if file == "checkpoint" else file)
    (package / CODE).write_bytes((package / CODE).read_bytes() + MARK)
    reseal(package)
    good = file.read_bytes()
    file.chmod(0o644)
    file.write_bytes(good[:-2] + bytes([good[-2] ^ 1]) + good[-1:])
    with served(hub) as (url, _):
        refused(partial(hubpkg.load, UID, source=url), kind, "expected")
        file.write_bytes(good)
        network = hubpkg.load(UID, source=url)
    assert network.is_second
    del network.is_second
    assert_is_package(network, small_package)


def test_a_package_that_changes_on_the_server_is_seen_when_it_is_reloaded(hub):
    package = hub / UID
    with served(hub) as (url, asked):
        assert not hasattr(hubpkg.load(UID, source=url), "is_second")
        (package / CODE).write_bytes((package / CODE).read_bytes() + MARK)
        reseal(package)
        del asked[:]
        assert not hasattr(hubpkg.load(UID, source=url), "is_second")
        assert not asked
        assert hubpkg.load(UID, source=url, force_reload=True).is_second
        assert hubpkg.load(UID, source=url).is_second


# Cards without a manifest.


@pytest.fixture
def card(tmp_path):
    return Card(tmp_path)


def test_a_card_at_a_url_with_code_in_git(card, no_socket, monkeypatch):
    with served(card.path.parent) as (url, asked):
        card.asset = f"{url}/net.ckpt"
        card.write()
        given = f"{url}/card.md"
        refused(partial(hubpkg.load, given), NotPinnedError, f"would run {CONF}")
        assert not card.runs()
        assert "/net.ckpt" not in asked
        assert_loaded(hubpkg.load(given, trust_repo=True))
        assert card.runs() == ["first run", "first asked for net"]
        assert asked.count("/net.ckpt") == 1
    no_socket()
    assert_loaded(hubpkg.load(given))
    monkeypatch.setenv("HUBPKG_OFFLINE", "1")
    assert_loaded(hubpkg.load(given))


def test_a_card_is_what_it_was_until_it_is_reloaded(card):
    with served(card.path.parent) as (url, asked):
        hubpkg.load(f"{url}/card.md", pretrained=False, trust_repo=True)
        text = card.path.read_text(encoding="utf-8")
        card.path.write_text(text.replace("model-name: Net", "model-name: Other"), encoding="utf-8")
        del asked[:]
        card.runs()
        hubpkg.load(f"{url}/card.md", pretrained=False)
        assert card.runs() == ["first run", "first asked for net"]
        assert not asked
        hubpkg.load(f"{url}/card.md", pretrained=False, force_reload=True)
        assert card.runs() == ["first run", "first asked for other"]


def test_a_card_whose_cached_text_was_damaged_is_read_again_if_it_is_the_same(card):
    with served(card.path.parent) as (url, _):
        load = partial(hubpkg.load, f"{url}/card.md", pretrained=False)
        load(trust_repo=True)
        file = cache.file_of(lockfile.read("documents")[f"{url}/card.md"])
        good = card.path.read_bytes()
        for text, accepted in ((good, True), (good + b"More.\n", False)):
            file.chmod(0o644)
            file.write_bytes(b"damaged")
            card.path.write_bytes(text)
            if accepted:
                with pytest.warns(hubpkg.errors.CacheWarning):
                    load()
            else:
                refused(load, IntegrityError, "accept what is there now with force_reload=True")
        load(force_reload=True)
        load()


def test_mirrors_are_tried_when_the_link_is_dead(card):
    (card.path.parent / "mirror").mkdir()
    weights = card.path.parent / "mirror" / "other.ckpt"
    card.checkpoint.rename(weights)
    card.checkpoint = weights
    with served(card.path.parent) as (url, asked):
        card.asset = f"{url}/dead.ckpt"
        card.write()
        refused(partial(card.load, trust_repo=True), FetchError, r"dead\.ckpt: expected the file, found status 404")
        card.write(**{"asset-mirrors": [f"{url}/dead/too.ckpt", f"{url}/mirror/other.ckpt"]})
        del asked[:]
        card.load()
        assert asked == ["/dead.ckpt", "/dead/too.ckpt", "/mirror/other.ckpt"]


def test_a_mirror_with_another_file_is_refused(card):
    with served(card.path.parent) as (url, _):
        (card.path.parent / "net.ckpt").rename(card.path.parent / "good.ckpt")
        card.checkpoint = card.path.parent / "good.ckpt"
        (card.path.parent / "other.ckpt").write_bytes(card.checkpoint.read_bytes() + b"\0")
        card.asset = f"{url}/dead.ckpt"
        card.write(**{"asset-mirrors": [f"{url}/other.ckpt"]})
        refused(partial(hubpkg.load, card.path, trust_repo=True), IntegrityError, r"other\.ckpt: expected sha256")
        assert not card.runs()
        card.write(**{"asset-mirrors": [f"{url}/other.ckpt", f"{url}/good.ckpt"]})
        card.works()


@pytest.mark.parametrize("mirrors", [None, "https://example.com/net.ckpt", 5])
def test_mirrors_are_a_list(card, mirrors):
    card.write(**{"asset-mirrors": mirrors})
    refused(
        partial(hubpkg.load, card.path, trust_repo=True), HubpkgError, "expected an asset whose file-format is ckpt"
    )
    assert not card.runs()


@pytest.mark.parametrize("assets", ["5", "{}", "[5]", "[{file-format: onnx}]", "[{file-format: ckpt}]", "null"])
def test_a_card_without_a_checkpoint_gives_a_network_without_weights(card, assets):
    text = card.path.read_text(encoding="utf-8").splitlines()
    lines = [f"asset: {assets}" if line.startswith("asset:") else line for line in text]
    card.path.write_text("\n".join(lines), encoding="utf-8")
    load = partial(hubpkg.load, card.path, trust_repo=True)
    refused(load, HubpkgError, r"card\.md: expected an asset .* found none; load it with pretrained=False$")
    assert not card.runs()
    assert load(pretrained=False).weight.shape == (2, 2)


def test_a_digest_cut_short_binds_once_it_was_allowed(card):
    sha256 = manifest.record(card.checkpoint).sha256
    with served(card.path.parent) as (url, _):
        card.asset = f"{url}/net.ckpt"
        card.write(**{"asset-sha256": sha256[:8]})
        load = partial(hubpkg.load, f"{url}/card.md", trust_repo=True)
        refused(load, NotPinnedError, "allow_short_digest=True in hubpkg.load")
        assert not card.runs()
        assert_loaded(load(allow_short_digest=True))
        assert_loaded(load())
        assert list(lockfile.read("assets").values()) == [sha256]
    assert hubpkg.load_weights(f"{url}/card.md").keys() == WEIGHTS.keys()


def test_an_entry_folder_beside_a_card_is_trusted_once_and_by_its_path(card):
    shutil.copytree(card.code, card.path.with_name(ENTRY))
    shutil.rmtree(card.repository)
    told = refused(card.load, NotPinnedError, f"would run {CONF} .*; expected .* found none; read .*, and")
    assert str(card.path.with_name(ENTRY)) in told
    card.works()
    card.load()
    assert list(lockfile.read("code")) == [str(card.path.with_name(ENTRY))]
    card.runs()
    elsewhere = shutil.copytree(card.path.parent, card.path.parents[1] / "elsewhere")
    refused(partial(hubpkg.load, elsewhere / "card.md"), NotPinnedError, "found none")
    assert not card.runs()


# Weights alone, and the cache's folder.


def test_weights_alone_are_those_of_the_checkpoint_and_no_code_runs(hub, small_package, card):
    assert_same(hubpkg.load_weights(hub / UID), small_package)
    assert_same(hubpkg.load_weights(UID, str(hub)), small_package)
    with served(hub) as (url, asked):
        assert_same(hubpkg.load_weights(UID, url), small_package)
        assert not [path for path in asked if path.endswith(".py")]
        del asked[:]
        assert_same(hubpkg.load_weights(UID, url, True), small_package)  # noqa: FBT003 - as in mindspore_hub
        assert asked
    found = hubpkg.load_weights(card.path)
    for name, value in WEIGHTS.items():
        np.testing.assert_array_equal(found[name].asnumpy(), value)
    assert not card.runs()


def test_the_cache_is_where_it_was_set(card, tmp_path, monkeypatch):
    assert hubpkg.get_hub_dir() == str(tmp_path / "cache")
    monkeypatch.chdir(tmp_path)
    hubpkg.set_hub_dir("chosen")
    try:
        assert hubpkg.get_hub_dir() == str(tmp_path / "chosen")
        card.works()
        assert (tmp_path / "chosen" / lockfile.NAME).is_file()
        assert not (tmp_path / "cache").exists()
    finally:
        hubpkg.set_hub_dir(None)
    assert hubpkg.get_hub_dir() == str(tmp_path / "cache")
    monkeypatch.delenv("HUBPKG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "user"))
    assert hubpkg.get_hub_dir() == str(tmp_path / "user" / "hubpkg")


# What is asked for.


OURS = ("trust_repo", "allow_short_digest", "policy")


def test_the_arguments_are_those_of_the_hubs_client():
    load = inspect.signature(hubpkg.load).parameters
    assert [(name, p.kind.name) for name, p in load.items() if name not in OURS] == [
        ("name", "POSITIONAL_OR_KEYWORD"),
        ("args", "VAR_POSITIONAL"),
        ("source", "KEYWORD_ONLY"),
        ("pretrained", "KEYWORD_ONLY"),
        ("force_reload", "KEYWORD_ONLY"),
        ("kwargs", "VAR_KEYWORD"),
    ]
    assert (load["pretrained"].default, load["force_reload"].default) == (True, False)
    assert load["trust_repo"].default is load["allow_short_digest"].default is False
    weights = inspect.signature(hubpkg.load_weights).parameters
    assert [name for name, p in weights.items() if p.kind.name == "POSITIONAL_OR_KEYWORD"] == [
        "name",
        "source",
        "force_reload",
    ]
    assert weights["force_reload"].default is False
    inspect.signature(hubpkg.load_weights).bind("name", "gitee", True)  # noqa: FBT003 - as in mindspore_hub


@pytest.mark.parametrize("name", [None, 5, b"x", ["x"], {}])
def test_a_name_is_a_text_or_a_path(name):
    for act in (hubpkg.load, hubpkg.load_weights):
        refused(partial(act, name), HubpkgError, "^name: expected a path, a URL or a name, found ")


@pytest.mark.parametrize("source", [5, b"x", ["x"]])
def test_a_source_is_a_text_or_a_path(source):
    refused(partial(hubpkg.load, UID, source=source), HubpkgError, "^source: expected a path, a URL or a name, found ")


def test_what_a_hub_does_not_have_is_refused(hub, tmp_path):
    other = "hubpkg/2.8/other_digits"
    refused(
        partial(hubpkg.load, other, source=str(hub)), HubpkgError, f"{hub}: expected the card {other}.md, found none"
    )
    for source in ("nowhere", str(tmp_path / "none"), "~nobody-of-that-name", "s" * 5000, "file:///"):
        refused(partial(hubpkg.load, UID, source=source), HubpkgError, "^source: expected 'local', 'gitee', 'github'")
    with served(hub) as (url, _):
        refused(
            partial(hubpkg.load, other, source=url),
            HubpkgError,
            rf"{url}/{other}\.md: expected a card, found none there \(status 404\)$",
        )
        assert not lockfile.path().exists()
        shutil.copytree(hub / UID, hub / other.rpartition("/")[0] / "more")
        refused(partial(hubpkg.load, "hubpkg/2.8/more", source=url), HubpkgError, "found none there")


@pytest.mark.parametrize(
    "uid", ["xcit", "a/b", "a/b/c/d/e", "/a/b", "a//b", "a/b/", "a/b/..", "a/.b/c", "-a/b/c", "a/b/c d"]
)
def test_what_is_no_uid_is_refused(hub, uid):
    refused(partial(hubpkg.load, uid, source=str(hub)), HubpkgError, "expected a card's path or URL, .* or a uid")


def test_a_path_that_exists_is_local_and_a_uid_is_the_hubs(hub, small_package, tmp_path, monkeypatch, no_socket):
    no_socket()
    monkeypatch.chdir(hub)
    assert_is_package(hubpkg.load(UID), small_package)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HUBPKG_OFFLINE", "1")
    refused(partial(hubpkg.load, UID), FetchError, r"^https://gitee\.com/")
    refused(
        partial(hubpkg.load, UID, source="local"), HubpkgError, "expected a package's card or folder, found no such"
    )


def test_http_to_another_machine_is_refused(no_socket):
    no_socket()
    refused(partial(hubpkg.load, "http://hub.example/a/b/c.md"), FetchError, "expected an https URL, found http")
    refused(partial(hubpkg.load, UID, source="http://hub.example"), FetchError, "expected an https URL, found http")


def test_a_package_whose_asset_is_not_published_is_not_looked_for_elsewhere(hub, small_package, monkeypatch):
    found = socket.getaddrinfo

    def only_loopback(host, *arguments, **options):
        assert host == "127.0.0.1"
        return found(host, *arguments, **options)

    monkeypatch.setattr(socket, "getaddrinfo", only_loopback)
    with served(hub) as (url, _):
        assert_is_package(hubpkg.load(UID, source=url), small_package)


def test_a_manifest_without_an_entrypoint_runs_no_module_of_that_name(package, tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / CONF).write_bytes(TRAP)
    monkeypatch.syspath_prepend(tmp_path / "elsewhere")
    (package / CODE).unlink()
    reseal(package)
    refused(partial(hubpkg.load, package), HubpkgError, f"xcit_small: expected {CONF} among its files, found none")


def test_a_cache_that_can_only_be_read_gives_what_it_has(card):
    with served(card.path.parent) as (url, _):
        card.asset = f"{url}/net.ckpt"
        card.write()
        load = partial(hubpkg.load, f"{url}/card.md")
        assert_loaded(load(trust_repo=True))
    locks = Path(hubpkg.get_hub_dir(), "locks")
    shutil.rmtree(locks)
    locks.write_bytes(b"")  # as good as read-only, for root too: whoever wants a lock fails
    assert_loaded(load())
    assert locks.is_file()
