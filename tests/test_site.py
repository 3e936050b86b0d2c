"""A static hub of packages and cards."""

import json
import os
import re
import shutil
from xml.etree.ElementTree import fromstring

import drawn
import pytest
from forging import read_manifest

from hubpkg import assembly, entries, site, verification
from hubpkg.errors import HubpkgError


@pytest.fixture(scope="module")
def dist(tmp_path_factory):
    """Two packages, one of them damaged, and two cards; and what is none of these."""
    folder = tmp_path_factory.mktemp("dist")
    drawn.package(folder)
    (folder / "tiny_digits.sig").write_bytes(b"a signature")
    damaged = drawn.package(folder, name="other_mnist", publisher="else")
    with next(damaged.glob("*.ckpt")).open("ab") as file:
        file.write(b"more")
    drawn.card(folder, "mindspore/1.9/net_cifar10", summary="Finds <script>alert(1)</script>")
    drawn.card(folder, "mindspore/2.0/net_cifar10", day="2024-1-5", evaluation="-", dataset="[mnist, coco]")
    drawn.card(folder, "README")
    drawn.card(folder, ".hidden/card")
    (folder / "tiny_digits.report.html").write_text("a report", encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def made(dist, tmp_path_factory):
    out = tmp_path_factory.mktemp("out") / "site"
    site.write(site.read(dist), out, print)
    return out


def files_in(folder):
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_it_has_a_page_for_each_and_the_files_of_what_verifies(dist, made):
    package = [f"lab/2.8/tiny_digits/{name}" for name in files_in(dist / "tiny_digits")]
    assert files_in(made) == sorted(
        [
            "_headers",
            "else/2.8/other_mnist.badge.svg",
            "else/2.8/other_mnist.report.html",
            "index.html",
            "index.json",
            "lab/2.8/tiny_digits.badge.svg",
            "lab/2.8/tiny_digits.report.html",
            "lab/2.8/tiny_digits.sig",
            *package,
            "mindspore/1.9/net_cifar10.md",
            "mindspore/1.9/net_cifar10.report.html",
            "mindspore/2.0/net_cifar10.md",
            "mindspore/2.0/net_cifar10.report.html",
        ]
    )
    assert verification.verify(made / "lab/2.8/tiny_digits").ok


def test_the_index_for_machines_tells_what_is_measured_and_what_is_claimed(dist, made):
    index = json.loads((made / "index.json").read_bytes())
    assert (index["kind"], index["format"]) == ("hubpkg site", 1)
    other, tiny, first, second = index["entries"]
    contents = read_manifest(dist / "tiny_digits")
    top1 = contents["evaluation"]["top1"]["percent"]
    assert (tiny["path"], tiny["state"], other["state"]) == ("lab/2.8/tiny_digits", "verified", "failed")
    assert tiny["metric"] == {"name": "top1", "value": top1, "measured": True}
    assert first["metric"] == {"name": "top1acc", "value": 70.5, "measured": False}
    assert second["metric"] is None
    assert (first["publisher"], first["version"], first["dataset"]) == ("mindspore", "1.9", "cifar10")
    assert (second["updated"], second["dataset"]) == ("2024-01-05", "mnist, coco")
    for entry in index["entries"]:
        for key in ("page", "card", "badge", "manifest"):
            assert entry[key] is None or (made / entry[key]).is_file()
    assert (other["card"], other["manifest"]) == (None, None)


def test_pages_lead_back_to_the_index_and_to_files_that_are_there(made):
    for path in made.rglob("*.report.html"):
        text = path.read_text(encoding="utf-8")
        links = [link for link in re.findall(r'href="([^"]+)"', text) if not re.match(r"#|https?:|data:", link)]
        assert "../../index.html" in links
        for link in links:
            assert (path.parent / link).is_file(), f"{path}: {link}"


def test_what_does_not_verify_says_so_and_hands_nothing_on(made):
    text = (made / "else/2.8/other_mnist.report.html").read_text(encoding="utf-8")
    assert "This package does not verify" in text
    assert 'href="other_mnist/' not in text


def test_a_badge_tells_the_metric_only_of_what_verifies(dist, made):
    badge = (made / "lab/2.8/tiny_digits.badge.svg").read_text(encoding="utf-8")
    top1 = read_manifest(dist / "tiny_digits")["evaluation"]["top1"]["percent"]
    told = f"hubpkg: top-1 accuracy {top1:.2f} %, verified"
    assert fromstring(badge).get("aria-label") == told  # noqa: S314 - ours
    other = (made / "else/2.8/other_mnist.badge.svg").read_text(encoding="utf-8")
    assert fromstring(other).get("aria-label") == "hubpkg: not verified"  # noqa: S314 - ours


def test_a_card_s_page_shows_metadata_and_findings_and_no_script(made):
    text = (made / "mindspore/1.9/net_cifar10.report.html").read_text(encoding="utf-8")
    assert "<dt>model-name</dt><dd>net_cifar10</dd>" in text
    assert "<strong>S0" in text
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    index = (made / "index.html").read_text(encoding="utf-8")
    assert "<script>alert" not in index


def test_the_same_folder_gives_the_same_bytes(dist, made, tmp_path):
    site.write(site.read(dist), tmp_path / "again", print)
    assert files_in(tmp_path / "again") == files_in(made)
    for name in files_in(made):
        assert (tmp_path / "again" / name).read_bytes() == (made / name).read_bytes()


def test_only_what_changed_is_read_again(tmp_path):
    drawn.card(tmp_path, "a/1/one")
    drawn.card(tmp_path, "a/1/two")
    before = site.read(tmp_path)
    drawn.card(tmp_path, "a/1/two", summary="Another one, longer")
    after = site.read(tmp_path, earlier=before)
    assert after.entries[0] is before.entries[0]
    assert after.entries[1].facts["summary"] == "Another one, longer"


def test_a_site_replaces_a_site_and_nothing_else(tmp_path):
    drawn.card(tmp_path / "cards", "a/1/one")
    found = site.read(tmp_path / "cards")
    out = tmp_path / "out"
    out.mkdir()
    site.write(found, out, print)
    site.write(found, out, print)
    (out / "index.json").write_text("{}", encoding="utf-8")
    with pytest.raises(HubpkgError, match=r"out: expected a site that may be replaced, or nothing, found something el"):
        site.write(found, out, print)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cards", "out"]


def test_a_site_that_fails_half_way_leaves_the_earlier_one(tmp_path):
    drawn.card(tmp_path / "cards", "a/1/one")
    found = site.read(tmp_path / "cards")
    site.write(found, tmp_path / "out", print)
    before = files_in(tmp_path)

    def fail():
        raise OSError(28, "No space left on device")

    broken = entries.Entry("b/1/c", tmp_path, (), found.entries[0].facts, {"b/1/c.report.html": fail})
    with pytest.raises(OSError, match="No space"):
        site.write(site.Site((*found.entries, broken)), tmp_path / "out", print)
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("uid", ["../../tiny_digits", "lab/2.8/another", "lab/2 8/tiny_digits"])
def test_a_package_is_put_nowhere_but_at_its_name(uid, tmp_path):
    package = drawn.package(tmp_path / "dist")
    contents = read_manifest(package) | {"uid": uid}
    assembly.finish(package, contents)
    drawn.card(tmp_path / "dist", "a/1/one")
    found = site.read(tmp_path / "dist")
    assert [entry.path for entry in found.entries] == ["a/1/one"]
    (reason,) = found.left_out
    assert reason.reason.endswith(f"uid: expected <publisher>/<version>/tiny_digits, found {uid!r}")


@pytest.mark.parametrize(
    ("card", "reason"),
    [
        ("n" * 245, "expected names of at most 255 bytes, and 1024 with their folders, found a longer one, nnn"),
        ("/".join(["f" * 200] * 6), "expected names of at most 255 bytes, and 1024 with their folders, found a longer"),
        ("index.html/card", "expected nothing else at index.html in the site, found the site's own; move or rename"),
        ("one.report.html/card", "expected nothing else at one.report.html in the site, found {}/one.md; move"),
        ("lab/2.8/tiny_digits/extra", "expected nothing else at lab/2.8/tiny_digits in the site, found {}/a/tiny_digi"),
        ("lab/2.8/tiny_digits.badge.svg/x", "expected nothing else at lab/2.8/tiny_digits.badge.svg in the site, fo"),
    ],
    ids=["long name", "long path", "index", "page", "inside a package", "badge"],
)
def test_a_card_that_has_no_place_is_told_in_a_line_and_left_out(card, reason, two, tmp_path):
    folder = shutil.copytree(two, tmp_path / "dist")
    drawn.card(folder, card)
    found = site.read(folder)
    assert [entry.path for entry in found.entries] == ["lab/2.8/tiny_digits", "one"]
    (told,) = map(str, found.left_out)
    assert told.startswith(f"{folder}/{card}.md: left out: {reason.format(folder)}")
    assert "\n" not in told
    site.write(found, tmp_path / "out", print)
    assert (tmp_path / "out/one.report.html").is_file()
    (folder / f"{card}.md").unlink()
    assert site.read(folder, earlier=found).left_out == ()


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A package and a card."""
    folder = tmp_path_factory.mktemp("two")
    drawn.package(folder / "a")
    drawn.card(folder, "one")
    return folder


def test_of_two_packages_of_one_name_one_that_verifies_is_shown(two, tmp_path):
    folder = shutil.copytree(two, tmp_path / "dist")
    second = shutil.copytree(folder / "a", folder / "b") / "tiny_digits"
    found = site.read(folder)
    (told,) = found.left_out
    assert told.source == second
    assert f"expected nothing else at lab/2.8/tiny_digits in the site, found {folder}/a/tiny_digits" in str(told)
    with next((folder / "a/tiny_digits").glob("*.ckpt")).open("ab") as file:
        file.write(b"more")
    again = site.read(folder, earlier=found)
    assert (again.count("verified"), [each.source.parent.name for each in again.left_out]) == (1, ["a"])
    shutil.rmtree(folder / "a")
    last = site.read(folder, earlier=again)
    assert (last.count("verified"), last.left_out) == (1, ())


def test_a_name_of_two_lines_is_told_in_one(tmp_path):
    drawn.card(tmp_path, "one")
    drawn.card(tmp_path, "index.html/a\nb")
    (told,) = map(str, site.read(tmp_path).left_out)
    assert told.startswith(f"{tmp_path}/index.html/a\\nb.md: left out: ")


def test_a_package_called_as_if_it_were_another_s_chinese_card_is_listed(tmp_path):
    drawn.package(tmp_path, images=20)
    drawn.package(tmp_path, name="tiny_digits_cn", images=20)
    assert [facts["chinese"] for facts in site.read(tmp_path).listed] == [None, None]


def test_a_chinese_card_is_its_english_card_s_second_page(tmp_path):
    drawn.card(tmp_path / "cards", "a/1/one")
    drawn.card(tmp_path / "cards", "a/1/one_cn")
    drawn.card(tmp_path / "cards", "a/1/alone_cn")
    site.write(site.read(tmp_path / "cards"), tmp_path / "out", print)
    index = json.loads((tmp_path / "out/index.json").read_bytes())["entries"]
    assert [(entry["path"], entry["chinese"]) for entry in index] == [
        ("a/1/alone_cn", None),
        ("a/1/one", "a/1/one_cn.report.html"),
    ]
    assert 'class="card-text" lang="zh"' in (tmp_path / "out/a/1/one_cn.report.html").read_text(encoding="utf-8")


def test_a_claim_below_zero_is_read_as_one(tmp_path):
    drawn.card(tmp_path, "one", evaluation="avgReward-9.11")
    (entry,) = site.read(tmp_path).entries
    assert entry.facts["metric"] == {"name": "avgReward", "value": -9.11, "measured": False}


def test_hosts_are_told_to_run_nothing_in_files_of_packages_and_no_page_leads_to_such_a_file(tmp_path):
    package = drawn.package(tmp_path / "dist")
    for name in ("evil.HTML", "evil.shtml", "evil.svgz"):
        (package / "tiny" / name).write_text("<script>alert(1)</script>", encoding="utf-8")
    assembly.finish(package, read_manifest(package))
    found = site.read(tmp_path / "dist")
    assert found.count("verified") == 1
    headers = found.files["_headers"]().decode()
    assert f"/:publisher/:version/:package/*\n  Content-Security-Policy: {site.SANDBOX}\n" in headers
    page = found.files["lab/2.8/tiny_digits.report.html"]().decode()
    assert "tiny/evil.HTML" in page
    assert not re.search(r'href="tiny_digits/[^"]*\.(s?html|svgz?)"', page, re.IGNORECASE)


def test_a_link_in_a_package_is_not_followed(tmp_path):
    package = drawn.package(tmp_path / "dist")
    (package / "evidence" / "training.svg").unlink()
    (package / "evidence" / "training.svg").symlink_to("/etc/hostname")
    found = site.read(tmp_path / "dist")
    assert found.count("failed") == 1
    assert [name for name in found.files if name.startswith("lab/2.8/tiny_digits/")] == []


def test_an_odd_name_or_odd_bytes_are_shown_as_they_are(tmp_path):
    drawn.card(tmp_path / "cards", 'ä "b" & <c>/1/x#y?z%20')
    file = drawn.card(tmp_path / "cards", "a/1/one")
    file.write_bytes(file.read_bytes() + b"\xff\xfe text\n")
    site.write(site.read(tmp_path / "cards"), tmp_path / "out", print)
    assert "� text" in (tmp_path / "out/a/1/one.report.html").read_text(encoding="utf-8")
    text = (tmp_path / "out" / 'ä "b" & <c>' / "1" / "x#y?z%20.report.html").read_text(encoding="utf-8")
    assert 'href="x%23y%3Fz%2520.md"' in text


def test_a_pipe_among_the_cards_is_told_and_left_out(tmp_path):
    drawn.card(tmp_path, "a/1/one")
    os.mkfifo(tmp_path / "a" / "1" / "two.md")
    found = site.read(tmp_path)
    (told,) = found.left_out
    assert "two.md: expected a file, found a pipe" in str(told)


def test_a_card_that_is_a_link_shows_no_file_of_this_machine(tmp_path):
    drawn.card(tmp_path, "a/1/one")
    (tmp_path / "a" / "1" / "two.md").symlink_to("/etc/passwd")
    found = site.read(tmp_path)
    (told,) = found.left_out
    assert str(told) == f"{tmp_path}/a/1/two.md: left out: expected a file, found a link"
    assert [entry.path for entry in found.entries] == ["a/1/one"]
    assert site.read(tmp_path, earlier=found).left_out[0] is told


def test_the_command_counts_what_it_made(dist, hubpkg, tmp_path):
    done = hubpkg("site", dist, "--out", tmp_path / "site", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        "site": str(tmp_path / "site"),
        "verified": 1,
        "not_verified": 1,
        "cards": 2,
        "left_out": [],
    }


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["site", "none"], "none: expected a folder of packages or cards, found none"),
        (["site", "empty"], "empty: expected packages or cards, found none"),
        (["site", "empty", "--out", "empty/site"], "--out: expected a folder beside empty, found empty/site"),
        (["serve", "none"], "none: expected a folder of packages or cards, found none"),
        (["serve", "full", "--port", "70000"], "--port: expected 0 to 65535, found 70000"),
    ],
)
def test_what_can_not_be_shown_is_said_in_one_line(arguments, words, hubpkg, tmp_path):
    (tmp_path / "empty").mkdir()
    drawn.card(tmp_path / "full", "a/1/one")
    done = hubpkg(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words in done.stderr
