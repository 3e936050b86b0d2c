"""``hubpkg init``: a name and some answers, or a card that there is -> a model folder that builds at once."""

import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubpkg import card, documents, spec
from hubpkg.errors import HubpkgError

QUESTIONS = ("title", "summary", "author", "user-id", "publisher", "license")  # keys of model.yaml that are asked for
_TAKEN = (  # from a card
    *("backbone-name", "module-type", "fine-tunable", "model-version", "author", "user-id", "repo-link", "used-for"),
    *("license", "summary"),
)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_TITLE = re.compile(r"^# +(?P<title>.+?) *$", re.MULTILINE)
_PAPER = re.compile(r"^> *\[(?P<title>[^\]]+)\]\((?P<link>\S+)\)", re.MULTILINE)
_SECTION = r"^#+ +{} *\n+(?P<text>[^#<|]+?)\s*(?=^#|^<|^\||\Z)"
_METRICS = {"top1acc": "top1", "top5acc": "top5"}
_NETWORK = "network.py"  # whose name the model's goes before, as modules of all loaded models share their names
_SHA256 = 64  # digits
_TEMPLATES = Path(__file__).with_name("templates") / "model"


@dataclass(frozen=True)
class Made:
    """What was made: the model's folder, and what it still lacks, a sentence each."""

    folder: Path
    missing: tuple[str, ...]


def make(
    name: str, given: Mapping[str, str], start: Path | None, out: Path, ask: Callable[[str, str], str] | None
) -> Made:
    """Make the folder of the model ``name`` in the folder ``out``.

    Args:
        name: the model's.
        given: values of keys of model.yaml, which are not asked for.
        start: a card to take the others from; None for defaults.
        out: the folder of models.
        ask: asked for each other of :data:`QUESTIONS` by its key, and told what an empty answer means; None takes that.

    Raises:
        HubpkgError: a value can't be used, or there is such a folder; nothing is left of it.
    """
    if not _NAME.fullmatch(name):
        raise HubpkgError(
            f"expected a name of lower-case letters, digits, '.', '_' and '-', as the hub has them, found {name!r}"
        )
    folder, partial = out / name, out / f".{name}.partial"
    if os.path.lexists(folder):
        raise HubpkgError(f"{folder}: expected no such folder, found one; give another name, or another --out")
    fields = _defaults(name)
    missing: list[str] = []
    datasets: dict[str, dict[str, Any]] = {}
    if start is not None:
        fields, missing, datasets = _from_card(fields, start)
    for key, value in given.items():
        if fault := _fault(key, value):
            raise HubpkgError(f"--{fault}")
        fields[key] = value
    for key in QUESTIONS if ask else ():
        if ask is not None and key not in given:
            fields[key] = _answer(key, str(fields[key]), ask)
    missing = [sentence for sentence in missing if sentence.partition(":")[0] not in given]
    out.mkdir(parents=True, exist_ok=True)
    try:
        _write(partial, name, fields, datasets)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return Made(folder, tuple(missing))


def _defaults(name: str) -> dict[str, Any]:
    return {
        "title": name,
        "backbone-name": name,
        "module-type": "cv",
        "fine-tunable": True,
        "model-version": "2.8",  # as the hub has it: the release of MindSpore that the model is for
        "author": "anonymous",
        "user-id": spec.ANONYMOUS,
        "publisher": "anonymous",
        "repo-link": f"https://example.com/anonymous/models/tree/main/{name}",
        "asset-base-url": "https://example.com/anonymous/assets/",
        "used-for": "inference",
        "license": "Apache-2.0",
        "summary": f"{name} classifies small images",
        "introduction": "Two convolutions, each with a normalisation, and a linear layer on the mean over the image.",
    }


def _fault(key: str, value: Any) -> str | None:
    """What is wrong with the ``value`` of model.yaml's ``key``."""
    return next((fault for path, fault in documents.faults_of({key: value}, "model") if path[:1] == (key,)), None)


def _answer(key: str, default: str, ask: Callable[[str, str], str]) -> str:
    told = ""
    while True:
        answer = ask(f"{told}{key}", default).strip() or default
        if not (fault := _fault(key, answer)):
            return answer
        told = f"{fault}\n"


def _from_card(fields: dict[str, Any], path: Path) -> tuple[dict[str, Any], list[str], dict[str, dict[str, Any]]]:
    """The fields with the card's in place of the defaults, what it lacks, and its dataset with what it says of it."""
    read = card.read(path)
    found, body = read.fields, read.body
    fields, missing = dict(fields), []
    stated = {key: found[key] for key in _TAKEN if key in found}
    if "repo-link" in stated:
        stated["repo-link"] = str(stated["repo-link"]).strip("<>").rstrip("/")
    publisher = path.absolute().parent.parent.name
    if not _fault("publisher", publisher) and path.absolute().parent.name == str(found.get("model-version")):
        stated["publisher"] = publisher  # as the hub lays its cards out
    if match := _TITLE.search(body):
        stated["title"] = match["title"].replace(": ", ", ")  # the hub takes no colon there
    if match := _PAPER.search(body):
        stated["paper"] = {"title": match["title"], "link": match["link"].strip("<>")}
    if match := re.search(_SECTION.format("Introduction"), body, re.MULTILINE):
        stated["introduction"] = match["text"]
    for key in (*_TAKEN, "publisher", "title", "paper", "introduction"):
        if key not in stated:
            missing.append(f"{key}: expected it on the card, found none; {_instead(fields, key)}")
        elif fault := _fault(key, stated[key]):
            missing.append(f"{fault}; {_instead(fields, key)}")
        else:
            fields[key] = stated[key]
    datasets, lacking = _dataset(found, fields)
    code = f"network: expected the model's, which no card holds, found a small one; put it in ({fields['repo-link']})"
    missing += [code, *lacking]
    return fields, missing, datasets


def _instead(fields: Mapping[str, Any], key: str) -> str:
    return f"it is {documents.describe(fields[key])} now" if key in fields else "it is left out"


def _dataset(found: Mapping[str, Any], fields: dict[str, Any]) -> tuple[dict[str, dict[str, Any]], list[str]]:
    """The card's dataset with what it says of it, and what there is to do; its links tell where assets lie."""
    name = re.sub(r"[^a-z0-9._-]+", "-", str(found.get("train-dataset", "")).lower()).strip("-._")
    if not name:
        return {}, ["train-dataset: expected it on the card, found none; write a recipe for the model's dataset"]
    values: dict[str, Any] = {"train-dataset": found["train-dataset"]}
    needed = f"expected how to evaluate on {found['train-dataset']}, found none"
    missing = [f"recipes/{name}.yaml: {needed}; recipes/digits.yaml is a pattern; make it the default-dataset"]
    if f"recipes/{name}.yaml" in _templates():
        missing = []
    links = [asset for asset in _assets(found) if asset.get("file-format") == "ckpt"]
    if links:
        link, sha256 = (str(links[-1].get(key, "")).strip("<>") for key in ("asset-link", "asset-sha256"))
        values["checkpoint"] = {"links": [f"<{link}>"], "sha256": sha256.lower()}
        if not _fault("asset-base-url", f"{link.rpartition('/')[0]}/"):
            fields["asset-base-url"] = f"{link.rpartition('/')[0]}/"
        if len(sha256) < _SHA256:
            missing.append(
                f"asset-sha256: expected {_SHA256} hex digits, found {len(sha256)}; fetching needs --allow-short-digest"
            )
    else:
        missing.append("asset: expected a checkpoint on the card, found none; train it, or give --checkpoint FILE")
    if reported := _reported(str(found.get("evaluation", ""))):
        values["reported"] = [{"source": "the card that this model was begun from", **reported}]
    for fault in list(_faults_of_dataset(values)):
        key, message = fault
        values.pop(key, None)
        missing.append(message)
    return {name: values}, missing


def _assets(found: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    listed = found.get("asset")
    return [asset for asset in listed if isinstance(asset, dict)] if isinstance(listed, list) else []


def _reported(evaluation: str) -> dict[str, float]:
    try:
        metrics = card.parse_evaluation(evaluation)
    except HubpkgError:
        return {}
    found = {_METRICS[name]: value for name, value in metrics.items() if name in _METRICS}
    return found if "top1" in found else {}


def _faults_of_dataset(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for path, fault in documents.faults_of({"datasets": {"x": values}}, "model"):
        if path[:2] == ("datasets", "x") and len(path) > 2:  # noqa: PLR2004 - a key of the dataset
            yield str(path[2]), f"{fault.removeprefix('datasets.x.')}; it is left out"


def _templates() -> list[str]:
    """The files of a model's folder, as their templates are called."""
    files = sorted(_TEMPLATES.rglob("*.j2"))
    return [file.relative_to(_TEMPLATES).as_posix().removesuffix(".j2") for file in files]


def _write(folder: Path, name: str, fields: Mapping[str, Any], datasets: Mapping[str, Any]) -> None:
    module = re.sub(r"\W", "_", name if name[0].isalpha() else f"model_{name}")
    values = {"name": name, "module": module, "title": fields["title"], "fields": fields, "datasets": datasets}
    if folder.exists():
        shutil.rmtree(folder)
    for template in _templates():
        file = folder / (f"{module}_{template}" if template == _NETWORK else template)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(card.rendered(f"model/{template}.j2", values), encoding="utf-8")


def as_json(made: Made) -> dict[str, Any]:
    """What ``hubpkg init --json`` prints."""
    return {"folder": str(made.folder), "missing": list(made.missing)}
