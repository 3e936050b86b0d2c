"""A model's folder that ``hubpkg init`` writes, from answers or from a card."""

import ast
import errno
import io
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import CORPUS

from hubpkg import entrypoint, scaffold, spec
from hubpkg.cli import main
from hubpkg.errors import HubpkgError

CARD = """# Tiny

---

model-name: tiny

backbone-name: tinynet

module-type: nlp

fine-tunable: True

model-version: 2.5

train-dataset: ImageNet2012

evaluation: top1acc70.5 | top5acc90

author: A publisher

repo-link: <https://example.com/a/b/tree/main/tiny>

user-id: somebody

used-for: inference

asset:

-
    file-format: ckpt
    asset-link: <https://example.com/assets/tiny-0123abcd.ckpt>
    asset-sha256: 0123abcd

license: MIT

---

# Tiny: a model

> [Tiny](https://example.com/paper)

## Introduction

What it is.

## Performance
"""


pytestmark = pytest.mark.usefixtures("place")


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def init(name, *, start=None, ask=None, **given):
    return scaffold.make(
        name, {key.replace("_", "-"): value for key, value in given.items()}, start, Path("models"), ask
    )


@pytest.mark.parametrize("name", ["tiny", "3d-net.v2", "123", "no"])
def test_what_is_written_is_a_model_of_python_that_parses(place, name):
    made = init(name)
    assert made.missing == ()
    read = spec.read_spec(name)
    assert (read.folder, read.uid) == (made.folder, f"anonymous/2.8/{name}_digits")
    for file in made.folder.glob("*.py"):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        imported = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
        siblings = {path.stem for path in made.folder.glob("*.py")}
        assert imported <= siblings | {"mindspore", "pathlib"}
    entrypoint.check((made.folder / entrypoint.FILE).read_bytes(), entrypoint.FILE)
    assert [path.name for path in (place / "models").iterdir()] == [name]


def test_what_is_written_is_formatted_and_has_no_lint():
    init("tiny")
    ruff = Path(sys.executable).with_name("ruff")
    if not ruff.exists():
        pytest.skip("ruff is not installed here")
    for command in (["format", "--check"], ["check"]):
        done = subprocess.run([ruff, *command, "--line-length=120", "models"], capture_output=True, check=False)
        assert done.returncode == 0, done.stdout


def test_options_and_answers_take_the_place_of_defaults(monkeypatch, capsys):
    monkeypatch.setattr("sys.stdin", iter_lines("", "About it: wrong", "What it does", "A group", "", "lab", "MIT"))
    assert main(["init", "tiny", "--user-id", "group"]) == 0
    fields = spec.read_spec("tiny").fields
    found = {key: fields[key] for key in (*scaffold.QUESTIONS, "repo-link")}
    assert found == {
        "title": "tiny",
        "summary": "What it does",
        "author": "A group",
        "user-id": "group",
        "publisher": "anonymous",
        "license": "lab",
        "repo-link": "https://example.com/anonymous/models/tree/main/tiny",
    }
    told = capsys.readouterr()
    assert told.out == "models/tiny\n"
    assert 'found "About it: wrong"' in told.err
    assert told.err.endswith("build it with: hubpkg build tiny\n")


def iter_lines(*lines):
    return io.StringIO("".join(f"{line}\n" for line in lines))


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["Tiny", "--yes"], "expected a name of lower-case letters"),
        (["../tiny", "--yes"], "expected a name of lower-case letters"),
        (["tiny", "--yes", "--repo-link", "nowhere"], "--repo-link: expected https://<host>.com/"),
        (["tiny", "--yes", "--from", "nowhere.md"], "nowhere.md: expected a readable card"),
        (["tiny", "--yes", "--from", "bad.md"], "bad.md: expected a front matter"),
        (["there", "--yes"], "models/there: expected no such folder, found one"),
        (["tiny"], "expected an answer on standard input, found its end"),
    ],
)
def test_a_mistake_gets_one_line_and_nothing_is_left(place, monkeypatch, capsys, arguments, expected):
    (place / "models" / "there").mkdir(parents=True)
    (place / "bad.md").write_text("no card", encoding="utf-8")
    monkeypatch.setattr("sys.stdin", iter_lines())
    assert main(["init", *arguments]) == 2
    (line,) = capsys.readouterr().err.removeprefix("title [tiny]: ").splitlines()
    assert expected in line
    assert [path.name for path in (place / "models").iterdir()] == ["there"]


def test_an_interrupted_question_leaves_nothing(place):
    def ask(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        init("tiny", ask=ask)
    assert not (place / "models").exists()


def test_a_disk_that_is_full_leaves_nothing(place, monkeypatch):
    rendered = scaffold.card.rendered

    def full(template, values):
        if template.endswith("recipes/digits.yaml.j2"):
            raise OSError(errno.ENOSPC, "No space left on device")
        return rendered(template, values)

    monkeypatch.setattr(scaffold.card, "rendered", full)
    with pytest.raises(OSError, match="No space left"):
        init("tiny")
    assert list((place / "models").iterdir()) == []


def test_a_card_gives_what_it_has_and_what_it_lacks_is_said(place):
    file = place / "lab" / "2.5" / "tiny_imagenet2012.md"
    file.parent.mkdir(parents=True)
    file.write_text(CARD, encoding="utf-8")
    made = init("tiny", start=file)
    read = spec.read_spec("tiny")
    wanted = {
        "title": "Tiny, a model",
        "backbone-name": "tinynet",
        "module-type": "nlp",
        "model-version": "2.5",
        "author": "A publisher",
        "publisher": "lab",
        "repo-link": "https://example.com/a/b/tree/main/tiny",
        "asset-base-url": "https://example.com/assets/",
        "license": "MIT",
        "paper": {"title": "Tiny", "link": "https://example.com/paper"},
        "introduction": "What it is.",
    }
    assert {key: read.fields[key] for key in wanted} == wanted
    assert read.fields["datasets"]["imagenet2012"] == {
        "train-dataset": "ImageNet2012",
        "checkpoint": {"links": ["<https://example.com/assets/tiny-0123abcd.ckpt>"], "sha256": "0123abcd"},
        "reported": [{"source": "the card that this model was begun from", "top1": 70.5, "top5": 90}],
    }
    assert [sentence.partition(":")[0] for sentence in made.missing] == [
        "summary",
        "network",
        "recipes/imagenet2012.yaml",
        "asset-sha256",
    ]
    assert init("other", start=file, summary="Known").missing == made.missing[1:]


@pytest.mark.parametrize(
    ("old", "new", "missing"),
    [
        ("license: MIT\n\n", "", 'license: expected it on the card, found none; it is "Apache-2.0" now'),
        ("fine-tunable: True", "fine-tunable: maybe", "fine-tunable: expected true or false, found"),
        ("train-dataset: ImageNet2012\n\n", "", "train-dataset: expected it on the card, found none"),
        ("file-format: ckpt", "file-format: air", "asset: expected a checkpoint on the card, found none"),
        ("> [Tiny](https://example.com/paper)", "", "paper: expected it on the card, found none; it is left out"),
        ("0123abcd\n", "0123\n", "checkpoint.sha256: expected 64 lower-case hex digits"),
        ("ImageNet2012", "digits", "network: "),
    ],
)
def test_what_a_card_lacks_leaves_a_model_all_the_same(place, old, new, missing):
    (place / "card.md").write_text(CARD.replace(old, new), encoding="utf-8")
    made = init("tiny", start=place / "card.md")
    assert any(sentence.startswith(missing) for sentence in made.missing), made.missing
    spec.read_spec("tiny")


@pytest.mark.corpus
def test_every_card_of_the_hub_begins_a_model_or_is_refused_in_one_line():
    for number, file in enumerate(sorted(CORPUS.rglob("*.md"))[::20]):
        refused = None
        try:
            init(f"m{number}", start=file)
        except HubpkgError as error:
            refused = str(error)
        if refused is None:
            spec.read_spec(f"m{number}")
        else:
            assert len(refused.splitlines()) == 1
