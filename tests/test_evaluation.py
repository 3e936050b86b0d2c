"""The metrics that predictions show, and the comparison with a rerun."""

import math
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from hubpkg import evaluation
from hubpkg.errors import HubpkgError
from hubpkg.evaluation import ENGINE_TOLERANCE, Evaluation, Metric, compare
from hubpkg.predictions import Output, Prediction

TOLERANCE = 2**-10


def test_the_metrics():
    found = evaluation.evaluate(
        [
            Prediction("a", 7, (7, 1, 2, 3, 4), (5, 4, 3, 2, 1)),
            Prediction("b", 4, (7, 1, 2, 3, 4), (5, 4, 3, 2, 1)),
            Prediction("c", 5, (7, 1, 2, 3, 4), (5, 4, 3, 2, 1)),
            Prediction("d", 1, (7, 1, 2, 3, 4), (5, 4, 3, 2, 1)),
        ]
    )
    assert found == Evaluation(4, Metric(25.0, 4.5587, 69.9358), Metric(75.0, 30.0642, 95.4413), (), 5)
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
    order = sorted(range(len(logits)), key=lambda c: (-logits[c], c))
    ranked = tuple(logits[c] for c in order)
    return Prediction(image, label, tuple(order[:5]), ranked[:5], *ranked[5:6])


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


@settings(deadline=None, max_examples=300)
@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(-0.99, 0.99)), min_size=6, max_size=30), st.floats(1.01, 5))
def test_the_sum_of_all_logits_moves_no_further_than_one_and_differs_if_it_does(logits, times):
    old, new = ([a for a, _ in logits], [a + move * TOLERANCE for a, move in logits])
    first, second = (replace(top(each), log_sum=math.log(sum(map(math.exp, each)))) for each in (old, new))
    assert compare([first], [second], TOLERANCE).differing == ()
    assert compare([replace(first, log_sum=None)], [second], TOLERANCE).differing == ()  # as it was stored once
    moved = replace(first, log_sum=first.log_sum + times * TOLERANCE)
    compared = compare([first], [moved], TOLERANCE)
    assert (len(compared.differing), compared.largest) == (1, pytest.approx(times * TOLERANCE, rel=1e-6))


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
        "c: expected label 1, found 2",
        "d: expected 4 logits, found 6",
        "b: not in the dataset any more",
        "e: not among the stored predictions",
    )
    assert compare(stored, stored, 0).differing == ()


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.tuples(st.integers(-12, 12), st.integers(-4, 4)), min_size=2, max_size=12).flatmap(
        lambda logits: st.tuples(st.just(logits), st.integers(0, len(logits) - 1))
    )
)
def test_an_image_that_is_not_close_counts_the_same_whatever_moves_within_the_tolerance(case):
    logits, label = case
    unit = 2**-11  # a quarter of it is what a logit moves by at most: less than half of the tolerance
    assert unit < ENGINE_TOLERANCE
    before = top([logit * unit for logit, _ in logits], label=label)
    after = top([(logit + move / 4) * unit for logit, move in logits], label=label)
    counts = [(e.top1.percent, e.top5.percent) for e in map(evaluation.evaluate, ([before], [after]))]
    if counts[0] != counts[1]:
        assert evaluation.evaluate([before]).close == ("a",)


@pytest.mark.parametrize(
    ("logits", "label", "close"),
    [
        ([3, 2, 1], 0, False),
        ([3, 3.0015, 1], 0, True),
        ([3, 3.0015, 1], 1, True),
        ([3, 3.0015, 1], 2, False),  # first or second, it is not the label
        ([9, 8, 7, 6, 5, 4], 4, False),
        ([9, 8, 7, 6, 5, 4.999], 4, True),
        ([9, 8, 7, 6, 5, 4.999], 5, True),
        ([9, 8, 7, 6, 5, 4.999], 3, False),
        ([9, 8, 7, 6, 5, 4], 5, False),
        ([1], 0, False),
    ],
)
def test_close_images_are_those_whose_count_hangs_on_the_tolerance(logits, label, close):
    assert evaluation.evaluate([top(logits, "image", label)]).close == (("image",) if close else ())


def leaning(count, step):
    """Images on which two classes lie a step apart, the wrong one first."""
    return [top([5 - step, 5, 0, -1, -2, -3], str(index)) for index in range(count)]


@pytest.mark.parametrize(("count", "moved", "ok"), [(9, 9, True), (100, 30, True), (100, 31, False)])
def test_not_all_images_that_hang_on_the_tolerance_may_count_in_one_s_favour(count, moved, ok):
    stored = leaning(count, 1e-4)
    rerun = [replace(p, classes=(0, 1, *p.classes[2:])) if i < moved else p for i, p in enumerate(stored)]
    compared = compare(stored, rerun, 1e-3)
    assert compared.differing == ()
    assert (compared.moved, compared.allowed) == (moved, min(count, int(3 * count**0.5)))
    assert compared.ok is ok


def test_no_image_may_count_otherwise_that_does_not_hang_on_the_tolerance():
    compared = compare(leaning(50, 1.0), leaning(50, 1.0), 1e-3)
    assert (compared.ok, compared.moved, compared.allowed) == (True, 0, 0)


@pytest.mark.parametrize(("classes", "keys"), [(2, {"top1"}), (5, {"top1"}), (6, {"top1", "top5"})])
def test_five_classes_or_fewer_make_no_top_5(classes, keys):
    found = evaluation.evaluate([top([float(c) for c in range(classes)])]).as_json()
    assert found.keys() == {"samples", "close"} | keys
    assert evaluation.values(found).keys() == keys


OUTPUTS = [Output("a", (1.0,), (0.5,)), Output("b", (300.0,), (200.0,))]


def test_a_regression_has_no_accuracy():
    assert evaluation.evaluate(OUTPUTS).as_json() == {"samples": 2, "close": []}


@pytest.mark.parametrize(
    ("changed", "differing"),
    [
        (Output("a", (1.0,), (0.5 + TOLERANCE / 2,)), []),
        (Output("a", (1.0,), (0.5 + 2 * TOLERANCE,)), ["one moved by 0.002, over"]),
        (Output("b", (300.0,), (200 + 100 * TOLERANCE,)), []),  # large ones by their share
        (Output("b", (300.0,), (200 + 300 * TOLERANCE,)), ["one moved by 0.0015, over"]),
        (Output("a", (2.0,), (0.5,)), ["expected target (1.0,), found (2.0,)"]),
        (Output("a", (1.0, 1.0), (0.5, 0.5)), ["expected sample,target1,output1, found sample,target1,target2"]),
        (Prediction("a", 1, (1,), (0.5,)), ["expected sample,target1,output1, found image,label,class1,logit1"]),
        (Output("c", (1.0,), (0.5,)), ["a: not in the dataset any more", "c: not among the stored predictions"]),
    ],
)
def test_outputs_may_move_by_the_tolerance(changed, differing):
    again = [changed if record.image == changed.image else record for record in OUTPUTS]
    if changed.image == "c":
        again = [changed, OUTPUTS[1]]
    found = compare(OUTPUTS, again, TOLERANCE)
    assert len(found.differing) == len(differing)
    for sentence, expected in zip(found.differing, differing, strict=True):
        assert expected in sentence
    assert found.ok is not bool(differing)
