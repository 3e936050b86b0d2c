"""Predictions as a file, and as the journal of an evaluation that was stopped."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hubpkg import predictions
from hubpkg.errors import HubpkgError
from hubpkg.predictions import Journal, Output, Prediction

HEADER = "image,label,class1,class2,logit1,logit2\n"
SUMMED = "image,label,class1,class2,logit1,logit2,logsumexp\n"
NUMBERS = "sample,target1,output1\n"
# A carriage return alone is refused when it is read; lone surrogates are no UTF-8.
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"))


@st.composite
def records(draw, images=NAMES):
    """Predictions of different images, all with the same count of classes."""
    width = draw(st.integers(1, 5))
    known = width + (width == 5 and draw(st.booleans()))
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    has_sum = draw(st.booleans())
    return [
        Prediction(
            image,
            draw(st.integers(0, 10**6)),
            tuple(draw(st.lists(st.integers(0, 10**6), min_size=width, max_size=width, unique=True))),
            logits[:width],
            *(logits[width:] or (None,)),
            draw(st.floats(logits[0] + 2, allow_nan=False, allow_infinity=False)) if has_sum else None,
        )
        for image in draw(st.lists(images, min_size=1, max_size=5, unique=True))
        for logits in [tuple(sorted(draw(st.lists(numbers, min_size=known, max_size=known)), reverse=True))]
    ]


@settings(deadline=None)
@given(records())
def test_predictions_are_read_as_they_were_written(tmp_path_factory, written):
    file = tmp_path_factory.getbasetemp() / "predictions.csv"
    predictions.write(file, written)
    assert list(predictions.read(file)) == written
    first = file.read_bytes()
    predictions.write(file, list(predictions.read(file)))
    assert file.read_bytes() == first


OUTPUTS = [Output("a", (1.0, -2.5), (1e-7, 3.0)), Output("b", (0.1, 0.0), (346.0, -1.0))]


def test_outputs_are_read_as_they_were_written(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path))
    file = tmp_path / "predictions.csv"
    predictions.write(file, OUTPUTS)
    assert file.read_text().splitlines()[:2] == ["sample,target1,target2,output1,output2", "a,1.0,-2.5,1e-07,3.0"]
    assert list(predictions.read(file)) == OUTPUTS
    Journal("key").add(OUTPUTS)
    assert list(Journal("key").earlier()) == OUTPUTS


def test_the_form_of_the_file(tmp_path):
    file = tmp_path / "predictions.csv"
    predictions.write(file, [Prediction('a "b",\nc', 3, (3, 1), (1.5, -1e-7), log_sum=1.75)])
    assert file.read_bytes().decode() == f'{SUMMED}"a ""b"",\nc",3,3,1,1.5,-1e-07,1.75\n'
    predictions.write(file, [Prediction("a", 3, (3, 1), (1.5, -1e-7))])  # as it was once
    assert file.read_bytes().decode() == f"{HEADER}a,3,3,1,1.5,-1e-07\n"


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", ":1: expected the header image,label,class1,"),
        ("image,label\n", ":1: expected the header"),
        ("image,label,logit1,class1\n", ":1: expected the header"),
        ("image,label,class1\n", ":1: expected the header"),
        (HEADER + "a,1,1,2,0.5\n", ":2: expected one image's label, 2 different classes"),
        (SUMMED + "a,1,1,2,0.5,0.5,1.193\n", ":2: "),  # the two alone have log(2) more than 0.5, 1.19315
        (HEADER + "a,1,1,2,0.5,0.25\n\n", ":3: "),
        (HEADER + "a,1,1,2,0.5,0.25,0\n", ":2: "),
        (HEADER + "a,1,1,2,0.25,0.5\n", ":2: "),
        (HEADER + "a,1,1,1,0.5,0.25\n", ":2: "),
        (HEADER + "a,1,1,-2,0.5,0.25\n", ":2: "),
        (HEADER + "a,-1,1,2,0.5,0.25\n", ":2: "),
        (HEADER + "a,1,1,2,nan,0.25\n", ":2: "),
        (HEADER + "a,1,1,2,inf,0.25\n", ":2: "),
        (HEADER + "a,1,1,2.0,0.5,0.25\n", ":2: "),
        (HEADER + "a,,1,2,0.5,0.25\n", ":2: "),
        (
            SUMMED + "a,1,1,2,0.5,0.25,0.4\n",
            ":2: expected one image's label, 2 different classes and falling logits, and",
        ),
        (SUMMED + "a,1,1,2,0.5,0.25\n", ":2: "),
        (SUMMED + "a,1,1,2,0.5,0.25,inf\n", ":2: "),
        (SUMMED + "a,1,1,2,0.5,0.25,nan\n", ":2: "),
        (HEADER + f"a,{'1' * 5000},1,2,0.5,0.25\n", ":2: "),
        (HEADER + "a,1,1,2,0.5,0.25\nb,1,1,2,0.5,0.25\na,2,1,2,0.5,0.25\n", ":4: "),
        (NUMBERS + "a,1.0,nan\n", ":2: expected one sample's 1 targets and 1 outputs, finite numbers, found"),
        (NUMBERS + "a,1.0\n", ":2: "),
        (NUMBERS + "a,x,1.0\n", ":2: "),
        (NUMBERS + "a,1.0,1.0\na,1.0,1.0\n", ":3: "),
        ("sample,target1,output2\n", ":1: expected the header"),
        (HEADER + '"a,1,1,2,0.5,0.25\n', ": expected CSV in UTF-8, found: "),
        (HEADER.encode() + b"\xff,1,1,2,0.5,0.25\n", ": expected CSV in UTF-8, found: "),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_line(tmp_path, text, error):
    file = tmp_path / "predictions.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(HubpkgError) as caught:
        list(predictions.read(file))
    assert str(caught.value).startswith(f"{file}{error}")
    assert "\n" not in str(caught.value)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HUBPKG_CACHE", str(tmp_path))
    return tmp_path


FIRST, SECOND = (
    [Prediction(f"n0{i}/{i}.JPEG", i, (3, 1, 2, 4, 5), (5.5, 4.5, 3, 2, 1), 0.5, 6.0) for i in part]
    for part in (range(3), range(3, 5))
)


@pytest.mark.usefixtures("cache")
def test_a_journal_gives_back_what_earlier_runs_wrote():
    first = Journal("key")
    first.add(FIRST)
    assert list(first.earlier()) == []
    second = Journal("key")
    assert list(second.earlier()) == FIRST
    second.add(SECOND[:1])
    first.add(SECOND[1:])
    assert set(Journal("key").earlier()) == {*FIRST, *SECOND}
    assert list(Journal("another").earlier()) == []
    second.remove()
    assert list(Journal("key").earlier()) == []


def test_whatever_a_kill_leaves_of_a_journal_is_used_as_far_as_it_is_whole(cache):
    Journal("key").add([*FIRST, *SECOND])
    (file,) = cache.rglob("*.csv")
    whole = file.read_bytes()
    found = set()
    for size in range(len(whole)):
        file.write_bytes(whole[:size])
        done = list(Journal("key").earlier())
        assert done == [*FIRST, *SECOND][: len(done)]
        found.add(len(done))
    assert found == set(range(5))


@pytest.mark.usefixtures("cache")
@given(records())
def test_a_journal_holds_any_name_and_number(written):
    journal = Journal("key")
    journal.remove()
    journal.add(written)
    assert list(Journal("key").earlier()) == written


@pytest.mark.parametrize("bytes_", [b"", b"\xff\n", b"image,label\n", b'"\n', b"\0\n"])
def test_a_damaged_journal_counts_as_none(cache, bytes_):
    Journal("key").add(FIRST)
    (file,) = cache.rglob("*.csv")
    file.write_bytes(bytes_)
    assert list(Journal("key").earlier()) == []
