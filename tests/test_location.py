"""Name and source -> card and manifest."""

import json
import shutil
from functools import partial

import pytest
from forging import read_manifest, reseal
from handmade import Card, refused, served

from hubpkg import cache, location, lockfile, manifest, transport
from hubpkg.errors import FetchError, HubpkgError, IntegrityError, InvalidDocumentError
from hubpkg.transport import Policy

CARD = b"""# A card

---

model-name: net

repo-link: <https://example.com/o/r/tree/main/net>

---
"""


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def hub(tmp_path):
    folder = tmp_path / "hub"
    (folder / "a" / "1").mkdir(parents=True)
    (folder / "a" / "1" / "net_data.md").write_bytes(CARD)
    return folder


def locate(name, source=None, *, force_reload=False, **policy):
    return location.locate(name, source, Policy(**policy), force_reload=force_reload)


def test_a_card_in_a_folder(hub, tmp_path):
    card = hub / "a" / "1" / "net_data.md"
    expected = location.Location(
        str(card),
        card.parent,
        {"model-name": "net", "repo-link": "<https://example.com/o/r/tree/main/net>"},
        None,
    )
    assert locate(card) == locate(str(card), "local") == locate("a/1/net_data", str(hub)) == expected
    checkout = tmp_path / "checkout"
    shutil.copytree(hub, checkout / "mshub_res" / "assets")
    assert locate("a/1/net_data", str(checkout)).folder == checkout / "mshub_res" / "assets" / "a" / "1"


def test_the_card_of_a_hub_is_looked_for_before_the_one_of_a_checkout(hub):
    (hub / "mshub_res" / "assets" / "a" / "1").mkdir(parents=True)
    (hub / "mshub_res" / "assets" / "a" / "1" / "net_data.md").write_bytes(CARD)
    assert locate("a/1/net_data", str(hub)).folder == hub / "a" / "1"


def test_a_card_at_a_url_and_the_way_that_it_is_looked_for(hub):
    with served(hub) as (url, asked):
        found = locate("a/1/net_data", url)
        assert (found.card, found.folder, found.contents) == (f"{url}/a/1/net_data.md", f"{url}/a/1", None)
        assert asked == ["/a/1/net_data/hubpkg.json", "/a/1/hubpkg.json", "/a/1/net_data.md"]
        assert lockfile.read("documents") == {
            f"{url}/a/1/net_data/hubpkg.json": None,
            f"{url}/a/1/hubpkg.json": None,
            f"{url}/a/1/net_data.md": manifest.record(hub / "a" / "1" / "net_data.md").sha256,
        }
    assert locate("a/1/net_data", url, offline=True) == found  # where there was nothing is known as well


def test_a_manifest_that_comes_later_is_seen_when_it_is_reloaded(hub, small_package):
    uid = "a/1/xcit_small_digits"
    shutil.copyfile(small_package / "xcit_small_digits.md", hub / f"{uid}.md")
    with served(hub) as (url, _):
        assert locate(uid, url).contents is None
        shutil.copytree(small_package, hub / uid)
        assert locate(uid, url).contents is None
        assert locate(uid, url, force_reload=True).contents == manifest.read(small_package / manifest.NAME)
        assert locate(uid, url).contents


def test_a_page_in_place_of_a_manifest_is_none(hub):
    (hub / "a" / "1" / "hubpkg.json").write_bytes(b"<html>Nothing here</html>")
    with served(hub) as (url, _):
        assert locate("a/1/net_data", url).contents is None


def test_a_manifest_of_another_package_is_not_the_cards(hub, small_package):
    shutil.copyfile(small_package / manifest.NAME, hub / "a" / "1" / manifest.NAME)
    with served(hub) as (url, _):
        assert locate("a/1/net_data", url).contents is None
    assert locate(hub / "a" / "1" / "net_data.md").contents is None


def test_what_could_not_be_used_is_not_pinned(package):
    card = package / "xcit_small_digits.md"
    good = card.read_bytes()
    card.write_bytes(good + b"More.\n")
    with served(package) as (url, _):
        refused(partial(locate, f"{url}/{card.name}"), IntegrityError, r"digits\.md: expected sha256 ")
        assert not lockfile.path().exists()
        card.write_bytes(good)
        assert locate(f"{url}/{card.name}").contents
        card.write_bytes(good + b"More.\n")
        refused(partial(locate, f"{url}/{card.name}", force_reload=True), IntegrityError, "expected sha256 ")
        assert locate(f"{url}/{card.name}").contents  # what was pinned still is


def test_a_damaged_text_that_can_not_be_read_again_is_refused(hub):
    with served(hub) as (url, _):
        locate("a/1/net_data", url)
    file = cache.file_of(lockfile.read("documents")[f"{url}/a/1/net_data.md"])
    file.chmod(0o644)
    file.write_bytes(CARD.replace(b"example.com", b"elsewhere.example"))
    refused(partial(locate, "a/1/net_data", url, offline=True), FetchError, "in the cache, found none")


def test_a_card_and_its_manifest_must_fit_though_both_were_remade(package):
    contents = read_manifest(package)
    card = package / "xcit_small_digits.md"
    card.write_text(card.read_text(encoding="utf-8").replace("fine-tunable: True", "fine-tunable: 5"), encoding="utf-8")
    reseal(package, contents)
    refused(partial(locate, card), InvalidDocumentError, "fine-tunable: expected ")


@pytest.mark.parametrize("key", ["model-name", "repo-link"])
@pytest.mark.parametrize("value", ["", "5", "[a]", None])
def test_a_card_says_what_is_needed_to_load_it(hub, key, value):
    card = hub / "a" / "1" / "net_data.md"
    lines = [line for line in CARD.decode().splitlines() if not line.startswith(key)]
    if value is not None:
        lines.insert(3, f"{key}: {value}")
    card.write_text("\n".join(lines), encoding="utf-8")
    refused(
        partial(locate, card), HubpkgError, rf"net_data\.md: {key}: expected (the model's name|a link to the code), f"
    )


def test_a_hubs_default_places(monkeypatch):
    asked = []
    monkeypatch.setattr(transport, "read", lambda url, _: asked.append(url))
    for source in (None, "gitee", "github"):
        refused(
            partial(locate, "a/1/net_data", source), HubpkgError, r"expected a card, found none there \(status 404\)"
        )
    gitee = "https://gitee.com/mindspore/hub/raw/master/mshub_res/assets/a/1"
    github = "https://github.com/mindspore-ai/hub/raw/master/mshub_res/assets/a/1"
    files = ("net_data/hubpkg.json", "hubpkg.json", "net_data.md")
    assert asked == [f"{base}/{file}" for base in (gitee, gitee, github) for file in files]


@pytest.mark.parametrize(
    "text", [b"", b"{", b"[]", b"{}", b'{"format":2}', b"\xff", json.dumps({"format": 1, "code": 5}).encode()]
)
def test_a_lock_file_that_is_none_is_named_and_not_overwritten(tmp_path, text):
    card = Card(tmp_path)
    lockfile.path().parent.mkdir()
    lockfile.path().write_bytes(text)
    pattern = rf"{lockfile.path()}: .*; mend it or delete it$"
    with pytest.raises(HubpkgError, match=pattern):
        card.load(trust_repo=True)
    with pytest.raises(HubpkgError, match=pattern):
        lockfile.pin("documents", "https://example.com/a.md", None)
    assert lockfile.path().read_bytes() == text
    assert not card.runs()
    lockfile.path().unlink()
    card.works()


def test_what_is_pinned_is_kept_beside_what_was(tmp_path):
    lockfile.pin("documents", "https://example.com/a.md", None)
    lockfile.pin("documents", "https://example.com/b.md", "0" * 64)
    lockfile.pin("assets", "https://example.com/c 00000000", "0" * 64)
    assert lockfile.read("documents") == {"https://example.com/a.md": None, "https://example.com/b.md": "0" * 64}
    assert lockfile.read("assets") == {"https://example.com/c 00000000": "0" * 64}
    assert lockfile.read("code") == {}
    assert [path.name for path in (tmp_path / "cache").iterdir() if path.is_file()] == [lockfile.NAME]


def test_a_package_is_found_by_its_folder_s_url_and_by_a_card_beside_that_folder(small_package, tmp_path):
    shutil.copytree(small_package, tmp_path / small_package.name)
    card = shutil.copy(small_package / f"{small_package.name}.md", tmp_path)
    assert locate(card).folder == tmp_path / small_package.name
    assert locate(card).contents == locate(small_package).contents
    with served(tmp_path) as (url, _):
        for address in (
            f"{url}/{small_package.name}",
            f"{url}/{small_package.name}/",
            f"{url}/{small_package.name}.md",
        ):
            assert locate(address).contents == locate(small_package).contents


def test_no_name_and_a_url_that_is_to_be_local_are_told():
    refused(partial(locate, ""), HubpkgError, r"^name: expected a path, a URL or a name, found ''$")
    refused(partial(locate, "https://x.invalid/y.md", "local"), HubpkgError, r"found a URL; leave source out$")
