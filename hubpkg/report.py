"""A package -> the page that shows it: card, figures and what is behind them, from manifest and evidence alone."""

import base64
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

from hubpkg import (
    assembly,
    card,
    charts,
    diagnosis,
    evaluation,
    manifest,
    markup,
    mistakes,
    pages,
    performance,
    replacement,
    trained,
)
from hubpkg import predictions as stored
from hubpkg.diagnosis import Diagnosis
from hubpkg.errors import HubpkgError
from hubpkg.verification import Verification, verify

_WHOLE_MATRIX = 25  # classes; of more, the pairs that are confused most are shown
_PAIRS = 20
_WORST = 15  # classes that are named, of many
_SHADES = 9
_LARGEST = 1e12  # of the numbers that are drawn; no loss, step or time of a real run is larger
_PICTURE_BYTES = 1 << 20  # a larger one is not put in the page
_DOCUMENT_BYTES = 1 << 28  # likewise, of a log
_PICTURES = {
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}
# Files that pages lead to: a browser runs scripts of others, some of them by what a host calls their type.
_LINKED = frozenset(
    (
        *(".ckpt", ".csv", ".gif", ".jpeg", ".jpg", ".json", ".jsonl", ".md", ".mindir", ".onnx", ".png", ".py"),
        *(".safetensors", ".txt", ".webp", ".yaml"),
    )
)
_METRICS = {"top1": "Top-1 accuracy", "top5": "Top-5 accuracy"}


@dataclass(frozen=True)
class Place:
    """Where a page is.

    Attributes:
        folder: what the package's folder is called beside it.
        home: where the site that it is a part of begins; None for a page of its own.
        script: that it runs, which may ask its server.
        handed_on: whether the package's files are there.
    """

    folder: str
    home: str | None = None
    script: str = ""
    handed_on: bool = True


def path_of(package: Path) -> Path:
    """Where the report on ``package`` lies: beside its folder."""
    folder = _whole(package)
    return folder.with_name(f"{folder.name}.report.html")


def _whole(package: Path) -> Path:
    return Path(os.path.abspath(package))  # noqa: PTH100 - resolve() would follow a link to another name


def make(package: Path) -> tuple[Path, Verification]:
    """Write the report on the package in the folder ``package`` beside it; give its path and what verifying found.

    Args:
        package: a folder with a manifest.

    Raises:
        HubpkgError: there is no manifest that can be read, or a library is not installed.
        OSError: the report can't be written; an earlier one stays.
    """
    verified = verify(package)
    if not (package / manifest.NAME).is_file() or (package / manifest.NAME).is_symlink():
        raise HubpkgError(f"{package}: expected a package's folder, found no {manifest.NAME} in it, or a link")
    contents = manifest.read(package / manifest.NAME)
    path = path_of(package)
    replacement.write(path, render(package, contents, verified).encode())
    return path, verified


def render(package: Path, contents: Mapping[str, Any], verified: Verification, place: Place | None = None) -> str:
    """The page, in HTML; its links are relative to the folder that the package is in.

    Args:
        package: the package's folder.
        contents: what its manifest says.
        verified: what verifying it found.
        place: where the page is; None for a page of its own, beside the package.
    """
    place = place or Place(_whole(package).name)
    files = _Files(package, quote(place.folder), contents["files"], place.handed_on)
    sections = {
        "accuracy": _accuracy(contents),
        **_diagnosed(files, contents),
        **_timed(files),
        **_training(files, contents),
    }
    values = {
        "contents": contents,
        "noun": "image" if "image_size" in contents["performance"] else "sample",
        "files": files,
        "failed": [check for check in verified.checks if not check.ok],
        "checks": verified.checks,
        "home": place.home,
        "sections": {name: section for name, section in sections.items() if section},
        "card_text": _card(files, contents),
        "environment": _environment(contents),
    }
    return pages.render("report.html.j2", values, place.script, connects=bool(place.script))


@dataclass(frozen=True)
class _Files:
    """The files of a package that its page links to and reads.

    Attributes:
        package: the folder.
        name: of the folder as the page's links have it.
        listed: the manifest's records.
        handed_on: whether the page can link to them.
    """

    package: Path
    name: str
    listed: Mapping[str, Mapping[str, Any]]
    handed_on: bool

    def link(self, file: str) -> str | None:
        """The link to ``file``; None if the manifest does not list it, it is not there, or it could run a script."""
        known = self.handed_on and (file in self.listed or file == manifest.NAME)
        # Not all hosts of sites can be told to run nothing in the page that it would open as.
        safe = Path(file).suffix.lower() in _LINKED
        return f"{self.name}/{quote(file)}" if known and safe else None

    def path(self, file: str) -> Path | None:
        """Where ``file`` is; None if it is not listed, or no plain file in the package."""
        path = self.package / file
        if file not in self.listed or not path.resolve().is_relative_to(self.package.resolve()) or not path.is_file():
            return None
        return path

    def read(self, file: str, most: int = _DOCUMENT_BYTES) -> bytes | None:
        """The bytes of ``file``; None if it has no path here, or is larger than ``most``."""
        path = self.path(file)
        return None if path is None or path.stat().st_size > most else path.read_bytes()

    def link_of(self, target: str) -> str | None:
        """Where a relative link in the card leads in the page."""
        return self.link(unquote(target.partition("#")[0]).removeprefix("./"))

    def picture_of(self, target: str) -> str | None:
        """A picture of the card as a ``data:`` URL."""
        file = unquote(target).removeprefix("./")
        kind = _PICTURES.get(Path(file).suffix.lower())
        data = self.read(file, _PICTURE_BYTES) if kind else None
        return None if data is None else _data_url(str(kind), data)


def _data_url(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _safe(html: str) -> Any:
    from markupsafe import Markup

    return Markup(html)  # noqa: S704 - made by charts and markup, which escape


def _card(files: _Files, contents: Mapping[str, Any]) -> Any:
    """The card's body as HTML, if the package has it."""
    raw = files.read(assembly.card_name(contents))
    if raw is None:
        return None
    try:
        body = card.parse(raw.decode(errors="replace"), assembly.card_name(contents)).body
    except HubpkgError:
        return None
    return _safe(markup.to_html(body, 3, files.link_of, files.picture_of))


@dataclass(frozen=True)
class Measured:
    """A metric of a manifest: its value, its unit, and its 95 % interval, None where there is none."""

    name: str
    value: float
    unit: str
    low: float | None
    high: float | None

    @property
    def title(self) -> str:
        """What people call it."""
        return _METRICS.get(self.name, self.name)

    @property
    def figure(self) -> str:
        """The value as the card has it."""
        return card.format_figure(self.value, self.unit)

    @property
    def interval(self) -> str:
        """The interval, as text; empty if there is none."""
        ends = [card.format_figure(end, self.unit) for end in (self.low, self.high) if end is not None]
        return " to ".join(ends)


def metrics_of(contents: Mapping[str, Any]) -> Iterator[Measured]:
    """The metrics that a manifest has: shares of the samples, and those of the model's own."""
    measured = contents["evaluation"]
    for name in _METRICS:
        if name in measured:
            yield Measured(name, measured[name]["percent"], "%", measured[name]["low"], measured[name]["high"])
    for name, metric in measured.get("metrics", {}).items():
        yield Measured(name, metric["value"], metric["unit"], metric.get("low"), metric.get("high"))


def _accuracy(contents: Mapping[str, Any]) -> dict[str, Any]:
    metrics = list(metrics_of(contents))
    if not metrics:
        return {}
    claims = evaluation.claims(contents["card"].get("reported", ()), contents["evaluation"])
    pictured: dict[str, list[charts.Row]] = {}  # by unit
    for m in metrics:
        if m.low is not None and m.high is not None:
            said = [(claim.source, claim.percent) for claim in claims if claim.metric == m.name]
            pictured.setdefault(m.unit, []).append(charts.Row(m.title, m.value, m.low, m.high, said))
    return {
        "charts": [
            _safe(charts.intervals(f"accuracy-chart-{number}", "Metrics with their 95 % intervals", rows, unit))
            for number, (unit, rows) in enumerate(pictured.items())
        ],
        "rows": metrics,
        "claims": claims,
    }


def _diagnosed(files: _Files, contents: Mapping[str, Any]) -> dict[str, Any]:
    """What the predictions of classes show; nothing if they are of something else, or can't be read."""
    classes, path = contents["inputs"]["recipe"].get("num_classes"), files.path(stored.FILE)
    if classes is None or path is None:
        return {}
    try:
        predicted = (entry for entry in stored.read(path) if isinstance(entry, stored.Prediction))
        found = diagnosis.diagnose(predicted, classes)
    except (HubpkgError, ValueError):
        return {}
    return {
        "confusion": _confusion(found),
        "classes": _classes(found),
        "calibration": _calibrated(found),
        "mistakes": _mistakes(found, files),
    }


def _confusion(found: Diagnosis) -> dict[str, Any]:
    pairs = found.confused(_PAIRS)
    if found.classes > _WHOLE_MATRIX:
        return {"pairs": pairs, "found": found, "rows": None}
    images = {entry.label: entry.images for entry in found.by_class}
    rows = []
    for label in range(found.classes):
        cells = []
        for given in range(found.classes):
            count = found.confusion.get((label, given), 0)
            share = count / images[label] if count else 0.0
            shade = max(1, round(_SHADES * (share if label == given else share**0.5)))
            kind = "right" if label == given else "wrong"
            cells.append({"count": count, "style": f"{kind}{min(shade, _SHADES)}" if count else "none"})
        rows.append(cells)
    return {"pairs": pairs, "found": found, "rows": rows}


def _classes(found: Diagnosis) -> dict[str, Any]:
    worst = sorted(found.by_class, key=lambda entry: (entry.accuracy.percent, entry.label))
    many = len(worst) > _WHOLE_MATRIX
    if many:
        shares = [entry.accuracy.percent for entry in found.by_class]
        chart = charts.histogram(
            "classes-chart", "How many classes have which accuracy", shares, {"median": _median(shares)}, "%"
        )
    else:
        rows = [
            charts.Row(f"class {entry.label}", entry.accuracy.percent, entry.accuracy.low, entry.accuracy.high)
            for entry in found.by_class
        ]
        chart = charts.intervals("classes-chart", "Accuracy on each class with its 95 % interval", rows)
    return {"chart": _safe(chart), "rows": worst[:_WORST] if many else found.by_class, "many": many, "found": found}


def _median(values: Sequence[float]) -> float:
    return performance.percentile(values, 50)


def _calibrated(found: Diagnosis) -> dict[str, Any]:
    calibration = found.calibration
    if calibration is None:
        return {"calibration": None, "classes": found.classes}
    points = [
        (each.confidence, each.accuracy.percent / 100, each.accuracy.low / 100, each.accuracy.high / 100)
        for each in calibration.bins
        if each.accuracy is not None
    ]
    chart = charts.reliability("calibration-chart", "Accuracy over confidence, in ten steps", points)
    return {"chart": _safe(chart), "calibration": calibration, "classes": found.classes}


def _mistakes(found: Diagnosis, files: _Files) -> dict[str, Any]:
    if not found.mistakes:
        return {}
    pictures = mistakes.read(files.read(mistakes.FILE, _PICTURE_BYTES) or b"")
    names = {mistake.image for mistake in found.mistakes}
    urls = {name: _data_url("image/png", data) for name, data in pictures.items() if name in names}
    return {"mistakes": found.mistakes, "wrong": found.wrong, "images": found.images, "pictures": urls}


def _timed(files: _Files) -> dict[str, Any]:
    path = files.path(performance.TIMING)
    if path is None:
        return {}
    try:
        timings = performance.read_timings(path)
    except HubpkgError:
        return {}
    single = next((timing for timing in timings.inference if timing.batch_size == 1), None)
    if single is None or not all(map(_is_number, single.ms)):
        return {}
    marks = {f"p{percent}": performance.percentile(single.ms, percent) for percent in (50, 90, 99)}
    chart = charts.histogram("latency-chart", "How long the inference of one image took", single.ms, marks, "ms")
    return {"latency": {"chart": _safe(chart), "marks": marks, "timing": single, "inference": timings.inference}}


def _training(files: _Files, contents: Mapping[str, Any]) -> dict[str, Any]:
    raw = files.read(f"evidence/{trained.LOG}")
    if raw is None:
        return {}
    log = _log(raw)
    steps = [line for line in log if _is_number(line.get("loss")) and _is_number(line.get("step"))]
    if not steps:
        return {}
    losses = [(line["step"], line["loss"]) for line in steps]
    means = charts.smoothed([loss for _, loss in losses])
    smooth = [(step, mean) for (step, _), mean in zip(losses, means, strict=True)]
    drawn = [
        charts.lines(
            "loss-chart",
            "Loss of the training over its steps",
            [charts.Line("a step", losses, "pale"), charts.Line("mean of 20", smooth)],
            "loss",
        )
    ]
    metric, validated = _validations(log)
    if validated:
        title = f"{metric} on the test data over the steps of the training"
        drawn.append(charts.lines("validation-chart", title, validated, metric))
    rates = [(line["step"], line["lr"]) for line in steps if _is_number(line.get("lr"))]
    if rates:
        drawn.append(
            charts.lines(
                "rate-chart", "Learning rate over the steps", [charts.Line("learning rate", rates)], "learning rate"
            )
        )
    recipe = {key: value for key, value in contents["inputs"]["recipe"].items() if not isinstance(value, Mapping)}
    return {
        "training": {
            "charts": [_safe(chart) for chart in drawn],
            "steps": len(steps),
            "first": losses[0][1],
            "last": smooth[-1][1],
            "recipe": recipe,
        }
    }


def _log(raw: bytes) -> list[dict[str, Any]]:
    found = []
    for line in raw.decode(errors="replace").splitlines():
        try:
            entry = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(entry, dict):
            found.append(entry)
    return found


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and abs(value) < _LARGEST


def _validations(log: Sequence[Mapping[str, Any]]) -> tuple[str, list[charts.Line]]:
    """What the first metric of the validations is called, and a line for the weights', and for their average's."""
    name, found_lines = "", []
    for kind, style in (("weights", "first"), ("average", "second")):
        points = []
        for line in log:
            found = line.get("validation")
            metrics = found.get(kind) if isinstance(found, dict) else None
            first, value = next(iter(metrics.items()), ("", None)) if isinstance(metrics, dict) else ("", None)
            if value is not None and _is_number(value) and _is_number(line.get("step")):
                name = name or first
                points.append((float(line["step"]), float(value)))
        if points:
            found_lines.append(charts.Line(f"the {kind}", points, style))
    return _METRICS.get(name, name), found_lines


def _environment(contents: Mapping[str, Any]) -> dict[str, Any]:
    """The environment in the order that people ask for it, and the versions of the packages."""
    found = dict(contents["environment"])
    names = {
        "mindspore": "MindSpore",
        "devices": "devices",
        "ascend_driver": "Ascend driver",
        "ascend_firmware": "Ascend firmware",
        "cann": "CANN",
        "cpu": "CPU",
        "cpu_count": "logical CPUs",
        "os": "system",
        "python": "Python",
        "hubpkg": "hubpkg",
        "commit": "commit",
        "lock": "lock",
    }
    rows = {title: found[key] for key, title in names.items() if found.get(key) is not None}
    return {"rows": rows, "packages": found.get("packages", {}), "noise": contents["performance"].get("noise", [])}
