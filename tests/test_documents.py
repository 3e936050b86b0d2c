"""YAML documents and their places, and the examples: what fits the schemas, and what is said of what does not."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubpkg import card, documents
from hubpkg.documents import Document
from hubpkg.errors import HubpkgError, InvalidDocumentError

HERE = Path(__file__).parent
EXAMPLES = sorted(path for path in HERE.glob("examples/*/*"))
INVALID_EXAMPLES = sorted(path for path in HERE.glob("invalid-examples/*/*") if not path.name.endswith(".errors.txt"))
ERRORS = set(HERE.glob("invalid-examples/*/*.errors.txt"))


def check_example(path):
    if path.parent.name == "card":
        documents.check(card.read(path).document, "card")
    else:
        documents.read(path, path.parent.name)


def name_of(path):
    return f"{path.parent.name}/{path.name}"


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_an_example_fits_its_schema(path):
    check_example(path)


@pytest.mark.parametrize("path", INVALID_EXAMPLES, ids=name_of)
def test_an_invalid_example_has_the_errors_in_the_file_beside_it(path):
    with pytest.raises(HubpkgError) as caught:
        check_example(path)
    expected = path.with_suffix(".errors.txt").read_text(encoding="utf-8")
    assert str(caught.value).replace(str(path), path.name) + "\n" == expected


def test_every_kind_has_examples_and_every_file_of_errors_an_example():
    assert {path.parent.name for path in EXAMPLES} == {"card", "model", "recipe"}
    assert {path.parent.name for path in INVALID_EXAMPLES} == {"card", "model", "recipe"}
    assert {path.with_suffix(".errors.txt") for path in INVALID_EXAMPLES} == ERRORS


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("model-version: 2.10", "2.10"),
        ("mindspore-version: 1e3", "1e3"),
        ("update-time: 2025-03-10", "2025-03-10"),
        ("update-time: 2025", "2025"),
        (f"asset-sha256: {'01234567' * 8}", "01234567" * 8),
        (f"asset-sha256: 1e{'5' * 62}", f"1e{'5' * 62}"),
        ("lr: 1e-3", 0.001),
        ("lr: 5E4", 5e4),
        ("lr: -1.5e+2", -150.0),
        ("crop_pct: 1", 1),
        ("title: '1e-3'", "1e-3"),
        ("title: 1e-3-4", "1e-3-4"),
        ("title: 2025-03-10", "2025-03-10"),
        ("title: 2025-99-99", "2025-99-99"),
        ("title: =", "="),
        ("fine-tunable: True", True),
        ("title: \ufeffa", "\ufeffa"),
        ("title: >-\n  folded\n  text", "folded text"),
        ("asset: [a, {b: c}]", ["a", {"b": "c"}]),
    ],
)
def test_a_value_is_read(text, value):
    data = Document(text, "file").data
    assert list(data.values()) == [value]
    assert type(next(iter(data.values()))) is type(value)


def test_places_are_those_of_keys_and_items():
    document = Document("\na: 1\nasset:\n-\n    b: 2\n  # here\n- {c: 3, d: [4,\n  5]}\n", "file", first_line=10)
    assert document.data == {"a": 1, "asset": [{"b": 2}, {"c": 3, "d": [4, 5]}]}
    places = {
        (): "11:1",
        ("a",): "11:1",
        ("asset", 0): "14:5",
        ("asset", 0, "b"): "14:5",
        ("asset", 1, "d"): "16:10",
        ("asset", 1, "d", 1): "17:3",
    }
    assert {path: document.place(path) for path in places} == {path: f"file:{place}" for path, place in places.items()}


def test_the_place_of_what_is_missing_is_that_of_what_should_hold_it():
    assert Document("a:\n  b: 1", "file").place(("a", "c", 0)) == "file:1:1"
    assert Document("", "file").place(("a",)) == "file:1:1"


@pytest.mark.parametrize("text", ["[" * 5000, "a: " * 2 + "{" * 5000, "- " * 5000])
def test_too_many_levels_are_refused(text):
    with pytest.raises(InvalidDocumentError, match="expected YAML; "):
        Document(text, "file")


CHARACTERS = " \t\n\r-:?,[]{}#&*!|>'\"%@`=~<0127.+eExo_\\\0\x07\x85\u2028\ud800\ufeffé😀"
TAGS = [f"!!{name} " for name in ("int", "bool", "float", "timestamp", "binary", "set", "omap", "null", "merge")]
WORDS = [
    "---",
    "...",
    "a",
    "yes",
    "<<",
    ": ",
    "- ",
    "\n  ",
    "\\ud800",
    "\\UFFFFFFFF",
    ".inf",
    "2025-99-99",
    "update-time",
]
YAML_LIKE = st.lists(st.sampled_from([*CHARACTERS, *TAGS, *WORDS])).map("".join)


@settings(deadline=None, max_examples=400)
@given(st.text(st.characters(exclude_categories=[])) | YAML_LIKE | YAML_LIKE.map("a: {}".format))
def test_any_text_is_a_document_or_an_error_of_one_line_that_can_be_printed(text):
    try:
        document = Document(text, "file")
    except InvalidDocumentError as error:
        (fault,) = error.faults
        assert fault.startswith("file:")
        assert "\n" not in fault
        fault.encode()
    else:
        assert isinstance(document.data, dict)
        assert all(fault for _, fault in documents.faults_of(document.data, "model"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values) | st.dictionaries(st.text(), values),
    max_leaves=8,
)
KEYS = st.sampled_from(["model-name", "asset", "evaluation", "recipe", "datasets", "files", "training", "lr", "mean"])


@pytest.mark.parametrize("schema", ["card", "model", "recipe", "manifest", "timing"])
@settings(deadline=None, max_examples=40)
@given(data=JSON | st.dictionaries(KEYS, JSON))
def test_any_value_has_faults_of_one_line(schema, data):
    faults = documents.faults_of(data, schema)
    assert faults  # each schema has keys that must be there
    assert [message for _, message in faults if "\n" in message] == []


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        ({"a": 1}, "a mapping of 1"),
        ([1, 2], "a list of 2"),
        ("é\n", '"é\\n"'),
        (2.5, "2.5"),
        ("x" * 99, '"' + "x" * 56 + "..."),
    ],
)
def test_a_value_is_described(value, text):
    assert documents.describe(value) == text


def test_a_file_that_cannot_be_read_is_an_error_with_its_path(tmp_path):
    with pytest.raises(HubpkgError, match=r"none\.yaml: expected a readable file, found: No such file"):
        documents.read(tmp_path / "none.yaml", "model")
    with pytest.raises(HubpkgError, match="expected a readable file, found: Is a directory"):
        documents.read(tmp_path, "model")
