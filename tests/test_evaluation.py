"""Predictions as a file, the metrics they show, and the comparison with a rerun."""

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from hubpkg import evaluation
from hubpkg.errors import HubpkgError
from hubpkg.evaluation import Evaluation, Metric, Prediction, compare

HEADER = "image,label,class1,class2,logit1,logit2\n"
TOLERANCE = 2**-10


# A carriage return alone is refused when it is read; lone surrogates are no UTF-8.
NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"))


@st.composite
def predictions(draw, images=NAMES):
    """Predictions of different images, all with the same count of classes."""
    width = draw(st.integers(1, 5))
    numbers = st.floats(allow_nan=False, allow_infinity=False)
    return [
        Prediction(
            image,
            draw(st.integers(0, 10**6)),
            tuple(draw(st.lists(st.integers(0, 10**6), min_size=width, max_size=width, unique=True))),
            tuple(sorted(draw(st.lists(numbers, min_size=width, max_size=width)), reverse=True)),
        )
        for image in draw(st.lists(images, min_size=1, max_size=5, unique=True))
    ]


@settings(deadline=None)
@given(predictions())
def test_predictions_are_read_as_they_were_written(tmp_path_factory, written):
    file = tmp_path_factory.getbasetemp() / "predictions.csv"
    evaluation.write_predictions(file, written)
    assert evaluation.read_predictions(file) == written
    first = file.read_bytes()
    evaluation.write_predictions(file, evaluation.read_predictions(file))
    assert file.read_bytes() == first


def test_the_form_of_the_file(tmp_path):
    file = tmp_path / "predictions.csv"
    evaluation.write_predictions(file, [Prediction('a "b",\nc', 3, (3, 1), (1.5, -1e-7))])
    assert file.read_bytes().decode() == f'{HEADER}"a ""b"",\nc",3,3,1,1.5,-1e-07\n'


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("", ":1: expected the header image,label,class1,"),
        ("image,label\n", ":1: expected the header"),
        ("image,label,logit1,class1\n", ":1: expected the header"),
        ("image,label,class1\n", ":1: expected the header"),
        (HEADER + "a,1,1,2,0.5\n", ":2: expected one image's label, 2 different classes"),
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
        (HEADER + f"a,{'1' * 5000},1,2,0.5,0.25\n", ":2: "),
        (HEADER + "a,1,1,2,0.5,0.25\nb,1,1,2,0.5,0.25\na,2,1,2,0.5,0.25\n", ":4: "),
        (HEADER + '"a,1,1,2,0.5,0.25\n', ": expected CSV in UTF-8, found: "),
        (HEADER.encode() + b"\xff,1,1,2,0.5,0.25\n", ": expected CSV in UTF-8, found: "),
    ],
)
def test_a_file_of_another_form_is_refused_with_its_line(tmp_path, text, error):
    file = tmp_path / "predictions.csv"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(HubpkgError) as caught:
        evaluation.read_predictions(file)
    assert str(caught.value).startswith(f"{file}{error}")
    assert "\n" not in str(caught.value)


def test_the_metrics():
    found = evaluation.evaluate(
        [
            Prediction("a", 7, (7, 1, 2, 3, 4), (5, 4, 3, 2, 1)),
            Prediction("b", 4, (7, 1, 2, 3, 4), (5, 4, 3, 2, 1)),
            Prediction("c", 5, (7, 1, 2, 3, 4), (5, 4, 3, 2, 1)),
            Prediction("d", 1, (7, 1, 2, 3, 4), (5, 4, 3, 2, 1)),
        ]
    )
    assert found == Evaluation(4, Metric(25.0, 4.5587, 69.9358), Metric(75.0, 30.0642, 95.4413))
    assert found.as_json()["top1"] == {"percent": 25.0, "low": 4.5587, "high": 69.9358}
    with pytest.raises(HubpkgError, match="expected at least one prediction, found none"):
        evaluation.evaluate([])


@settings(deadline=None)
@given(st.integers(1, 100_000).flatmap(lambda n: st.tuples(st.integers(0, n) | st.sampled_from([0, n]), st.just(n))))
def test_the_interval_is_wilsons(counts):
    successes, samples = counts
    found = evaluation.wilson(successes, samples)
    expected = binomtest(successes, samples).proportion_ci(confidence_level=0.95, method="wilson")
    assert found.percent == pytest.approx(100 * successes / samples, abs=5.1e-5)
    assert (found.low, found.high) == pytest.approx((100 * expected.low, 100 * expected.high), abs=5.1e-5)
    assert 0 <= found.low <= found.percent <= found.high <= 100


def top(logits, image="a", label=0):
    """The prediction that logits of all classes give, five of them kept."""
    order = sorted(range(len(logits)), key=lambda c: (-logits[c], c))[:5]
    return Prediction(image, label, tuple(order), tuple(logits[c] for c in order))


# Multiples of the tolerance's quarter are exact, so that a move by the tolerance is no more than it.
GRID = st.integers(-24, 24).map(lambda quarters: quarters * TOLERANCE / 4)


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(GRID, st.integers(-4, 4)), min_size=1, max_size=12))
def test_if_no_logit_moves_by_more_than_the_tolerance_nothing_differs(logits):
    old = [logit for logit, _ in logits]
    new = [logit + move * TOLERANCE / 4 for logit, move in logits]
    compared = compare([top(old)], [top(new)], TOLERANCE)
    assert compared.differing == ()
    assert compared.largest <= max(abs(move) for _, move in logits) * TOLERANCE / 4
    assert len(compared.reranked) == (top(old).classes != top(new).classes)


@settings(deadline=None, max_examples=300)
@given(st.lists(GRID, min_size=5, max_size=9), st.integers(0, 8), st.integers(5, 40), st.booleans())
def test_a_logit_among_the_five_that_moves_further_differs(logits, c, quarters, rises):
    assume(c < len(logits))
    new = [*logits]
    new[c] += (1 if rises else -1) * quarters * TOLERANCE / 4
    assume(c in top(logits).classes and c in top(new).classes)
    compared = compare([top(logits)], [top(new)], TOLERANCE)
    assert len(compared.differing) == 1
    assert compared.largest == quarters * TOLERANCE / 4


OLD = [9.0, 8.0, 7.0, 6.0, 5.0, 4.0]
STAIRS = [9 - step * 9e-4 for step in range(6)]


@pytest.mark.parametrize(
    ("old", "new", "differs", "reranked"),
    [
        pytest.param(OLD, OLD, False, False, id="the same"),
        pytest.param([9, 8.9999, *OLD[2:]], [8.9999, 9, *OLD[2:]], False, True, id="close classes swapped"),
        pytest.param(OLD, [8, 9, *OLD[2:]], True, False, id="far classes swapped"),
        pytest.param([*OLD[:4], 5, 4.9999], [*OLD[:4], 4.9999, 5], False, True, id="a close class left the five"),
        pytest.param(OLD, [*OLD[:4], 4, 4.5], True, False, id="a far class left the five"),
        pytest.param(OLD, [9, 8, 7, 6, 3.9, 4], True, False, id="a class fell out of the five"),
        pytest.param(STAIRS, [*STAIRS[1:], STAIRS[0]], True, False, id="a class rose into the five by others' steps"),
        pytest.param(STAIRS, [STAIRS[5], *STAIRS[:5]], True, False, id="a class fell out of the five by others' steps"),
    ],
)
def test_ranks_change_only_where_logits_are_close(old, new, differs, reranked):
    compared = compare([top(old)], [top(new)], 1e-3)
    assert (bool(compared.differing), bool(compared.reranked)) == (differs, reranked)
    assert all(line.startswith("a: ") for line in (*compared.differing, *compared.reranked))


def test_images_are_compared_by_name_and_every_difference_is_told():
    stored = [top(OLD, "a"), top(OLD, "b"), top(OLD, "c", label=1), top(OLD[:4], "d")]
    rerun = [top(OLD, "d"), top(OLD, "e"), top(OLD, "c", label=2), top(OLD, "a")]
    assert compare(stored, rerun, 1e-3).differing == (
        "b: not in the dataset any more",
        "c: expected label 1, found 2",
        "d: expected 4 classes, found 5",
        "e: not among the stored predictions",
    )
    assert compare(stored, stored, 0).differing == ()
