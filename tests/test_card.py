"""A card's text, the grammar of ``evaluation``, and the rendering from a manifest."""

import copy
import json
import re
from pathlib import Path

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hubpkg import card, documents
from hubpkg.errors import HubpkgError, InvalidDocumentError

HERE = Path(__file__).parent
MANIFEST = json.loads((HERE / "data" / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture
def contents():
    return copy.deepcopy(MANIFEST)


@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
def test_a_card_is_front_matter_and_body(ends):
    text = ends.join(
        ["# a", "", "---", "", "model-version: 2.10", "asset: [b]", "---", "", "# Title", "\x0c\u2028---x"]
    )
    read = card.parse(text, "card.md")
    assert read.fields == {"model-version": "2.10", "asset": ["b"]}
    assert read.body == ends.join(["", "# Title", "\x0c\u2028---x"])
    assert read.document.place(("model-version",)) == "card.md:5:1"
    assert read.document.place(("asset", 0)) == "card.md:6:9"


@pytest.mark.parametrize("heading", ["# a\x0cb", "# a\x1cb", "# a\x0bb"])
def test_lines_are_counted_as_editors_do(heading):
    assert card.parse(f"{heading}\n---\na: 1\n---\n", "card.md").document.place(("a",)) == "card.md:3:1"


def test_a_card_that_cannot_be_read(tmp_path):
    with pytest.raises(HubpkgError, match=r"a\.md: expected a readable card, found: No such file"):
        card.read(tmp_path / "a.md")
    (tmp_path / "b.md").write_bytes(b"---\na: \xff\n---\n")
    with pytest.raises(HubpkgError, match=r"b\.md: expected a card in UTF-8, found other bytes"):
        card.read(tmp_path / "b.md")


TEXT = st.text(st.characters(exclude_categories=[]))
LINES = st.lists(st.sampled_from(["---\n", "a: 1\n", "- b\n", "-\n", "\r", "\u2028---\n", "a: :\n"]) | TEXT).map(
    "".join
)


@settings(deadline=None, max_examples=300)
@given(TEXT | LINES | LINES.map("---\n{}\n---\n".format))
def test_any_text_is_a_card_or_an_error_of_one_line(text):
    try:
        read = card.parse(text, "card.md")
    except InvalidDocumentError as error:
        (fault,) = error.faults
        assert fault.startswith("card.md:")
        assert "\n" not in fault
    else:
        assert text.endswith(read.body)
        assert isinstance(read.fields, dict)


METRICS = st.dictionaries(
    st.from_regex(r"[^\s|]*[^\s|\d.-]", fullmatch=True), st.decimals(-(10**6), 10**6, places=2).map(float), min_size=1
)


@settings(deadline=None, max_examples=300)
@given(METRICS)
def test_metrics_are_read_as_they_were_written(metrics):
    measured = {"metrics": {name: {"value": value, "unit": "%"} for name, value in metrics.items()}}
    assert card.parse_evaluation(card.format_evaluation(measured)) == metrics


@pytest.mark.parametrize(
    ("text", "metrics"),
    [
        ("top1acc77.27 | top5acc93.56", {"top1acc": 77.27, "top5acc": 93.56}),
        ("acc77|f10.5", {"acc": 77, "f": 10.5}),
        ("2Dprojection99.7", {"2Dprojection": 99.7}),
        ("TRP@FAR=1%:98.53", {"TRP@FAR=1%:": 98.53}),
        ("mAP@.5IoU60.6", {"mAP@.5IoU": 60.6}),
        ("100%-EER:98.73", {"100%-EER:": 98.73}),
        ("acc1.72e-05", {"acc": 1.72e-05}),
        ("avgReward-9.11 | top-1acc77", {"avgReward": -9.11, "top-1acc": 77}),
        ("MSE1.235e+06", {"MSE": 1.235e6}),
    ],
)
def test_the_grammar_of_evaluation(text, metrics):
    assert card.parse_evaluation(text) == metrics


@pytest.mark.parametrize("text", ["", "77.27", "acc", "acc 77", "acc77 |", "acc77 | acc78", "a.5", "acc-"])
def test_what_is_no_evaluation(text):
    with pytest.raises(
        HubpkgError, match=r"^evaluation: expected parts such as 'top1acc77\.27', each metric once, found"
    ):
        card.parse_evaluation(text)


def test_a_rendered_card_fits_the_schema_and_says_what_the_manifest_does(contents):
    text = card.render(contents)
    read = card.parse(text, "tiny_digits.md")
    documents.check(read.document, "card")
    assert read.fields["model-name"] == "tiny"
    assert read.fields["model-version"] == "2.10"
    assert read.fields["mindspore-version"] == "2.10.0"
    assert read.fields["update-time"] == "2025-03-10"
    assert card.parse_evaluation(read.fields["evaluation"]) == {"top1acc": 98.61, "top5acc": 100.0}
    assert read.fields["asset"] == [
        {
            "file-format": "ckpt",
            "asset-link": "<https://example.com/assets/tiny-01234567.ckpt>",
            "asset-sha256": "01234567" * 8,
        }
    ]
    assert "train-dataset" not in read.fields
    assert "- Not published:" in read.body
    for figure in ("233.86", "273.67", "18.2s", "98.61", "96.79", "99.41", "5.50 ms", "3200.00", "A processor"):
        assert figure in read.body, figure


def test_a_rendered_card_has_the_hubs_form(contents):
    contents["card"]["train-dataset"] = "MNIST"
    contents["published"] = True
    contents["checkpoint"]["source"] = "file"
    lines = card.render(contents).split("\n")
    assert lines[0] == "# tiny"
    assert [number for number, line in enumerate(lines, 1) if line.startswith("---")] == [3, lines.index("---", 3) + 1]
    front = "\n".join(lines[3 : lines.index("---", 3)])
    assert re.search(r"\S\n[\w-]+:", front) is None  # a blank line between keys
    # By the rules of plain YAML too, as the hub's client reads it, versions are text and digests keep their digits.
    plain = yaml.safe_load(front)
    assert plain["model-version"] == "2.10"
    assert plain["asset"][0]["asset-sha256"] == "01234567" * 8
    assert plain["train-dataset"] == "MNIST"
    keys = {"repo-link", "asset", "evaluation"}
    assert [key for key, value in plain.items() if key not in keys and ":" in str(value)] == []
    assert [line for line in lines if line.startswith("#") and line.endswith(":")] == []
    assert "Not published" not in "\n".join(lines)
    assert "The weights were given as a file" in "\n".join(lines)


REPORTED = [
    {"source": "A hub's card", "link": "https://example.com/card", "top1": 98.5, "top5": 98.94},
    {"source": "A list", "top1": 99.41},
]


def test_what_others_report_stands_beside_what_was_measured(contents):
    assert "eported" not in card.render(contents)
    contents["card"]["reported"] = REPORTED
    rows = [line for line in card.render(contents).splitlines() if line.endswith((" within |", " outside |"))]
    assert rows == [
        "| [A hub's card](https://example.com/card) | top1 | 98.5 | 98.61 | 96.79 to 99.41 | within |",
        "| [A hub's card](https://example.com/card) | top5 | 98.94 | 100.00 | 98.94 to 100.00 | outside |",
        "| A list | top1 | 99.41 | 98.61 | 96.79 to 99.41 | outside |",
    ]


LINE = st.text(
    st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters=":") | st.sampled_from(" #'\"-?!&*{}[]%@`"),
    min_size=1,
)
TRICKY = ["yes", "null", "1e-3", "1e5", "12", "0x1F", "2025-03-10", "a #b", " a ", "- a", "---", "~", "=", "<<", "1_0"]


@settings(deadline=None)
@given(st.sampled_from([*TRICKY, "é😀"]) | LINE)
def test_text_in_the_front_matter_is_read_as_it_is_in_the_manifest(text):
    changed = {**MANIFEST, "card": {**MANIFEST["card"], "author": text, "summary": text, "train-dataset": text}}
    rendered = card.render(changed)
    read = card.parse(rendered, "card.md")
    documents.check(read.document, "card")
    plain = yaml.safe_load(rendered.split("\n---\n")[1])
    for key in ("author", "summary", "train-dataset"):
        assert read.fields[key] == text
        assert plain[key] == text


def test_an_unknown_template_is_told(contents):
    contents["template"] = 99
    with pytest.raises(
        HubpkgError, match=r"^template: expected one of hubpkg's card templates, found 99; install a newer"
    ):
        card.render(contents)


SHOWN_OF_THE_RECIPE = {"batch_size", "image_size", "in_channels", "num_classes"}
UNSHOWN = {
    ("format",),
    ("uid",),
    ("files",),
    ("card", "publisher"),
    *(("environment", key) for key in ("commit", "lock", "packages")),
    ("environment", "packages", "numpy"),
    *(("times", *key) for key in ((), ("started",), ("finished",))),
    ("environment", "hubpkg"),
    ("evaluation", "tolerance"),
    ("inputs", "code"),
    ("inputs", "data", "train"),
    *(("inputs", "data", split, key) for split in ("test", "train") for key in ("sha256", "images")),
    *(("inputs", "recipe", key) for key in MANIFEST["inputs"]["recipe"].keys() - SHOWN_OF_THE_RECIPE),
}
OPTIONAL = {*(("card", key) for key in ("paper", "figure", "references")), ("evaluation", "top5")}


def paths(value, path=()):
    """The path of every value in a mapping; the template names the card, and files are listed by name."""
    for key in value if isinstance(value, dict) and path != ("files",) else ():
        if key != "template":
            yield (*path, key)
            yield from paths(value[key], (*path, key))


def test_a_card_that_lacks_a_value_it_shows_is_not_rendered():
    full = card.render(MANIFEST)
    rendered = set()
    for path in paths(MANIFEST):
        place = changed = copy.deepcopy(MANIFEST)
        for key in path[:-1]:
            place = place[key]
        del place[path[-1]]
        if path in OPTIONAL:
            assert card.render(changed) != full
            continue
        try:
            assert card.render(changed) == full
            rendered.add(path)
        except HubpkgError as error:
            assert str(error).startswith("the card's template needs a value that is missing: ")  # noqa: PT017
    assert rendered == UNSHOWN


@pytest.mark.corpus
def test_every_card_of_the_hub_is_read_or_refused_in_words():
    folder = Path(__file__).parents[2] / "shared" / "hub-cards"
    read = 0
    for path in sorted(folder.glob("*/*/*.md")):
        try:
            read += bool(card.read(path).fields)
        except HubpkgError as error:
            assert str(error).startswith(str(path))  # noqa: PT017 - either is right
    assert read > 1800
