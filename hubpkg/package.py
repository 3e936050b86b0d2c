"""The pipe: model + dataset -> checkpoint -> evaluation -> performance -> card -> package."""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hubpkg import (
    assembly,
    cache,
    card,
    checkpoint,
    diagnosis,
    documents,
    entrypoint,
    evaluation,
    evaluator,
    fetch,
    manifest,
    mistakes,
    performance,
    predictions,
    report,
    signature,
    stages,
    trained,
    trainer,
    verification,
)
from hubpkg.errors import CheckpointError, HubpkgError, IntegrityError
from hubpkg.job import Job, check_writable
from hubpkg.predictions import Prediction
from hubpkg.spec import ModelSpec
from hubpkg.transport import Policy, shown


@dataclass(frozen=True)
class Package:
    """A finished package: its folder, and what its manifest says."""

    folder: Path
    contents: Mapping[str, Any]

    @property
    def damaged(self) -> int:
        """How many images were damaged or missing, and not evaluated."""
        return len(self.contents["inputs"]["data"]["test"]["damaged"])

    def as_json(self) -> dict[str, Any]:
        """What ``hubpkg build --json`` prints."""
        measured = self.contents["evaluation"]
        return {
            "uid": self.contents["uid"],
            "package": str(self.folder),
            "card": str(self.folder / f"{self.contents['package']}.md"),
            "checkpoint": str(self.folder / self.contents["checkpoint"]["file"]),
            "metrics": evaluation.values(measured),
            "samples": measured["samples"],
            "damaged": self.damaged,
            "performance": self.contents["performance"],
            "report": str(report.path_of(self.folder)),
        }


@dataclass(frozen=True)
class Weights:
    """Where weights come from that are not trained here.

    Attributes:
        given: ``fetch``, for what model.yaml names; or a checkpoint file's path or URL.
        sha256: digest of the file or URL; None where there is none to compare with.
        policy: how patient and strict fetching is.
    """

    given: str
    sha256: str | None
    policy: Policy


def build(job: Job, weights_from: Weights | trainer.Plan, out: Path) -> Package:
    """Build the package of ``job`` in the folder ``out``.

    Each stage's results are kept in the cache by the stage's inputs, and taken from there when those are the same.
    The package takes its place in ``out`` when it is complete and verified, and not before.

    Args:
        job: the model, the dataset and the machine.
        weights_from: how they are trained, or where they come from.
        out: the folder that the package is put in.

    Raises:
        HubpkgError: an input can't be used; ``out`` is as it was.
    """
    from hubpkg.runtime import engines

    if job.engine is not None:
        engines.choose(job.engine, job.device)  # says, before the work begins, what is missing
    with output(out, job.spec.package_name, job.report) as partial:
        if isinstance(weights_from, trainer.Plan):
            weights = trainer.weights(job, weights_from)
        else:
            weights = _adopt(job, weights_from)
        evaluated = _evaluate(job, weights)
        timed = _benchmark(job, weights)
        contents = _assemble(partial, job, weights, evaluated, timed)
        target = put_in_place(partial, out / job.spec.package_name, job.report)
        report.make(target)
        return Package(target, contents)


def _add_mistakes(partial: Path, job: Job) -> None:
    """Put the images that the network gets most wrong into the package, where the dataset has images to pass on."""
    from hubpkg.runtime import thumbnails

    classes = job.spec.recipe.get("num_classes")
    if classes is None or not job.spec.fields.get("thumbnails", True):
        return
    predicted = (each for each in predictions.read(partial / predictions.FILE) if isinstance(each, Prediction))
    names = [mistake.image for mistake in diagnosis.diagnose(predicted, classes).mistakes]
    if pictures := thumbnails.make(job.test.images, names):
        mistakes.write(partial / mistakes.FILE, pictures)


def _adopt(job: Job, weights_from: Weights) -> Path:
    """The stage that checks a checkpoint made elsewhere, whose network must be the model's."""

    def produce(folder: Path) -> None:
        copied = cache.copy(file, folder / "model.ckpt")
        named = re.search(r"-([0-9a-f]{8})(-[^-]*)?\.ckpt$", name)
        if named and named[1] != copied[:8]:
            raise IntegrityError(f"{origin}: expected the sha256 that its name says, {named[1]}..., found {copied}")
        if copied != (sha256 or copied):
            raise IntegrityError(f"{origin}: expected the sha256 {sha256}, found {copied}")
        try:
            checkpoint.restore(job.network(), folder / "model.ckpt")
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(folder / "model.ckpt"), origin)) from None
        (folder / "origin.json").write_text(json.dumps({"link": link}), encoding="utf-8")

    file, sha256, link = _find(job.spec, weights_from, job.report)
    origin = link or str(file)
    name = origin.rpartition("/")[2]
    given = {"file": manifest.record(file).sha256, "name": name, "sha256": sha256, "link": link}
    weights = stages.run("checkpoint", {**job.base, **given}, produce, job.report)
    job.inputs  # noqa: B018 - says where the data are missing
    return weights


def _find(spec: ModelSpec, weights_from: Weights, report: Callable[[str], None]) -> tuple[Path, str | None, str | None]:
    """The checkpoint file, the digest that it must have, if one was given, and the link that it is named by."""
    given, sha256 = weights_from.given, weights_from.sha256
    if given == "fetch" or given.startswith(("https://", "http://")):
        links = [given]
        if given == "fetch":
            asset = spec.fields.get("checkpoint")
            if asset is None:
                raise HubpkgError(
                    f"{spec.folder / 'model.yaml'}: datasets.{spec.dataset}: expected the key checkpoint, which says "
                    "what to fetch, found none; give a URL and --sha256 instead"
                )
            links, sha256 = [link.strip("<>") for link in asset["links"]], sha256 or asset["sha256"]
        if sha256 is None:
            raise HubpkgError(f"--sha256: expected the SHA-256 of {shown(given)}, found none")
        path = fetch.fetch(links, sha256, weights_from.policy, report)
        return path, path.name, shown(links[0])
    file = Path(given)
    if not file.is_file() or file.suffix != ".ckpt":
        what = f"no file {file}" if not file.is_file() else file
        raise HubpkgError(f"--checkpoint: expected 'train', 'fetch', a URL, or a checkpoint file *.ckpt, found {what}")
    return file, sha256.lower() if sha256 else None, None


def _evaluate(job: Job, weights: Path) -> Path:
    def produce(folder: Path) -> None:
        from hubpkg.runtime import environment

        run = evaluator.measure(job, weights / "model.ckpt", folder / "predictions.csv")
        metrics = job.extension.measure(predictions.read(folder / "predictions.csv"), job.spec.recipe)
        device = job.mindspore.get_context("device_target")
        source = {"commit": environment.commit(), "lock": environment.lock(), "packages": environment.packages()}
        made = {
            "measured": _today(),
            "device": device,
            "engine": run["engine_facts"],
            "metrics": metrics,
            "source": source,
        }
        (folder / "made.json").write_text(json.dumps(made), encoding="utf-8")

    from hubpkg.runtime import engines

    engine = {"asked": job.engine, "onnxruntime": engines.version(engines.ONNX_RUNTIME)}
    inputs = {**job.inputs, "checkpoint": _digest(weights), "engine": engine}
    return stages.run("evaluate", inputs, produce, job.report)


def _today() -> str:
    return stages.now().partition("T")[0]


def _benchmark(job: Job, weights: Path) -> Path:
    record = weights / trained.RECORD

    def produce(folder: Path) -> None:
        from hubpkg.runtime import engines, timing

        network = job.network()
        checkpoint.restore(network, weights / "model.ckpt")
        network.set_train(False)
        sizes = timing.throughput_sizes(job.spec.recipe)
        inference = list(timing.time_inference(lambda x: engines.run_network(network, x), job.spec.recipe, sizes))
        if record.exists():
            steps = performance.timing_of(json.loads(record.read_text(encoding="utf-8"))["timing"])
        else:
            steps = timing.time_training(job.network(), job.spec.recipe)
        performance.write_timings(folder / "timing.json", performance.Timings(steps, inference))
        performance.write_parameters(folder / "parameters.csv", timing.parameters(network))

    inputs = {**job.inputs, "checkpoint": _digest(weights), "trained": record.exists()}
    return stages.run("benchmark", inputs, produce, job.report)


def _digest(weights: Path) -> str:
    return manifest.record(weights / "model.ckpt").sha256


@contextmanager
def output(out: Path, name: str, report: Callable[[str], None]) -> Iterator[Path]:
    """The path of a folder in ``out`` in which a package can be made; nothing is left of it, whatever happens."""
    out = out.absolute()
    target, partial, replaced = out / name, out / f".{name}.partial", out / f".{name}.replaced"
    lock = cache.lock_of(manifest.digest([str(out), name])[:16])
    _today()  # says, before the work begins, what is wrong with SOURCE_DATE_EPOCH
    with cache.locked(lock, report):
        if os.path.lexists(target) and not (target / manifest.NAME).is_file():
            raise HubpkgError(
                f"{target}: expected a package that may be replaced, or nothing, found something else; move it away, "
                "or give another --out"
            )
        made_out = not out.exists()
        if replaced.exists() and not target.exists():  # a build was killed between two renames
            replaced.rename(target)
        for leftover in (partial, replaced):
            if leftover.exists():
                shutil.rmtree(leftover)
        check_writable(out)
        try:
            yield partial
        finally:
            if partial.exists():
                shutil.rmtree(partial)
            if made_out and not any(out.iterdir()):
                out.rmdir()


def _assemble(partial: Path, job: Job, weights: Path, evaluated: Path, timed: Path) -> dict[str, Any]:
    """Write the package's files into ``partial``, and its manifest last; give what the manifest says."""
    spec = job.spec
    partial.mkdir()
    sha256 = _digest(weights)
    trains = (weights / trained.RECORD).exists()
    files = {
        f"{spec.name}-{sha256[:8]}.ckpt": weights / "model.ckpt",
        predictions.FILE: evaluated / "predictions.csv",
        performance.TIMING: timed / "timing.json",
        performance.PARAMETERS: timed / "parameters.csv",
        **({name: weights / file for name, file in trained.EVIDENCE.items()} if trains else {}),
        **{f"{spec.entry_name}/{name}": file for name, file in spec.entry_files.items()},
        # The card's pictures lie where repo-link leads, as those beside it do not come to the hub with it.
        **({f"{spec.entry_name}/{trained.CURVES}": weights / trained.CURVES} if trains else {}),
    }
    for name, file in files.items():
        (partial / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, partial / name)
    _add_mistakes(partial, job)
    _write_recipe(partial / spec.entry_name / "recipes" / f"{spec.dataset}.yaml", spec.recipe)
    (partial / spec.entry_name / entrypoint.DEFAULTS).write_text(
        json.dumps(spec.network_defaults, indent=2) + "\n", encoding="utf-8"
    )
    data = {"test": job.test.as_json(), **({"train": job.train.as_json()} if trains else {})}
    made = json.loads((evaluated / "made.json").read_text(encoding="utf-8"))
    contents: dict[str, Any] = {
        "format": manifest.FORMAT,
        "template": card.TEMPLATE,
        "published": False,
        "uid": spec.uid,
        "package": spec.package_name,
        "model": spec.name,
        "dataset": spec.dataset,
        "entry": spec.entry_name,
        "card": {
            **spec.card_fields,
            "dataset": job.source.card_text(job.test.images.what),
        },
        "checkpoint": {"file": next(iter(files)), "sha256": sha256, **_source_of(weights)},
        "inputs": {
            "recipe": dict(spec.recipe),
            **({"settings": dict(sorted(spec.settings.items()))} if spec.settings else {}),
            "data": data,
            **({"extension": spec.extension} if spec.extension else {}),
            "code": job.inputs["code"],
        },
        "environment": _environment(job, made),
        "times": stages.times(weights, evaluated, timed),
        "evaluation": {
            **verification.evaluation_of(partial),
            **({"metrics": made["metrics"]} if made["metrics"] else {}),
            "measured": made["measured"],
            "tolerance": evaluation.LOGIT_TOLERANCE,
            "engine": made["engine"],
        },
        "performance": verification.performance_of(partial),
    }
    assembly.finish(partial, contents)
    return contents


def _write_recipe(file: Path, recipe: Mapping[str, Any]) -> None:
    """Let the package's copy of the recipe be the one that its figures are of."""
    if {"devices": 1, **documents.read(file, "recipe").data} != {"devices": 1, **recipe}:
        head = "# The model's recipe with the settings of this package, as its figures were made.\n"
        file.write_text(head + yaml.safe_dump(dict(recipe), sort_keys=False), encoding="utf-8")


def _source_of(weights: Path) -> dict[str, Any]:
    """Where the weights come from, as the manifest says it."""
    if (weights / trained.RECORD).exists():
        record = json.loads((weights / trained.RECORD).read_text(encoding="utf-8"))
        averaged = {"averaged": True} if record["averaged"] else {}
        return {"source": "train", **averaged, **({"start": record["start"]} if record["start"] else {})}
    link = json.loads((weights / "origin.json").read_text(encoding="utf-8"))["link"]
    return {"source": "fetch", "link": link} if link else {"source": "file"}


def _environment(job: Job, made: Mapping[str, Any]) -> dict[str, Any]:
    found = {**job.base["environment"], **made["source"]}
    if made["device"] == "Ascend":
        return {**found, "devices": "Ascend"}
    return {**found, "devices": f"the {made['device']}", "ascend_driver": None, "ascend_firmware": None, "cann": None}


def put_in_place(partial: Path, target: Path, report: Callable[[str], None]) -> Path:
    """Verify the package in ``partial`` and let it take the place of ``target``."""
    failed = [check for check in verification.verify(partial).checks if not check.ok]
    if failed:
        raise HubpkgError("the package that was built does not verify: " + "; ".join(c.detail for c in failed))
    if target.exists():
        if _same(partial, target):
            report(f"package: {target} is up to date")
            return target
        replaced = target.with_name(f".{target.name}.replaced")
        target.rename(replaced)
        partial.rename(target)
        _tell_lost(replaced, target, report)
        shutil.rmtree(replaced)
    else:
        partial.rename(target)
    report(f"package: {target} written and verified")
    return target


def _tell_lost(replaced: Path, target: Path, report: Callable[[str], None]) -> None:
    """Say what the package that was ``replaced`` by that in ``target`` had, and this one has not."""
    with suppress(HubpkgError):  # it may have been damaged
        was, now = manifest.read(replaced / manifest.NAME), manifest.read(target / manifest.NAME)
        if was["published"] and not now["published"]:
            report(f"package: {target} is not published any more; publish it again: hubpkg publish {target}")
        if was.get("exports") and not now.get("exports"):
            report(f"package: {target} has no exports any more; make them again: hubpkg export {target}")
    if (signed := signature.path_of(target)).exists():
        report(f"{signed}: is over the package as it was before; sign it again: hubpkg sign {target}")


def _same(partial: Path, target: Path) -> bool:
    try:
        same = (partial / manifest.NAME).read_bytes() == (target / manifest.NAME).read_bytes()
    except OSError:
        return False
    return same and verification.verify(target).ok
