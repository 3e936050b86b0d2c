"""Numbers -> SVG for a page: its colours are the page's, so that it can be read in the light and in the dark.

Each picture has a title and a description for those who do not see it, and its marks are elements of a tree, so that no
text in it can become markup.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element, SubElement, tostring

WIDTH = 460.0  # of all pictures; a phone shows them at four fifths of that
_RIGHT, _TOP, _BOTTOM = 20.0, 12.0, 40.0
_TEXT = 6.6  # about the width of a character
_ROW = 26.0
_STEPS = (1, 2, 2.5, 5, 10)
_POINTS = 400  # of a line; more can't be told apart
_SMOOTHED = 20  # values
_APART = 1e-9
_SHARES = 5.0  # percent, of a bar


@dataclass(frozen=True)
class Row:
    """A value with its interval, and what others say of it, as (who, value)."""

    label: str
    value: float
    low: float
    high: float
    claims: Sequence[tuple[str, float]] = ()


@dataclass(frozen=True)
class Line:
    """A line through ``points``; ``style`` is a class of the page's style sheet: ``first``, ``pale`` or ``second``."""

    label: str
    points: Sequence[tuple[float, float]]
    style: str = "first"


@dataclass
class _Scale:
    """From values to places along one axis of a picture."""

    low: float
    high: float
    start: float
    end: float
    ticks: list[float] = field(default_factory=list)

    def __call__(self, value: float) -> float:
        return self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start)


def intervals(name: str, title: str, rows: Sequence[Row], unit: str = "%") -> str:
    """Values with their intervals, one below the other.

    Args:
        name: of the picture; no other one in the page has it.
        title: what it shows.
        rows: at least one.
        unit: of the values.
    """
    told = [
        f"{row.label}: {row.value:.2f} {unit}, from {row.low:.2f} to {row.high:.2f}"
        + "".join(f"; {who} reports {value:g}" for who, value in row.claims)
        for row in rows
    ]
    height = _TOP + _ROW * len(rows) + _BOTTOM - (14 if unit == "%" else 0)
    svg = _begin(name, title, ". ".join(told), height)
    left = 16 + _TEXT * max(len(row.label) for row in rows)
    values = [value for row in rows for value in (row.low, row.high, *(claim for _, claim in row.claims))]
    x = _scale(min(values), max(values), left, WIDTH - _RIGHT, most=100 if unit == "%" else math.inf)
    _x_axis(svg, x, (_TOP, _TOP + _ROW * len(rows)), unit)
    for index, row in enumerate(rows):
        y = _TOP + _ROW * (index + 0.5)
        _text(svg, left - 8, y + 4, row.label, "end", "label")
        _line(svg, x(row.low), y, x(row.high), y, "range")
        for end in (row.low, row.high):
            _line(svg, x(end), y - 4, x(end), y + 4, "range")
        for who, value in row.claims:
            place = x(value)
            mark = SubElement(svg, "path", {"d": f"M{place:.1f} {y - 6:.1f}l6 6l-6 6l-6 -6z", "class": "claim"})
            SubElement(mark, "title").text = f"{who}: {value:g} {unit}"
        _dot(svg, x(row.value), y, "dot")
    return _end(svg)


def histogram(name: str, title: str, samples: Sequence[float], marks: Mapping[str, float], unit: str) -> str:
    """How often values of a size occur.

    Percentages are counted in steps of five. Of others, values far beyond the largest of the marks are counted in the
    last bar: a single one would leave no room.

    Args:
        name: of the picture; no other one in the page has it.
        title: what it shows.
        samples: the values, at least one.
        marks: values that are marked by a line, by what they are called.
        unit: of the values.
    """
    low, largest = min(samples), max(samples)
    if unit == "%":
        low = math.floor(low / _SHARES) * _SHARES
        top, bins, width = largest, max(1, math.ceil((largest - low) / _SHARES)), _SHARES
    else:
        mark = max(marks.values(), default=largest)
        top = min(largest, mark + (mark - low) / 2)
        bins = max(8, min(36, math.ceil(2 * len(samples) ** (1 / 2))))
        width = (top - low) / bins if _are_apart(low, top) else 1.0
    beyond = sum(sample > top for sample in samples)
    counts = [0] * bins
    for sample in samples:
        counts[min(bins - 1, int((sample - low) / width))] += 1
    told = ", ".join(f"{label} {value:.3g} {unit}" for label, value in marks.items())
    more = f"; {beyond} above {top:.3g} {unit} are in the last bar" if beyond else ""
    height = 220.0
    described = f"{len(samples)} values from {low:.3g} to {largest:.3g} {unit}{f'; {told}' if told else ''}{more}"
    svg = _begin(name, title, described, height)
    x = _Scale(low, low + bins * width, 44, WIDTH - _RIGHT)
    x.ticks = [tick for tick in _ticks(x.low, x.high, 6) if x.low <= tick <= x.high]
    y = _scale(0, max(counts), height - _BOTTOM, _TOP + 16, whole=True)
    _y_axis(svg, y, x)
    _x_axis(svg, x, (height - _BOTTOM,) * 2, unit)
    for index, count in enumerate(counts):
        if count:
            start, end = x(low + index * width), x(low + (index + 1) * width)
            _rect(svg, start + 0.5, y(count), end - start - 1, y(0) - y(count), "bar")
    previous = -math.inf
    for label, value in sorted(marks.items(), key=lambda mark: mark[1]):
        place = x(value)
        _line(svg, place, _TOP + 4, place, y(0), "mark")
        if place - previous > _TEXT * len(label) + 4:
            _text(svg, place, _TOP, label, "middle", "label")
            previous = place
    return _end(svg)


def reliability(name: str, title: str, bins: Iterable[tuple[float, float, float, float]]) -> str:
    """Accuracy over confidence: where a network is as often right as it is sure, on the diagonal.

    Args:
        name: of the picture; no other one in the page has it.
        title: what it shows.
        bins: each one's mean confidence, accuracy, and the accuracy's interval, all from 0 to 1.
    """
    points = list(bins)
    told = "; ".join(f"confidence {sure:.2f}, accuracy {right:.2f}" for sure, right, _, _ in points)
    height = 300.0
    svg = _begin(name, title, told, height)
    ticks = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
    x, y = _Scale(0, 1, 52, WIDTH - 120, ticks), _Scale(0, 1, height - _BOTTOM, _TOP, ticks)
    _y_axis(svg, y, x, percent=True)
    _x_axis(svg, x, (height - _BOTTOM,) * 2, "confidence", percent=True)
    _line(svg, x(0), y(0), x(1), y(1), "guide")
    _text(svg, x(1) + 8, y(1) + 4, "as sure as right", "start", "quiet")
    for sure, right, low, high in points:
        _line(svg, x(sure), y(low), x(sure), y(high), "range")
        _dot(svg, x(sure), y(right), "dot")
    return _end(svg)


def lines(name: str, title: str, series: Sequence[Line], unit: str, across: str = "step") -> str:
    """Lines over steps.

    Args:
        name: of the picture; no other one in the page has it.
        title: what it shows.
        series: lines with at least one point each.
        unit: of the values.
        across: what they are over.
    """
    told = [
        f"{line.label}: from {line.points[0][1]:.3g} at {across} {line.points[0][0]:g} to {line.points[-1][1]:.3g} at "
        f"{across} {line.points[-1][0]:g}"
        for line in series
    ]
    height = 220.0
    svg = _begin(name, title, "; ".join(told), height)
    every = [point for line in series for point in line.points]
    values = [value for _, value in every]
    y = _scale(min(values), max(values), height - _BOTTOM, _TOP + 14)
    left = 18 + _TEXT * max(len(f"{tick:g}") for tick in y.ticks)
    places = [place for place, _ in every]
    x = _Scale(min(places), max(*places, min(places) + 1), left, WIDTH - _RIGHT)
    x.ticks = [tick for tick in _ticks(x.low, x.high, 6) if x.low <= tick <= x.high and tick == int(tick)]
    _y_axis(svg, y, x)
    _x_axis(svg, x, (height - _BOTTOM,) * 2, across)
    _text(svg, 2, _TOP, unit, "start", "quiet")
    at = WIDTH - _RIGHT
    for line in reversed(series if len(series) > 1 else []):
        _text(svg, at, _TOP, line.label, "end", "label")
        at -= _TEXT * len(line.label) + 8
        _line(svg, at - 16, _TOP - 4, at, _TOP - 4, line.style)
        at -= 30
    for line in series:
        points = _thinned(line.points)
        if len(points) > 1:
            path = "L".join(f"{x(place):.1f} {y(value):.1f}" for place, value in points)
            SubElement(svg, "path", {"d": f"M{path}", "class": line.style})
        if len(points) <= 40:  # noqa: PLR2004 - more would touch
            for place, value in points:
                _dot(svg, x(place), y(value), f"point {line.style}")
    return _end(svg)


def smoothed(values: Sequence[float]) -> list[float]:
    """The mean of each value and those before it, twenty in all where there are as many."""
    windows = [values[max(0, end - _SMOOTHED) : end] for end in range(1, len(values) + 1)]
    return [sum(window) / len(window) for window in windows]


def _thinned(points: Sequence[tuple[float, float]]) -> Sequence[tuple[float, float]]:
    """As many points as can be told apart, the first and the last among them."""
    if len(points) <= _POINTS:
        return points
    return [points[round(index * (len(points) - 1) / (_POINTS - 1))] for index in range(_POINTS)]


def _begin(name: str, title: str, description: str, height: float) -> Element:
    svg = Element(
        "svg",
        {
            "viewBox": f"0 0 {WIDTH:g} {height:g}",
            "role": "img",
            "aria-labelledby": f"{name}-title {name}-description",
            "class": "chart",
        },
    )
    SubElement(svg, "title", {"id": f"{name}-title"}).text = title
    SubElement(svg, "desc", {"id": f"{name}-description"}).text = f"{description}."
    return svg


def _end(svg: Element) -> str:
    return tostring(svg, encoding="unicode")


def _scale(  # noqa: PLR0913 - a range, where it lies and what it may not leave
    low: float, high: float, start: float, end: float, *, most: float = math.inf, whole: bool = False
) -> _Scale:
    """A scale from a tick at or below ``low`` to one at or above ``high``."""
    if not _are_apart(low, high):
        low, high = low - 0.5, min(high + 0.5, most)
    ticks = _ticks(low, high, 5)
    if whole:
        ticks = [tick for tick in ticks if tick == int(tick)]
    while ticks[-1] > most:
        ticks.pop()
    return _Scale(min(ticks[0], low), max(ticks[-1], high), start, end, ticks)


def _are_apart(low: float, high: float) -> bool:
    """Whether a picture can tell two values apart, as far as a float does."""
    return high - low > _APART * max(abs(low), abs(high), _APART)


def _ticks(low: float, high: float, most: int) -> list[float]:
    """About ``most`` round numbers, the first at or below ``low`` and the last at or above ``high``."""
    rough = (high - low) / most if _are_apart(low, high) else 1.0
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(size * power for size in _STEPS if size * power >= rough * (1 - 1e-9))
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [float(f"{index * step:.10g}") for index in range(first, last + 1)]


def _x_axis(svg: Element, x: _Scale, grid: tuple[float, float], unit: str, *, percent: bool = False) -> None:
    top, bottom = grid
    for tick in x.ticks:
        if top < bottom:
            _line(svg, x(tick), top, x(tick), bottom, "grid")
        sign = " %" if unit == "%" else ""
        _text(svg, x(tick), bottom + 16, f"{tick:.0%}" if percent else f"{tick:,g}{sign}", "middle", "tick")
    _line(svg, x.start, bottom, x.end, bottom, "axis")
    if unit != "%":
        _text(svg, x.end, bottom + 33, unit, "end", "quiet")


def _y_axis(svg: Element, y: _Scale, x: _Scale, *, percent: bool = False) -> None:
    for tick in y.ticks:
        _line(svg, x.start, y(tick), x.end, y(tick), "grid")
        _text(svg, x.start - 7, y(tick) + 4, f"{tick:.0%}" if percent else f"{tick:g}", "end", "tick")


def _line(svg: Element, *place: float | str) -> None:
    *ends, style = place
    points = {key: f"{value:.1f}" for key, value in zip(("x1", "y1", "x2", "y2"), ends, strict=True)}
    SubElement(svg, "line", {**points, "class": str(style)})


def _rect(svg: Element, *place: float | str) -> None:
    *sizes, style = place
    values = {key: f"{value:.1f}" for key, value in zip(("x", "y", "width", "height"), sizes, strict=True)}
    SubElement(svg, "rect", {**values, "class": str(style)})


def _dot(svg: Element, x: float, y: float, style: str) -> None:
    SubElement(svg, "circle", {"cx": f"{x:.1f}", "cy": f"{y:.1f}", "r": "3.5", "class": style})


def _text(svg: Element, *place: float | str) -> None:
    x, y, text, anchor, style = place
    SubElement(
        svg, "text", {"x": f"{x:.1f}", "y": f"{y:.1f}", "text-anchor": str(anchor), "class": str(style)}
    ).text = str(text)
