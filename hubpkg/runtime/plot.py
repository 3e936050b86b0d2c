"""Pictures of sweeps and of training runs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_COLOUR = "#1f5fa8"
_PALE = "#a9c4e4"
_SMOOTHED = 20  # steps
_WHOLE = 100  # ms, from which on no decimals are shown


def load() -> Any:
    """The module ``matplotlib``, set to write the same file for the same points.

    Raises:
        ModuleNotFoundError: it is not installed.
    """
    import matplotlib as mpl

    mpl.rcParams.update({"svg.hashsalt": "hubpkg", "axes.spines.top": False, "axes.spines.right": False})
    return mpl


def draw(path: Path, key: str, points: Sequence[Mapping[str, Any]], title: str) -> None:
    """Write the picture of a sweep as SVG: img/s over batch sizes, or ms per image over image sizes, logarithmic.

    Image sizes stand at their number of tokens, or of pixels if the network's patch is not known, so that a cost linear
    in them lies along the grey line, which starts at the first point.

    Args:
        path: the file.
        key: ``batch-size`` or ``image-size``.
        points: what was measured, by the keys of ``hubpkg benchmark --sweep --json``.
        title: the model, and what it ran on.
    """
    load()
    from matplotlib.figure import Figure
    from matplotlib.ticker import NullLocator, StrMethodFormatter

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.subplots()
    if key == "batch-size":
        sizes, values = _columns(points, "batch_size", "images_per_second")
        labels = [str(size) for size in sizes]
        size = points[0]["image_size"]
        axes.set(xscale="log", xlabel="batch size", ylabel=f"{'images' if size else 'samples'} per second")
        axes.plot(sizes, values, "o-", color=_COLOUR)
        axes.set_ylim(bottom=0)
        axes.set_title(f"{title}, {size} px" if size else title, loc="left")
    else:
        known = points[0]["tokens"] is not None
        pixels, values = _columns(points, "image_size", "ms_per_image")
        sizes = [point["tokens"] for point in points] if known else [size**2 for size in pixels]
        labels = [f"{tokens:,}\n{size} px" for tokens, size in zip(sizes, pixels, strict=True)]
        axes.set(xscale="log", yscale="log", ylabel="ms per image")
        axes.set_xlabel("tokens, and height and width of the image" if known else "pixels, and height and width")
        linear = [values[0] * size / sizes[0] for size in sizes]
        axes.plot(sizes, linear, color="#999999", linestyle="--", label=f"linear in {'tokens' if known else 'pixels'}")
        axes.plot(sizes, values, "o-", color=_COLOUR, label="measured: median")
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:,g}"))
        for size, value in zip(sizes, values, strict=True):
            axes.annotate(
                f"{value:,.0f}" if value >= _WHOLE else f"{value:.3g}",
                (size, value),
                (6, -10),
                textcoords="offset points",
                fontsize=8,
            )
        axes.legend(frameon=False)
        axes.set_title(f"{title}, batch size {points[0]['batch_size']}", loc="left")
    axes.set_xticks(sizes, labels, fontsize=8)
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    figure.savefig(path, metadata={"Date": None})


def draw_training(path: Path, log: Sequence[Mapping[str, Any]], title: str) -> None:
    """Write the curves of a training run as SVG: loss and learning rate over steps, and accuracy where there is any.

    Args:
        path: the file.
        log: the lines of the run's log.
        title: what was trained, and on what.
    """
    load()
    from matplotlib.figure import Figure

    steps = [line for line in log if "loss" in line]
    figure = Figure(figsize=(7, 5.5), layout="constrained")
    losses, accuracies = figure.subplots(2, 1, sharex=True)
    places, values, rates = _columns(steps, "step", "loss", "lr")
    losses.plot(places, values, color=_PALE, linewidth=0.8, label="loss of a step")
    losses.plot(places, _smoothed(values), color=_COLOUR, label=f"mean of {_SMOOTHED}")
    losses.set(ylabel="loss")
    losses.legend(frameon=False)
    losses.set_title(title, loc="left")
    lr = losses.twinx()
    lr.plot(places, rates, color="#999999", linestyle="--", linewidth=0.8)
    lr.set(ylabel="learning rate (dashed)")
    lr.spines["right"].set_visible(True)
    validated = [line for line in log if "validation" in line]
    for kind, style in (("weights", "o-"), ("average", "s--")):
        found = {line["step"]: line["validation"][kind] for line in validated if kind in line["validation"]}
        if found:
            key = next(iter(next(iter(found.values()))))  # top-1, or a regression's loss
            called = "top-1" if key == "top1" else key
            values = [value[key] for value in found.values()]
            accuracies.plot(list(found), values, style, color=_COLOUR, label=f"{called} of the {kind}")
            accuracies.set(ylabel="% of the test images" if key == "top1" else f"{key} of the test samples")
    accuracies.set(xlabel="step")
    accuracies.legend(frameon=False)
    for axes in (losses, accuracies):
        axes.grid(color="#dddddd", linewidth=0.6)
        axes.set_axisbelow(True)
    figure.savefig(path, metadata={"Date": None})


def _smoothed(values: Sequence[float]) -> list[float]:
    """The mean of each value and those before it, ``_SMOOTHED`` in all where there are as many."""
    windows = [values[max(0, end - _SMOOTHED) : end] for end in range(1, len(values) + 1)]
    return [sum(window) / len(window) for window in windows]


def _columns(points: Sequence[Mapping[str, Any]], *keys: str) -> list[list[Any]]:
    return [[point[key] for point in points] for key in keys]
