"""A picture of a sweep."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_COLOUR = "#1f5fa8"
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
        axes.set(xscale="log", xlabel="batch size", ylabel="images per second")
        axes.plot(sizes, values, "o-", color=_COLOUR)
        axes.set_ylim(bottom=0)
        axes.set_title(f"{title}, {points[0]['image_size']} px", loc="left")
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


def _columns(points: Sequence[Mapping[str, Any]], *keys: str) -> list[list[Any]]:
    return [[point[key] for point in points] for key in keys]
