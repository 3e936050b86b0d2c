"""The documentation: what its pages tell to do works as they are written, and the site has what it should."""

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from collections import defaultdict
from html.parser import HTMLParser
from itertools import product
from pathlib import Path

import drawn
import numpy as np
import pytest
from conftest import LARGE, SMALL
from handmade import Card, git, served
from keys import certify, make_key
from PIL import Image
from safetensors.numpy import save_file

import hubpkg
from hubpkg import arguments, checkpoint, extension, manifest, verification
from hubpkg.cli import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
BLOCKS = re.compile(r"(?P<before>[^\n]*)\n\n```(?P<language>\w+)\n(?P<text>.*?)\n```", re.DOTALL)
FILE = re.compile(r"(?P<end>at the end of )?`(?P<name>[\w/]+\.\w+)`:$")
HOST = "https://models.example.com"  # which is a folder www on loopback
FOLLOWED = ["README.md", *(f"docs/{name}.md" for name in ("install", "tutorial", "lint", "site")), "docs/how-to/"]
PLACEHOLDER = re.compile(r"\b(CARD|DIR|DIST|FILE|MODEL|NAME|PACKAGE)\b")
LEFT_OUT = {
    "pip install hubpkg": "asks a registry",
    "pip install 'hubpkg[build]'": "asks a registry",
    f"python3 dev.py hubpkg build {LARGE}": "test_shipped_model.py builds it",
    "python3 dev.py test": "runs these tests",
    f"hubpkg benchmark {LARGE} --dataset imagenet2012 --jit-level O0 --sweep "
    "image-size=224,320,448,576,704,832,1024": "takes minutes; test_benchmark.py sweeps a small network",
}
WORKERS = re.compile(r"--workers 8|--worker_num=16")  # test_evaluator.py and test_trainer.py start two


@pytest.fixture
def place(shared_cache, tmp_path, monkeypatch):
    """An empty folder to work in, where git knows who commits."""
    monkeypatch.delenv("HUBPKG_MODELS", raising=False)
    monkeypatch.setenv("HUBPKG_CACHE", str(shared_cache))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    (tmp_path / "gitconfig").write_text("[user]\n\tname = A\n\temail = a@example.com\n", encoding="utf-8")
    folder = tmp_path / "place"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def commands(text):
    """The commands of a block, without comments; a line that ends in a backslash goes on in the next one."""
    lines = (" ".join(line.partition(" #")[0].split()) for line in text.replace("\\\n", " ").splitlines())
    return [line for line in lines if line]


def follow(page, capsys, found_by=(), url=HOST):
    """Do what ``page`` says, as it is written; give the commands that ran.

    Args:
        page: the page.
        capsys: pytest's.
        found_by: the commands that find something, and so end with status 1.
        url: what takes the place of :data:`HOST`.
    """
    printed, done = "", []
    for block in BLOCKS.finditer(page.read_text(encoding="utf-8")):
        text, file = f"{block['text']}\n".replace(HOST, url), FILE.search(block["before"])
        if block["language"] == "shell":
            for line in commands(text):
                if line not in LEFT_OUT:
                    printed = run(line, capsys, status=int(line in found_by))
                    done.append(line)
        elif block["language"] == "text":
            for line in text.splitlines():
                assert line in printed.splitlines()
        elif file is not None:
            with Path(file["name"]).open("a" if file["end"] else "x", encoding="utf-8") as written:
                written.write(text)
        elif block["language"] == "python":
            exec(compile(text, page.name, "exec"), {})  # noqa: S102 - what the page tells to run
    assert not set(found_by) - set(done)
    return done


def run(line, capsys, status=0):
    """What the command ``line`` prints; it ends with ``status``."""
    line, _, file = line.partition(" > ")
    program, *given = shlex.split(line)
    if program == "hubpkg":
        capsys.readouterr()
        ended = main(given)
        told = capsys.readouterr()
        assert ended == status, f"{line}: {told.out}{told.err}"
        printed = told.out
    else:
        command = [sys.executable if program == "python" else shutil.which(program), *given]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if file:
        Path(file).write_text(printed, encoding="utf-8")
    return printed


def make_hub(folder):
    """A checkout of a hub with another card."""
    card = folder / "mshub_res/assets/other/1.0/net_x.md"
    card.parent.mkdir(parents=True)
    card.write_text("# Another's\n", encoding="utf-8")
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message=a commit")


def make_cards(folder):
    """Two cards that lack something, and have a space at a line's end that --fix takes away."""
    for name in ("mindspore/1.9/net_cifar10", "mindspore/1.9/other_cifar10"):
        drawn.card(folder, name, text="It is small. \n")


def make_leaf():
    """The tutorial's package, whose stages are those of the tutorial's test."""
    assert main(["init", "leaf", "--yes"]) == 0
    assert main(["build", "leaf"]) == 0


def test_the_tutorial_works_as_it_is_written_from_an_empty_folder(place, capsys):
    page = DOCS / "tutorial.md"
    done = [line.split()[1] for line in follow(page, capsys)]
    assert done == ["init", "build", "verify", "make_shapes.py", "build", "verify"]
    assert verification.verify(place / "dist/leaf_digits").ok
    reached = {
        name: manifest.read(place / f"dist/leaf_{name}" / manifest.NAME)["evaluation"]["top1"]["percent"]
        for name in ("digits", "shapes")
    }
    assert min(reached.values()) > 80, reached
    assert LARGE not in page.read_text(encoding="utf-8")


def test_the_readme_works_and_fits_a_screen(place, capsys):
    page = ROOT / "README.md"
    make_hub(place / "hub")
    (place / "www").mkdir()
    with served(place / "www") as (url, _):
        follow(page, capsys, url=url)
    assert (place / "site/anonymous/2.8/leaf_digits.report.html").is_file()
    assert len(page.read_text(encoding="utf-8").splitlines()) <= 65
    assert "![" in page.read_text(encoding="utf-8")


def test_the_install_page_s_completion_works(place, capsys):
    pytest.importorskip("shtab")
    follow(DOCS / "install.md", capsys)
    assert "verify" in (place / "hubpkg.bash").read_text(encoding="utf-8")


@pytest.mark.skipif(shutil.which("openssl") is None, reason="the page makes a key with openssl")
def test_the_publisher_s_page_works(place, capsys):
    assert main(["init", "leaf", "--yes"]) == 0
    make_hub(place / "hub")
    (place / "www").mkdir()
    with served(place / "www") as (url, _):
        follow(DOCS / "how-to/publisher.md", capsys, url=url)
    contents = manifest.read(place / "dist/leaf_digits" / manifest.NAME)
    assert contents["published"] is True
    assert (place / "cards/huggingface/README.md").is_file()
    assert (place / "dist/leaf_digits.pull-request.txt").is_file()


def test_the_maintainer_s_page_works(place, capsys):
    package = drawn.package(place / "dist")
    make_cards(place / "cards")
    make_key(place, "lab")
    assert main(["sign", str(package), "--private-key", "lab.pem"]) == 0
    found_by = [
        *("hubpkg lint cards --statistics", "hubpkg lint cards --diff", "hubpkg lint cards --fix"),
        *("hubpkg lint cards --target hub", "hubpkg lint cards --format sarif > lint.sarif"),
        "hubpkg lint cards --json > lint.json",
    ]
    follow(DOCS / "how-to/maintainer.md", capsys, found_by)
    assert json.loads((place / "lint.sarif").read_text(encoding="utf-8"))["runs"]
    assert json.loads((place / "lint.json").read_text(encoding="utf-8"))
    assert (place / "site/index.html").is_file()


def test_the_page_on_lint_works(place, capsys):
    make_cards(place / "cards")
    before = [path.read_bytes() for path in (place / "cards").rglob("*.md")]
    follow(DOCS / "lint.md", capsys, ["hubpkg lint cards", "hubpkg lint --diff cards", "hubpkg lint --fix cards"])
    assert before != [path.read_bytes() for path in (place / "cards").rglob("*.md")]


def test_the_page_on_sites_works(place, capsys):
    make_leaf()
    (place / "www").mkdir()
    with served(place / "www") as (url, asked):
        follow(DOCS / "site.md", capsys, url=url)
    assert any(path.endswith(".ckpt") for path in asked)


def test_the_consumer_s_page_works(place, capsys, monkeypatch):
    make_leaf()
    Card(place)
    make_key(place, "leaf")
    assert main(["sign", "dist/leaf_digits", "--private-key", "leaf.pem"]) == 0
    certify(place, "lab-root", make_key(place, "lab-root"))
    assert main(["site", "dist", "--out", "www/hub"]) == 0
    (place / "www/words.txt").write_text("a word a line\n", encoding="utf-8")
    monkeypatch.setenv("HUBPKG_CACHE", str(place / "cache"))
    with served(place / "www") as (url, _):
        follow(DOCS / "how-to/consumer.md", capsys, url=url)


def test_each_command_in_the_docs_is_one_that_hubpkg_takes():
    parser, seen = arguments.parser(defaultdict(lambda: int)), 0
    for page in PAGES:
        for block in BLOCKS.finditer(page.read_text(encoding="utf-8")):
            if block["language"] not in {"shell", "console"}:
                continue
            for line in commands(block["text"]):
                if found := re.fullmatch(r"(\$ |.* -m )?hubpkg (?P<arguments>.*?)( > .*)?", line):
                    try:
                        parser.parse_args(shlex.split(found["arguments"]))
                    except SystemExit:
                        pytest.fail(f"{page.relative_to(ROOT)}: {line}")
                    seen += 1
    assert seen > 50


def not_followed():
    """The commands of the pages that no test above follows."""
    for page in PAGES:
        if not page.relative_to(ROOT).as_posix().startswith(tuple(FOLLOWED)):
            for block in BLOCKS.finditer(page.read_text(encoding="utf-8")):
                yield from commands(block["text"]) if block["language"] == "shell" else ()


def test_each_command_in_the_docs_that_has_no_placeholder_is_run():
    told = [line for line in not_followed() if not PLACEHOLDER.search(line)]
    assert [line for line in told if line not in LEFT_OUT] == []


def test_each_command_in_the_docs_that_has_placeholders_works(place, models, package, capsys, monkeypatch):
    """With a small network and few images, in the order of the pages' names backwards: what is trained is evaluated."""
    monkeypatch.setenv("HUBPKG_MODELS", str(models))
    for number, (split, synset) in enumerate(product(("train", "val"), ("n01440764", "n01443537"))):
        folder = place / "images" / split / synset
        folder.mkdir(parents=True)
        for image in range(8):
            colours = np.random.default_rng([number, image]).integers(0, 256, (40, 40, 3), np.uint8)
            Image.fromarray(colours).save(folder / f"{image}.JPEG")
    (weights,) = package.glob("*.ckpt")
    save_file({name: value.asnumpy() for name, value in checkpoint.load(weights).items()}, place / "theirs.safetensors")
    trained = "runs/xcit_small_imagenet2012.ckpt"
    named = {LARGE: SMALL, "MODEL": SMALL, "DIR": "images", "NAME": "imagenet2012", "37": "2"}
    files = {"train": {"PACKAGE": trained}, "export": {"PACKAGE": str(package)}, "evaluate": {"FILE": trained}}
    files["convert"] = {"FILE": "theirs.safetensors", "imagenet2012": "digits"}
    sizes = {"image_size": 32, "batch_size": 2, "epochs": 4, "warmup_epochs": 1, "decay_epochs": 3}
    small = [f"--set={key}={value}" for key, value in {**sizes, "amp_level": "O0", "loss_scale": "null"}.items()]
    ran = []
    for line in sorted(not_followed(), reverse=True):
        if line in LEFT_OUT or WORKERS.search(line):
            continue
        name = line.split()[1]
        names = {**named, **files[name]}
        words = "".join(names.get(word, word) for word in re.split(r"\b", line))
        run(f"{words} {' '.join(small if name == 'train' else ())}", capsys)
        ran.append(name)
    assert ran == ["train", "train", "train", "export", "evaluate", "convert"]


def test_each_environment_variable_is_told():
    page = (DOCS / "how-to/consumer.md").read_text(encoding="utf-8")
    sources = "".join(file.read_text(encoding="utf-8") for file in (ROOT / "hubpkg").rglob("*.py"))
    used = set(re.findall(r"\bHUBPKG_[A-Z_]+|SOURCE_DATE_EPOCH", sources)) - {"HUBPKG_LAUNCHED"}  # hubpkg's own
    assert "HUBPKG_CACHE" in used
    assert [name for name in used if f"`{name}`" not in page] == []


@pytest.fixture(scope="module")
def hooks():
    """The module docs/hooks.py, which mkdocs loads by its path."""
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_manual_page_is_up_to_date(hooks):
    pytest.importorskip("argparse_manpage")
    page = (DOCS / "hubpkg.1").read_text(encoding="utf-8")
    assert page == hooks.manual(), "run: python3 dev.py manual > docs/hubpkg.1"


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built strictly: a link or an anchor that leads nowhere, or a page left out, is an error."""
    pytest.importorskip("mkdocs")
    out = tmp_path_factory.mktemp("site")
    # With --quiet, warnings would not count.
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", out]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return out


class Page(HTMLParser):
    """What a page asks for by itself, and its text."""

    def __init__(self, file):
        super().__init__()
        self.asked, self.text = [], ""
        self.feed(file.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        if tag != "a":
            self.asked += [value for name, value in attrs if name in {"src", "href", "srcset", "data", "poster"}]

    def handle_data(self, data):
        self.text += data


def test_the_site_asks_no_other_host_for_anything(site):
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(list(DOCS.rglob("*.md")))
    asked = {address for file in pages for address in Page(file).asked}
    assert any(address.endswith(".css") for address in asked)
    assert [address for address in asked if re.match(r"(\w+:)?//", address)] == []
    styles = "".join(file.read_text(encoding="utf-8") for file in site.rglob("*.css"))
    assert not re.search(r"url\([\"']?(https?:)?//|@import", styles)


def test_the_reference_has_each_command_function_and_key(site, hooks):
    reference = {name: Page(site / f"reference/{name}.html").text for name in ("command-line", "schemas")}
    parser = arguments.parser(defaultdict(lambda: int))
    for name, command in hooks.commands(parser).items():
        assert len(command.format_help().splitlines()) <= 40  # a screen
        assert f"usage: hubpkg {name} " in reference["command-line"]
        for action in command._actions:  # noqa: SLF001 - argparse has no other way to them
            assert all(option in reference["command-line"] for option in action.option_strings)
    places = {"hubpkg": {*hubpkg.__all__} - {"__version__", "HubpkgError"}, "hubpkg.extension": extension.__all__}
    python = (site / "reference/python.html").read_text(encoding="utf-8")
    for name in ["hubpkg.errors.HubpkgError", *(f"{place}.{name}" for place in places for name in places[place])]:
        assert f'id="{name}"' in python
    for file in (ROOT / "schemas").glob("*.json"):
        schema = json.loads(file.read_text(encoding="utf-8"))
        assert schema["description"] in reference["schemas"]
        assert [key for key in schema["properties"] if key not in reference["schemas"]] == []
    assert "datasets.*.reported[].source" in reference["schemas"]


# The script of the theme makes these: buttons to copy code in landmarks of one name, and what scrolls wide tables.
OF_THE_THEME = ("landmark-unique", "scrollable-region-focusable")


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")], ids=["desktop", "phone"])
def test_axe_finds_nothing_of_ours_in_the_site(width, scheme, site, browser):
    from axe_playwright_python.sync_playwright import Axe

    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page = context.new_page()
    with served(site) as (url, _):
        for name in ("index", "CONTRIBUTING", "how-to/consumer", "reference/schemas"):  # text, code, a list, tables
            page.goto(f"{url}/{name}.html")
            assert page.evaluate("document.documentElement.scrollWidth") <= width
            found = Axe().run(page, options={"rules": {rule: {"enabled": False} for rule in OF_THE_THEME}})
            assert found.violations_count == 0, f"{name}: {found.generate_report()}"
            assert len(found.response["passes"]) > 20
        context.close()
