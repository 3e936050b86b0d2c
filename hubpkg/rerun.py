"""``verify --rerun``: load a package as a consumer would, evaluate it again, and compare image by image."""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

from hubpkg import evaluation, exporter, hub, location, manifest, predictions
from hubpkg import recipe as recipes
from hubpkg.errors import HubpkgError, LogitsError
from hubpkg.job import code_digest
from hubpkg.verification import Check, Verification

_SHOWN = 5  # images in a check's detail; the rest is counted
_TRIES = 1e12  # manifests that a forger may make, until one has a sample that misses what was forged
_SURE = 1e-3  # chance of that, below which a forgery of some size is called found


@dataclass(frozen=True)
class Where:
    """What a rerun runs on.

    Attributes:
        data_dir: where the dataset's files are, for a dataset that has files.
        device: ``CPU`` or ``Ascend``; None for the one that MindSpore was built for.
        engine: ``mindspore`` or ``onnxruntime``; None for the faster one that can be trusted.
        skip_damaged: whether to leave out images that are damaged or missing.
        sample: how many images to evaluate; None for all.
        report: told, in one line each, what is done.
    """

    data_dir: Path | None
    device: str | None
    engine: str | None
    skip_damaged: bool
    sample: int | None
    report: Callable[[str], None]


def verify(result: Verification, where: Where) -> Verification:
    """Add what a rerun shows to ``result``, a package that static checks found right.

    Raises:
        HubpkgError: the environment lacks what a rerun needs: MindSpore, the engine or the dataset.
    """
    return replace(result, checks=(*result.checks, *_checks(result.package, where)))


class _NotLoadedError(Exception):
    """The package does not load."""


def _loaded(package: Path, entry: str) -> Any:
    try:
        return hub.load(str(package))
    except HubpkgError as error:
        raise _NotLoadedError(str(error)) from None
    except (Exception, SystemExit) as error:  # noqa: BLE001 - what the package's code raises is a finding
        raise _NotLoadedError(_raised(entry, error)) from None


def _raised(entry: str, error: BaseException) -> str:
    message = str(error).partition("\n")[0]
    return f"{entry}: running it raised {type(error).__name__}: {message}"


def _checks(package: Path, where: Where) -> Iterator[Check]:
    from hubpkg.runtime import datasets, engines, environment, framework, inference

    contents = manifest.read(package / manifest.NAME)
    recipe, dataset = contents["inputs"]["recipe"], contents["dataset"]
    engines.choose(where.engine, where.device)  # says, before the work begins, what is missing
    try:
        extension = _extension(package, contents)
    except HubpkgError as error:
        yield Check("extension", ok=False, detail=str(error))
        return
    source = datasets.find(dataset, extension.datasets)
    split = datasets.load(recipe, "test", where.data_dir, skip_damaged=where.skip_damaged, source=source)
    wanted = contents["inputs"]["data"]["test"]["sha256"]
    found = "as the manifest says" if split.sha256 == wanted else f"expected {wanted}, found {split.sha256}"
    left_out = f"; {len(split.damaged)} damaged or missing, left out" if split.damaged else ""
    yield Check("data", split.sha256 == wanted, f"fingerprint of {dataset}: {found}{left_out}")
    stored, seed = list(predictions.read(package / predictions.FILE)), manifest.record(package / manifest.NAME).sha256
    if contents["evaluation"].get("metrics") or extension.metrics:
        yield _check_metrics(contents, extension, stored)
    if where.sample is not None and where.sample < len(split.images):
        yield _check_images(stored, split.images)
        indices = draw(split.images.names, seed, where.sample)
        split = replace(split, images=split.images.chosen(indices, None))
        drawn = set(split.images.names)
        evaluated = [prediction for prediction in stored if prediction.image in drawn]
    else:
        evaluated = stored
    mindspore = framework.start(recipe["jit_level"], where.device)
    identity = {
        "package": seed,
        "environment": environment.capture(),
        "device": where.device,
        "code": code_digest(),
    }
    try:
        network = _loaded(package, contents["entry"])
        task = engines.Task(lambda: network, identity, split, recipe, None, where.report)
        run = inference.predict(task, engines.prepare(where.engine, task, where.device))
        run.journal.remove()
    except (_NotLoadedError, LogitsError) as error:
        yield Check("rerun", ok=False, detail=str(error))
        return
    except (HubpkgError, OSError):  # the environment lacks something
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - what the package's code raises is a finding
        yield Check("rerun", ok=False, detail=_raised(contents["entry"], error))
        return
    device = mindspore.get_context("device_target")
    tolerance = _tolerance(contents, run.engine["name"], device)
    compared = evaluation.compare(evaluated, run.predictions, tolerance)
    noun, value = recipes.noun(recipe), "an output" if recipes.is_regression(recipe) else "a logit"
    detail = (
        f"{len(evaluated)} {noun}s evaluated again by {run.engine['name']}: {len(compared.differing)} differ, "
        f"{len(compared.reranked)} changed ranks within the tolerance; the largest change of {value} is "
        f"{compared.largest:.2g}, the tolerance {tolerance:g}; in total the counts differ by {compared.moved}, the "
        f"tolerance {compared.allowed}"
    )
    if len(evaluated) < len(stored):
        detail += f"; {chances(len(stored), len(evaluated), regression=recipes.is_regression(recipe))}"
    yield Check("rerun", compared.ok, "; ".join([detail, *_some([*compared.differing, *compared.reranked])]))
    again = exporter.again(package, contents, lambda: _loaded(package, contents["entry"]), device)
    yield from (Check("exported", *outcome) for outcome in again)


def _some(lines: Sequence[str]) -> list[str]:
    """The first of ``lines``, and how many more there are."""
    return [*lines[:_SHOWN], *([f"and {len(lines) - _SHOWN} more"] if len(lines) > _SHOWN else [])]


def _extension(package: Path, contents: Mapping[str, Any]) -> Any:
    """The package's own datasets and metrics, by code that was compared with the manifest."""
    from hubpkg.runtime import extensions

    file, entry = contents["inputs"].get("extension"), contents["entry"]
    if file is None:
        return extensions.NONE
    sources = {
        name.removeprefix(f"{entry}/"): location.compare((package / name).read_bytes(), name, contents, name)
        for name in contents["files"]
        if name.startswith(f"{entry}/")
    }
    return extensions.load(package / entry, sources, file)


def _check_metrics(contents: Mapping[str, Any], extension: Any, stored: Sequence[predictions.Record]) -> Check:
    """Whether the package's own code computes the same metrics again from the stored predictions."""
    from hubpkg.runtime import extensions

    claimed = contents["evaluation"].get("metrics", {})
    try:
        faults = extensions.differences(claimed, extension.measure(stored, contents["inputs"]["recipe"]))
    except HubpkgError as error:
        faults = [str(error)]
    shown = ", ".join(f"{name} {entry['value']:g}" for name, entry in claimed.items())
    found = f"{shown}, computed again by {contents['inputs'].get('extension')} from {predictions.FILE}"
    return Check("metrics", not faults, "; ".join(faults) or found)


def _tolerance(contents: Mapping[str, Any], engine: str, device: str) -> float:
    """By how much a logit may differ from the package's, on an engine and a device that may be others."""
    if not contents["environment"]["devices"].endswith(device):
        return evaluation.DEVICE_TOLERANCE
    measured = contents["evaluation"]
    if engine != measured["engine"]["name"]:
        return evaluation.ENGINE_TOLERANCE
    return min(float(measured["tolerance"]), evaluation.LOGIT_TOLERANCE)  # the package may not widen it


def _check_images(stored: Sequence[predictions.Record], images: Any) -> Check:
    """Whether the predictions are of just the dataset's images, with their labels: all of them, drawn or not."""
    labels = dict(zip(images.names, images.labels, strict=True))
    faults = [
        f"{p.image}: expected label {p.label}, found {labels[p.image]}"
        if p.image in labels
        else f"{p.image}: not in the dataset any more"
        for p in stored
        if labels.get(p.image) != p.label
    ]
    faults += [f"{image}: not among the stored predictions" for image in labels.keys() - {p.image for p in stored}]
    found = f"{len(faults)} of {len(labels)} images or their labels differ from the dataset's"
    return Check("images", not faults, "; ".join([found, *_some(sorted(faults))]))


def draw(names: Sequence[str], seed: str, count: int) -> list[int]:
    """The indices of ``count`` of the images ``names``, in their order: those whose digests with ``seed`` are least."""
    digests = [hashlib.sha256(f"{seed}:{name}".encode(errors="surrogateescape")).digest() for name in names]
    return sorted(sorted(range(len(names)), key=digests.__getitem__)[:count])


def chances(images: int, drawn: int, *, regression: bool = False) -> str:
    """What a forger's chances are to pass, with that many of ``images`` drawn: a sentence.

    Of a regression it tells the chance of one output alone, which may lie by however much.

    Whoever claims that k more images are right has to forge k predictions, or labels, which are all compared. The
    chance that none of them is drawn is hypergeometric. The manifest's digest decides what is drawn, and the forger
    makes the manifest: so the second part tells what is found even of one who has made very many.
    """
    if regression:
        missed_one = 1 - drawn / images
        return f"one output that was forged, by however much, slips through with a chance of {missed_one:.2g}"
    missed = list(accumulate(range(images), lambda p, k: p * max(0, images - drawn - k) / (images - k), initial=1.0))
    point = -(-images // 100)
    hidden = next(k for k, chance in enumerate(missed) if chance * _TRIES < _SURE)
    return (
        f"an accuracy forged by one point, {point} image{'s' if point > 1 else ''}, slips through with a chance of "
        f"{missed[point]:.2g}; one forged by {math.ceil(1000 * hidden / images) / 10:g} points is found with a chance "
        f"of {1 - _SURE:g}, even if {_TRIES:.0e} "
        "manifests were tried to hide it"
    )
