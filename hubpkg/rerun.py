"""``verify --rerun``: load a package as a consumer would, evaluate it again, and compare image by image."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from hubpkg import evaluation, hub, manifest
from hubpkg.errors import HubpkgError
from hubpkg.verification import Check, Verification

_SHOWN = 5  # images in a check's detail; the rest is counted


def verify(
    result: Verification, data_dir: Path | None, device: str | None, *, skip_damaged: bool = False
) -> Verification:
    """Add what a rerun shows to ``result``, a package that static checks found right.

    Args:
        result: what :func:`hubpkg.verification.verify` found.
        data_dir: where the dataset's files are, for a dataset that has files.
        device: ``CPU`` or ``Ascend``; None for the one that MindSpore was built for.
        skip_damaged: whether to leave out images that are damaged or missing.

    Raises:
        HubpkgError: the environment lacks what a rerun needs: MindSpore or the dataset.
    """
    return replace(
        result, checks=(*result.checks, *_checks(result.package, data_dir, device, skip_damaged=skip_damaged))
    )


def _checks(package: Path, data_dir: Path | None, device: str | None, *, skip_damaged: bool) -> Iterator[Check]:
    from hubpkg.runtime import datasets, framework, inference

    contents = manifest.read(package / manifest.NAME)
    recipe, dataset = contents["inputs"]["recipe"], contents["dataset"]
    split = datasets.load(recipe, "test", data_dir, skip_damaged=skip_damaged)
    wanted = contents["inputs"]["data"]["test"]["sha256"]
    found = "as the manifest says" if split.sha256 == wanted else f"expected {wanted}, found {split.sha256}"
    left_out = f"; {len(split.damaged)} damaged or missing, left out" if split.damaged else ""
    yield Check("data", split.sha256 == wanted, f"fingerprint of {dataset}: {found}{left_out}")
    stored = evaluation.read_predictions(package / evaluation.PREDICTIONS)
    framework.start(recipe["jit_level"], device)
    try:
        network = hub.load(str(package))
        run = inference.predict(network, split.images, recipe)
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
