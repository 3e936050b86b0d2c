"""What the commands print: results as JSON or as tables, figures with their units, and progress, one line each."""

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_SHOWN = 5  # names in a line; the rest is counted


def say(line: str) -> None:
    """Print ``line``, which may quote what others wrote, and must not steer the terminal."""
    shown = "".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in line)
    print(shown, file=sys.stderr, flush=True)


def document(value: Any) -> None:
    """Print ``value`` as JSON."""
    print(json.dumps(value, indent=2))


def lines(options: argparse.Namespace, value: Any, shown: Sequence[str]) -> None:
    """Print ``value`` as JSON where ``--json`` asks for it, and else the lines that are ``shown``."""
    if options.json:
        document(value)
    else:
        print(*shown, sep="\n")


def table(title: str, rows: Mapping[str, str]) -> None:
    """Print ``rows``, each a name and what stands beside it, under a title."""
    print(title)
    width = max(map(len, rows))
    for name, value in rows.items():
        print(f"  {name:{width}}  {value}")


def noun(figures: Mapping[str, Any]) -> str:
    """What one input is called in the sentences about the performance ``figures``."""
    return "image" if "image_size" in figures else "sample"


def shares(
    metrics: Mapping[str, float], samples: int, noun: str, top1: Mapping[str, float] | None = None
) -> dict[str, str]:
    """Rows for the accuracies among ``metrics``, with the interval of ``top1`` if it is given."""
    found = {}
    if "top1" in metrics:
        interval = f", 95 % interval {top1['low']:.2f} to {top1['high']:.2f}" if top1 else ""
        found["top-1"] = f"{metrics['top1']:.2f} % of {samples} {noun}s{interval}"
    return {**found, **({"top-5": f"{metrics['top5']:.2f} %"} if "top5" in metrics else {})}


def own_metrics(metrics: Mapping[str, Mapping[str, Any]]) -> dict[str, str]:
    """Rows for the metrics of the model's extension."""
    return {
        name: f"{entry['value']:g}{entry['unit'] and ' ' + entry['unit']}"
        + (f", 95 % interval {entry['low']:g} to {entry['high']:g}" if "low" in entry else "")
        for name, entry in metrics.items()
    }


def performance(figures: Mapping[str, Any]) -> dict[str, str]:
    """Rows for the figures of :mod:`hubpkg.performance`, times in seconds and milliseconds."""
    rates = [f"{rate['images_per_second']:.1f} in batches of {rate['batch_size']}" for rate in figures["throughput"]]
    unit, size, millions = "samples/s", "", figures["parameters_m"]
    if "image_size" in figures:
        unit, size = "img/s", f"{figures['image_size']}x{figures['image_size']} pixels, "
    return {
        "parameters": f"{millions:.2f} M" if millions >= 0.01 else f"{millions:.2g} M",  # noqa: PLR2004 - two decimals
        "setting": f"{size}jit level {figures['jit_level']}, "
        f"training in {figures['precision']}, inference in {figures['inference_precision']} with {figures['engine']}",
        "compile": f"{figures['compile_seconds']:.1f} s",
        "training": f"{figures['ms_per_step']:.1f} ms/step of {figures['batch_size']} {noun(figures)}s, "
        f"{figures['images_per_second']:.1f} {unit}",
        "latency": f"p50 {figures['latency_p50_ms']:.2f}, p90 {figures['latency_p90_ms']:.2f}, "
        f"p99 {figures['latency_p99_ms']:.2f} ms",
        "throughput": f"{unit} {', '.join(rates)}",
        **({"noisy": "; ".join(figures["noise"])} if figures["noise"] else {}),
    }


def images(evaluated: str, damaged: int) -> str:
    """Which images were evaluated, and how many of them were left out."""
    return f"{evaluated}{f', less {damaged} damaged or missing, left out' if damaged else ''}"


def close(images: Sequence[str], noun: str) -> str:
    """How many images lie so close between two classes that engines may differ, and the first of them."""
    shown = ", ".join(images[:_SHOWN]) + (", ..." if len(images) > _SHOWN else "")
    return f"{len(images)} {noun}s that another engine may count otherwise{f': {shown}' if images else ''}"


def engine(facts: Mapping[str, Any]) -> str:
    """An engine's name and version, and how it compared with MindSpore."""
    if "compared" not in facts:
        return f"{facts['name']} {facts['version']}"
    return (
        f"{facts['name']} {facts['version']}, like MindSpore on {facts['compared']['images']} of them, "
        f"within {facts['compared']['largest']:g}"
    )


def sweep(result: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Rows for the points of a sweep."""
    size = result["sweep"].replace("-", "_")
    for point in result["points"]:
        tokens = f"{point['tokens']:,} tokens, " if size == "image_size" and point["tokens"] else ""
        noise = f"; noisy: {'; '.join(point['noise'])}" if point["noise"] else ""
        unit = "img/s" if point["image_size"] else "samples/s"
        times = f"p50 {point['p50_ms']:.2f}, p90 {point['p90_ms']:.2f}, p99 {point['p99_ms']:.2f} ms"
        yield f"{result['sweep']} {point[size]}", f"{tokens}{times}, {point['images_per_second']:.1f} {unit}{noise}"
    if "exponent" in result:
        yield "growth", f"ms per image with tokens to the power of {result['exponent']:.2f}"
