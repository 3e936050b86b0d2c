"""``verify --rerun``: load a package as a consumer would, evaluate it again, and compare image by image."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hubpkg import evaluation, hub, manifest, predictions
from hubpkg.errors import HubpkgError, LogitsError
from hubpkg.job import code_digest
from hubpkg.verification import Check, Verification

_SHOWN = 5  # images in a check's detail; the rest is counted


@dataclass(frozen=True)
class Where:
    """What a rerun runs on.

    Attributes:
        data_dir: where the dataset's files are, for a dataset that has files.
        device: ``CPU`` or ``Ascend``; None for the one that MindSpore was built for.
        engine: ``mindspore`` or ``onnxruntime``; None for the faster one that can be trusted.
        skip_damaged: whether to leave out images that are damaged or missing.
        report: told, in one line each, what is done.
    """

    data_dir: Path | None
    device: str | None
    engine: str | None
    skip_damaged: bool
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
    split = datasets.load(recipe, "test", where.data_dir, skip_damaged=where.skip_damaged)
    wanted = contents["inputs"]["data"]["test"]["sha256"]
    found = "as the manifest says" if split.sha256 == wanted else f"expected {wanted}, found {split.sha256}"
    left_out = f"; {len(split.damaged)} damaged or missing, left out" if split.damaged else ""
    yield Check("data", split.sha256 == wanted, f"fingerprint of {dataset}: {found}{left_out}")
    framework.start(recipe["jit_level"], where.device)
    identity = {
        "package": manifest.record(package / manifest.NAME).sha256,
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
    measured = contents["evaluation"]
    if run.engine["name"] == measured["engine"]["name"]:
        tolerance = min(measured["tolerance"], evaluation.LOGIT_TOLERANCE)  # the package may not widen it
    else:
        tolerance = evaluation.ENGINE_TOLERANCE
    compared = evaluation.compare(predictions.read(package / predictions.FILE), run.predictions, tolerance)
    detail = (
        f"{measured['samples']} images evaluated again by {run.engine['name']}: {len(compared.differing)} differ, "
        f"{len(compared.reranked)} changed ranks within the tolerance; the largest change of a logit is "
        f"{compared.largest:.2g}, the tolerance {tolerance:g}"
    )
    shown = [*compared.differing, *compared.reranked]
    more = [f"and {len(shown) - _SHOWN} more"] if len(shown) > _SHOWN else []
    yield Check("rerun", not compared.differing, "; ".join([detail, *shown[:_SHOWN], *more]))
