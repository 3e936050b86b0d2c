"""The page that shows a package."""

import base64
import hashlib
import json
import random
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from urllib.parse import unquote

import drawn
import pytest
from forging import read_manifest

from hubpkg import assembly, mistakes, pages, predictions, report, verification
from hubpkg.errors import HubpkgError
from hubpkg.predictions import Prediction

SECTIONS = ["figures", "accuracy", "confusion", "classes", "calibration", "mistakes", "latency", "training"]
SECTIONS += ["environment", "checks", "files", "card"]


class Page(HTMLParser):
    """The elements of a page, and the text of its scripts and styles."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.styles, self.scripts, self._inside = [], [], [], ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        self._inside = tag

    def handle_data(self, data):
        if self._inside in ("style", "script"):
            (self.styles if self._inside == "style" else self.scripts).append(data)

    def handle_endtag(self, _):
        self._inside = ""

    @property
    def policy(self):
        (found,) = [each["content"] for _, each in self.elements if each.get("http-equiv") == "Content-Security-Policy"]
        return found

    def values(self, name):
        return [attributes[name] for _, attributes in self.elements if name in attributes]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return drawn.package(tmp_path_factory.mktemp("dist"))


@pytest.fixture(scope="module")
def text(package):
    return rendered(package)


def rendered(package, **options):
    return report.render(package, read_manifest(package), verification.verify(package), **options)


def test_the_report_has_a_section_for_all_that_the_package_holds(text):
    ids = [each for each in Page(text).values("id") if each in SECTIONS]
    assert ids == SECTIONS


def test_each_figure_is_linked_to_a_file_of_the_package(package, text):
    links = [link for link in Page(text).values("href") if not link.startswith(("#", "data:,", "https://"))]
    files = ("predictions.csv", "timing.json", "parameters.csv", "training.jsonl")
    assert {f"tiny_digits/evidence/{name}" for name in files} < set(links)
    assert {"tiny_digits/hubpkg.json", "tiny_digits/tiny_digits.md"} < set(links)
    for link in links:
        assert (package.parent / unquote(link)).is_file(), link


def test_its_links_within_lead_somewhere(text):
    page = Page(text)
    within = {link[1:] for link in page.values("href") if link.startswith("#")}
    assert within - {"card-references"} <= set(page.values("id"))
    assert len(page.values("id")) == len(set(page.values("id")))


def test_it_asks_no_other_host_for_anything(text):
    page = Page(text)
    assert {tag for tag, _ in page.elements} & {"script", "iframe", "object", "embed", "base", "form"} == set()
    for source in page.values("src"):
        assert source.startswith("data:image/")
    (icon,) = [each["href"] for tag, each in page.elements if tag == "link"]
    assert icon == "data:,"
    assert "url(" not in page.styles[0]
    assert "@import" not in page.styles[0]


def test_its_policy_lets_nothing_in_but_its_own_style_sheet_and_pictures(text):
    page = Page(text)
    (style,) = page.styles
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert page.policy == (
        f"default-src 'none'; img-src data:; style-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    assert page.values("style") == []


def test_its_figures_are_the_manifest_s(package, text):
    contents = read_manifest(package)
    top1 = contents["evaluation"]["top1"]
    assert f'{top1["percent"]:.2f}<span class="unit"> %' in text
    assert f"{top1['low']:.2f} to {top1['high']:.2f} of 360" in text
    assert f'{contents["performance"]["latency_p50_ms"]:.2f}<span class="unit"> ms' in text
    assert "Verified</a>" in text


def test_the_same_package_gives_the_same_bytes_wherever_it_lies(package, text, tmp_path):
    elsewhere = shutil.copytree(package, tmp_path / "deep" / package.name)
    assert rendered(elsewhere) == text == rendered(package)


def test_the_card_is_in_it_with_its_pictures(text):
    assert '<h3 id="card-tiny-a-model">Tiny, a model</h3>' in text
    assert "data:image/svg+xml;base64," in text
    assert 'href="tiny_digits/tiny/recipes' not in text  # this package has none


HOSTILE = '<script>alert(1)</script>"><img src=x onerror=alert(1)>'


def test_hostile_text_in_card_and_manifest_stays_text(tmp_path):
    def change(card):
        card |= {"title": HOSTILE, "license": HOSTILE, "summary": HOSTILE, "introduction": HOSTILE}
        card["figure"] |= {"caption": HOSTILE}
        card["dataset"] |= {"title": HOSTILE, "evaluated": HOSTILE}
        card["reported"] = [{"source": HOSTILE, "link": "javascript:alert(1)", "top1": 50.0}]

    contents = read_manifest(drawn.package(tmp_path))
    change(contents["card"])
    contents["environment"]["cpu"] = contents["evaluation"]["engine"]["name"] = contents["uid"] = HOSTILE
    contents["inputs"]["recipe"]["optimizer"] = HOSTILE
    contents["files"][HOSTILE] = {"size": 1, "sha256": HOSTILE}
    package = tmp_path / "tiny_digits"
    (package / "tiny_digits.md").write_text(
        f"# A\n\n---\n\na: b\n\n---\n\n# {HOSTILE}\n\n{HOSTILE}\n", encoding="utf-8"
    )
    log = package / "evidence" / "training.jsonl"
    log.write_text(json.dumps({"step": 1, "loss": 1.0, "lr": HOSTILE}) + f"\n{HOSTILE}\n[]\n", encoding="utf-8")
    page = Page(report.render(package, contents, verification.verify(package)))
    assert "script" not in {tag for tag, _ in page.elements}
    assert not [each for _, each in page.elements if "onerror" in each]
    assert all(source.startswith("data:") for source in page.values("src"))
    assert not [link for link in page.values("href") if "javascript" in link]


def test_predictions_that_are_forged_or_gone_leave_their_sections_out(tmp_path):
    package = drawn.package(tmp_path)
    (package / "evidence" / "predictions.csv").write_text("image,label\n", encoding="utf-8")
    (package / "evidence" / "timing.json").unlink()
    log = package / "evidence" / "training.jsonl"
    log.rename(tmp_path / "elsewhere.jsonl")
    log.symlink_to(tmp_path / "elsewhere.jsonl")
    path, verified = report.make(package)
    assert not verified.ok
    page = path.read_text(encoding="utf-8")
    assert [each for each in Page(page).values("id") if each in SECTIONS] == [
        *("figures", "accuracy", "environment", "checks", "files", "card")
    ]
    assert "This package does not verify" in page
    assert "Not verified</a>" in page


ABSURD = [0, -1, 1e299, -1e299, 1e-320, True, 10**400, None, "x", [], {}, float("nan"), float("inf"), 0.5, 2]


def test_absurd_evidence_makes_a_report_too(tmp_path):
    package = drawn.package(tmp_path, images=20)
    contents, verified = read_manifest(package), verification.verify(package)
    timing, log = (package / "evidence" / name for name in ("timing.json", "training.jsonl"))
    timed = json.loads(timing.read_text(encoding="utf-8"))
    for ms in ([1e308] * 5, [1e308, 1e-320], [5e-324] * 3, [0.0] * 3, [1.0]):
        timed["inference"][0]["ms"] = ms
        timing.write_text(json.dumps(timed), encoding="utf-8")
        assert "Environment" in report.render(package, contents, verified)
    generator = random.Random(0)  # noqa: S311 - no secret
    for _ in range(60):
        one, two, three, four = (generator.choice(ABSURD) for _ in range(4))
        lines = [{"step": 1, "loss": one, "lr": two}, {"step": three, "loss": 2.0}, {"step": 2, "validation": four}]
        lines += [{"step": 3, "validation": {"weights": {"\ud800": one}, "average": two}}, four]
        log.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
        assert b"Environment" in report.render(package, contents, verified).encode()
    for logits in ((1e308, *[-1e308] * 5), (0.0,) * 6, (1e308,) * 6):
        drawn_again = [Prediction(name, 7, (0, 1, 2, 3, 10**30), logits[:5], logits[5]) for name in "ab"]
        predictions.write(package / predictions.FILE, drawn_again)
        assert "The evidence can't tell how sure" in report.render(package, contents, verified)
        summed = [replace(each, log_sum=max(1e308, logits[0])) for each in drawn_again]
        predictions.write(package / predictions.FILE, summed)
        assert "Its expected calibration error is" in report.render(package, contents, verified)


def test_a_thousand_classes_stay_readable(tmp_path):
    text = rendered(drawn.package(tmp_path, classes=1000, images=3000, right=0.7))
    assert 'class="matrix"' not in text
    assert "Of 1,000 classes, these pairs are confused most." in text
    assert "over 1,000 classes; those with the least are named" in text
    assert re.search(r"Its expected calibration error is <strong>\d+\.\d %</strong>.*in 10 equal steps of con", text)
    assert len(text) < 250_000


def test_metrics_of_another_kind_have_no_sections_of_classes(package):
    contents = read_manifest(package)
    for name in ("top1", "top5", "close"):
        del contents["evaluation"][name]
    del contents["inputs"]["recipe"]["num_classes"]
    text = report.render(package, contents, verification.verify(package))
    found = [each for each in Page(text).values("id") if each in SECTIONS]
    assert found == ["figures", "latency", "training", "environment", "checks", "files", "card"]


def test_pictures_of_mistakes_are_shown_where_the_package_has_them(package, text, tmp_path):
    assert "The package holds no pictures of them." in text
    copy = shutil.copytree(package, tmp_path / package.name)
    first, *others = re.findall(r'<th scope="row">(\d{4})</th>', text)
    assert 0 < len(others) < 24
    right = next(name for name in map("{:04d}".format, range(360)) if name not in {first, *others})
    mistakes.write(copy / mistakes.FILE, {first: PNG, right: PNG + b"of another"})
    assembly.finish(copy, read_manifest(copy))
    shown = rendered(copy)
    assert shown.count('src="data:image/png;base64,') == 1
    assert f'alt="The image {first}"' in shown
    assert 'href="tiny_digits/evidence/mistakes.json"' in shown
    assert f'<th scope="row">{first}</th>' not in shown
    mistakes.write(copy / mistakes.FILE, {right: PNG})
    assert "The package holds no pictures of them." in rendered(copy)


PNG = b"\x89PNG\r\n\x1a\n"


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"[]", b"{}", b'{"images": 3}', b'{"images": {"a": 3}}', b'{"images": {"a": "-"}}', b"[" * 10**5]
)
def test_what_is_no_file_of_pictures_shows_none(raw):
    assert mistakes.read(raw) == {}
    assert mistakes.read(b'{"images": {"a": "PHN2Zz48L3N2Zz4="}}') == {}  # not PNG


def test_it_lies_beside_the_package_and_is_written_only_if_it_changed(package, tmp_path):
    copy = shutil.copytree(package, tmp_path / package.name)
    path, _ = report.make(copy)
    assert path == tmp_path / "tiny_digits.report.html"
    (tmp_path / "plain").touch()
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "plain").unlink()
    before = path.stat().st_mtime_ns
    report.make(copy)
    assert path.stat().st_mtime_ns == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["tiny_digits", "tiny_digits.report.html"]


def test_a_report_that_can_not_be_written_leaves_nothing_behind(package, tmp_path):
    copy = shutil.copytree(package, tmp_path / package.name)
    report.path_of(copy).mkdir()
    with pytest.raises(OSError, match="directory"):
        report.make(copy)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["tiny_digits", "tiny_digits.report.html"]


def test_without_a_manifest_there_is_no_report(tmp_path):
    (tmp_path / "a").mkdir()
    with pytest.raises(HubpkgError, match=r"a: expected a package's folder, found no hubpkg\.json in it"):
        report.make(tmp_path / "a")


def test_the_command_prints_the_path_and_tells_what_does_not_verify(package, hubpkg, tmp_path):
    copy = shutil.copytree(package, tmp_path / "dist" / package.name)
    done = hubpkg("report", cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{report.path_of(copy)}\n", "")
    (copy / "evidence" / "parameters.csv").write_text("name,shape,dtype,trainable\n", encoding="utf-8")
    done = hubpkg("report", copy, "--json")
    assert done.returncode == 1
    assert json.loads(done.stdout)["ok"] is False
    assert f"{copy}: FAIL files: evidence/parameters.csv: sha256: expected" in done.stderr


@pytest.mark.parametrize("module", ["nh3", "markdown_it"])
def test_a_plain_install_says_what_a_report_needs(module, package):
    code = f"import sys; sys.modules['{module}'] = None; from hubpkg.cli import main; sys.exit(main(sys.argv[1:]))"
    done = subprocess.run([sys.executable, "-c", code, "report", package], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1, done.stderr
    assert "pip install 'hubpkg[report]'" in done.stderr
    assert not report.path_of(package).exists()


def test_a_page_s_script_is_the_only_one_that_may_run():
    values = {"entries": [], "choices": {}, "states": {}, "site": type("Site", (), {"count": lambda *_: 0})()}
    text = pages.render("site.html.j2", values | {"page_suffix": ""}, "let a = 1 < 2;")
    digest = base64.b64encode(hashlib.sha256(b"let a = 1 < 2;").digest()).decode()
    assert f"script-src 'sha256-{digest}'" in Page(text).policy
    assert "<script>let a = 1 < 2;</script>" in text
    assert "connect-src" not in text
    asking = pages.render("site.html.j2", values | {"page_suffix": ""}, "a", connects=True)
    assert "connect-src 'self'" in Page(asking).policy


def test_a_manifest_that_is_a_link_is_not_followed(package, tmp_path):
    elsewhere = (package / "hubpkg.json").rename(tmp_path / "elsewhere.json")
    (package / "hubpkg.json").symlink_to(elsewhere)
    with pytest.raises(HubpkgError, match=r"found no hubpkg.json in it, or a link"):
        report.make(package)
