"""``verify --rerun``: load a package as a consumer would, evaluate it again, and compare image by image."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from hubpkg import evaluation, hub, manifest, verification
from hubpkg.errors import HubpkgError
from hubpkg.verification import Check, Verification

_SHOWN = 5  # images in a check's detail; the rest is counted


def verify(result: Verification, data_dir: Path | None, device: str | None, report: Callable[[str], None]
           ) -> Verification:
    """Add what a rerun shows to ``result``, a package that static checks found right.

    Args:
        result: what :func:`hubpkg.verification.verify` found.
        data_dir: where the dataset's files are, for a dataset that has files.
        device: ``CPU`` or ``Ascend``; None for the one that MindSpore was built for.
        report: told, in one line, of a MindSpore that is slow.

    Raises:
        HubpkgError: the environment lacks what a rerun needs: MindSpore or the dataset.
    """
    return replace(result, checks=(*result.checks, *_checks(result.package, data_dir, device, report)))


def _checks(package: Path, data_dir: Path | None, device: str | None, report: Callable[[str], None]
            ) -> Iterator[Check]:
    from hubpkg.runtime import datasets, framework, inference

    contents = manifest.read(package / manifest.NAME)
    recipe, dataset = contents["inputs"]["recipe"], contents["dataset"]
    fingerprint = datasets.find(dataset).fingerprint(data_dir)
    wanted = contents["inputs"]["data"]
    yield Check("data", fingerprint == wanted, f"{dataset}: expected the fingerprint {wanted}, found {fingerprint}")
    framework.start(recipe["jit_level"], device, report)
    try:
        network = hub.load(str(package))
        run = inference.predict(network, dataset, data_dir, recipe)
    except HubpkgError as error:
        yield Check("rerun", False, str(error))
        return
    stored = evaluation.read_predictions(package / verification.PREDICTIONS)
    compared = evaluation.compare(stored, run.predictions, contents["evaluation"]["tolerance"])
    detail = (f"{len(stored)} images evaluated again: {len(compared.differing)} differ, {len(compared.reranked)} changed "
              f"ranks within the tolerance; the largest change of a logit is {compared.largest:.2g}, the tolerance "
              f"{contents['evaluation']['tolerance']:g}")
    shown = [*compared.differing, *compared.reranked]
    more = [f"and {len(shown) - _SHOWN} more"] if len(shown) > _SHOWN else []
    yield Check("rerun", not compared.differing, "; ".join([detail, *shown[:_SHOWN], *more]))
