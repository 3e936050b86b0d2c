"""SVG made of numbers."""

import random
from xml.etree.ElementTree import fromstring

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubpkg import charts

ROWS = [charts.Row("Top-1", 97.5, 95.3, 98.7, [("A <b>list</b>", 98.0)]), charts.Row("Top-5", 100.0, 98.9, 100.0)]


def marks(svg, tag, style):
    return [each for each in fromstring(svg).iter(tag) if style in each.get("class", "").split()]  # noqa: S314 - ours


def test_each_picture_has_a_title_and_a_description_that_tell_it():
    svg = fromstring(charts.intervals("here", "Metrics", ROWS))  # noqa: S314 - ours
    assert svg.get("role") == "img"
    told = {each.get("id"): each.text for each in svg if each.tag in ("title", "desc")}
    assert list(told) == svg.get("aria-labelledby").split() == ["here-title", "here-description"]
    assert told["here-title"] == "Metrics"
    assert told["here-description"] == (
        "Top-1: 97.50 %, from 95.30 to 98.70; A <b>list</b> reports 98. Top-5: 100.00 %, from 98.90 to 100.00."
    )


def test_text_never_becomes_markup():
    svg = charts.intervals("a", "<script>alert(1)</script>", ROWS)
    assert "<script" not in svg
    assert "<b>" not in svg
    assert "&lt;script&gt;" in svg


def test_intervals_lie_in_the_order_of_their_values():
    svg = charts.intervals("a", "t", ROWS)
    first, second = (float(each.get("cx")) for each in marks(svg, "circle", "dot"))
    assert first < second
    assert len(marks(svg, "path", "claim")) == 1


def test_a_histogram_s_bars_are_as_high_as_the_counts_and_hold_all_samples():
    samples = [1.0] * 10 + [2.0] * 20 + [2.9]
    heights = [float(bar.get("height")) for bar in marks(charts.histogram("a", "t", samples, {}, "ms"), "rect", "bar")]
    assert heights[1] == pytest.approx(2 * heights[0], abs=0.2)
    assert heights[2] == pytest.approx(heights[0] / 10, abs=0.2)


def test_a_single_slow_sample_leaves_room_for_the_others():
    samples = [5.0 + 0.005 * index for index in range(100)] + [500.0]
    svg = charts.histogram("a", "t", samples, {"p50": 5.5}, "ms")
    assert len(marks(svg, "rect", "bar")) > 10
    assert "1 above 5.75 ms are in the last bar" in svg


def test_percentages_are_counted_in_steps_of_five():
    svg = charts.histogram("a", "t", [71.0, 74.9, 75.0, 82.0, 100.0, 100.0], {"median": 75.0}, "%")
    bars = marks(svg, "rect", "bar")
    assert [float(bar.get("height")) for bar in bars] == pytest.approx([152, 76, 76, 152])
    assert len(bars) == 4
    widths = {round(float(bar.get("width"))) for bar in bars}
    assert len(widths) == 1
    assert "last bar" not in svg


def test_the_picture_of_many_steps_stays_small():
    points = [(step, 1 / step) for step in range(1, 100_001)]
    svg = charts.lines("a", "t", [charts.Line("loss", points)], "loss")
    assert len(svg) < 20_000
    assert "from 1 at step 1 to 1e-05 at step 100000" in svg


number = st.floats(-1e12, 1e12)


@given(st.lists(st.tuples(number, number, number), min_size=1, max_size=5), st.lists(number, min_size=1, max_size=50))
def test_whatever_the_numbers_every_mark_lies_in_the_picture(values, samples):
    rows = [charts.Row("a", *sorted(three)[1:2], min(three), max(three)) for three in values]
    points = list(enumerate(samples, start=1))
    for svg in (
        charts.intervals("a", "t", rows, "u"),
        charts.histogram("a", "t", samples, {}, "ms"),
        charts.lines("a", "t", [charts.Line("l", points)], "u"),
    ):
        assert "nan" not in svg
        assert "inf" not in svg
        for circle in marks(svg, "circle", "dot") + marks(svg, "circle", "point"):
            assert -0.1 <= float(circle.get("cx")) <= charts.WIDTH + 0.1
        for bar in marks(svg, "rect", "bar"):
            assert float(bar.get("height")) >= 0
            assert float(bar.get("x")) + float(bar.get("width")) <= charts.WIDTH


def test_the_same_numbers_give_the_same_bytes():
    generator = random.Random(0)  # noqa: S311 - no secret
    samples = [generator.gauss(5, 1) for _ in range(100)]
    assert charts.histogram("a", "t", samples, {"p50": 5}, "ms") == charts.histogram(
        "a", "t", samples, {"p50": 5}, "ms"
    )
    assert charts.smoothed([1.0, 3.0]) == [1.0, 2.0]
