"""``verify --rerun``: load a package as a consumer would, evaluate it again, and compare image by image."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hubpkg import evaluation, hub, manifest
from hubpkg.errors import HubpkgError
from hubpkg.verification import Check, Verification

_SHOWN = 5  # images in a check's detail; the rest is counted


def verify(result: Verification, data_dir: Path | None, device: str | None) -> Verification:
    """Add what a rerun shows to ``result``, a package that static checks found right.

    Args:
        result: what :func:`hubpkg.verification.verify` found.
        data_dir: where the dataset's files are, for a dataset that has files.
        device: ``CPU`` or ``Ascend``; None for the one that MindSpore was built for.

    Raises:
        HubpkgError: the environment lacks what a rerun needs: MindSpore or the dataset.
    """
    return replace(result, checks=(*result.checks, *_checks(result.package, data_dir, device)))


def _checks(package: Path, data_dir: Path | None, device: str | None) -> Iterator[Check]:
    from hubpkg.runtime import datasets, framework, inference

    contents = manifest.read(package / manifest.NAME)
    recipe, dataset = contents["inputs"]["recipe"], contents["dataset"]
    fingerprint = datasets.find(dataset).fingerprint(data_dir)
    wanted = contents["inputs"]["data"]
    found = "as the manifest says" if fingerprint == wanted else f"expected {wanted}, found {fingerprint}"
    yield Check("data", fingerprint == wanted, f"fingerprint of {dataset}: {found}")
    stored = evaluation.read_predictions(package / evaluation.PREDICTIONS)
    framework.start(recipe["jit_level"], device)
    try:
        network = hub.load(str(package))
        run = inference.predict(network, dataset, data_dir, recipe)
    except HubpkgError as error:
        yield Check("rerun", ok=False, detail=str(error))
        return
    except (Exception, SystemExit) as error:  # noqa: BLE001 - what the package's code raises is a finding
        message = str(error).partition("\n")[0]
        detail = f"{contents['entry']}: running it raised {type(error).__name__}: {message}"
        yield Check("rerun", ok=False, detail=detail)
        return
    tolerance = min(contents["evaluation"]["tolerance"], evaluation.LOGIT_TOLERANCE)  # the package may not widen it
    compared = evaluation.compare(stored, run.predictions, tolerance)
    detail = (
        f"{len(stored)} images evaluated again: {len(compared.differing)} differ, {len(compared.reranked)} changed "
        f"ranks within the tolerance; the largest change of a logit is {compared.largest:.2g}, the tolerance "
        f"{tolerance:g}"
    )
    shown = [*compared.differing, *compared.reranked]
    more = [f"and {len(shown) - _SHOWN} more"] if len(shown) > _SHOWN else []
    yield Check("rerun", not compared.differing, "; ".join([detail, *shown[:_SHOWN], *more]))
