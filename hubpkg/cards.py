"""A package's facts as cards for other hubs, made of its manifest, and so proven by making them again.

Hugging Face, ModelScope and Modelers show the file README.md of a repository: metadata in YAML, then text. The text is
that of the package's card, in English or Chinese, whose links lead to the package's files beside it. MindSpore Hub
pairs a card with a Chinese one, ``<card>_cn.md``.
"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from hubpkg import assembly, assets, card, replacement, verification
from hubpkg.errors import HubpkgError, InvalidDocumentError

README = "README.md"
_USES = {"inference": "推理", "extract-feature": "特征提取", "transfer-learning": "迁移学习"}
_HEADINGS = {
    "model name": "模型",
    "params(M)": "参数量(M)",
    "cards": "卡数",
    "batch size": "批大小",
    "resolution": "分辨率",
    "input": "输入",
    "jit level": "jit级别",
    "graph compile": "图编译",
    "recipe": "配置",
    "weight": "权重",
}
_METRICS = {"f1score": "f1", "f1-score": "f1", "f1_score": "f1"}  # whose name on these hubs is another
# As Hugging Face spells the licences that it knows by an SPDX identifier; others have a name of their own there.
_LICENSES = frozenset(
    (
        *("afl-3.0", "apache-2.0", "bsd-2-clause", "bsd-3-clause", "bsl-1.0", "cc-by-4.0", "cc-by-nc-4.0"),
        *("cc-by-nc-sa-4.0", "cc-by-sa-4.0", "cc0-1.0", "ecl-2.0", "epl-2.0", "gpl-2.0", "gpl-3.0", "isc"),
        *("lgpl-3.0", "mit", "mpl-2.0", "unlicense", "wtfpl", "zlib"),
    )
)


def render(kind: str, contents: Mapping[str, Any]) -> tuple[str, str]:
    """File name and text of the card for ``kind``, one of :data:`KINDS`, by the manifest ``contents``."""
    return _KINDS[kind](contents)


def compare(kind: str, contents: Mapping[str, Any], folder: Path) -> list[str]:
    """How the file in ``folder`` differs from the card for ``kind``, a sentence a line; none if it is the card."""
    name, text = render(kind, contents)
    path = folder / name
    if not path.is_file():
        return [f"{path}: expected the card for {kind}, found no such file"]
    try:
        verification.compare_text(str(path), text, path.read_bytes())
    except InvalidDocumentError as error:
        return list(error.faults)
    return []


def write(kind: str, contents: Mapping[str, Any], folder: Path, *, replace: bool) -> Path:
    """Write the card for ``kind`` into ``folder``, whole or not at all; give its path.

    Raises:
        HubpkgError: another file is there, and ``replace`` is not given.
    """
    name, text = render(kind, contents)
    path = folder / name
    if not replace and path.exists() and (not path.is_file() or path.read_bytes() != text.encode()):
        raise HubpkgError(f"{path}: expected no file, or this card, found another; move it away, or give --replace")
    folder.mkdir(parents=True, exist_ok=True)
    replacement.write(path, text.encode())
    return path


def _hub(contents: Mapping[str, Any]) -> tuple[str, str]:
    return assembly.card_name(contents), card.render(contents)


def _chinese(contents: Mapping[str, Any]) -> tuple[str, str]:
    english = card.render(contents)
    more = {
        "uses": [_USES[use] for use in contents["card"]["used-for"].split("/")],
        "assets": assets.listed(contents),
        "evaluation_text": card.parse(english, "card").fields["evaluation"],
        "performance_table": _performance_table(english),
    }
    return f"{contents['package']}_cn.md", card.render({**contents, **more}, "card_cn")


def _performance_table(english: str) -> str:
    """The English card's own table, so that the figures are the same to the letter, under Chinese headings."""
    lines = english.split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith("| model name |"))
    headings = [heading.strip() for heading in lines[first].strip("|").split("|")]
    chinese = " | ".join(_HEADINGS.get(heading, heading) for heading in headings)
    return "\n".join([f"| {chinese} |", *lines[first + 1 : first + 3]])


def _hugging_face(contents: Mapping[str, Any]) -> tuple[str, str]:
    task = _task(contents)
    metrics = list(_metrics(contents))
    result = {
        "task": {"type": task or "other"},
        "dataset": {
            "name": contents["card"]["dataset"]["title"],
            "type": contents["dataset"],
            "split": "test",
        },
        "metrics": metrics,
    }
    metadata = {
        **_license(contents),
        "library_name": "mindspore",
        **({"pipeline_tag": task} if task else {}),
        "tags": _tags(contents),
        "metrics": sorted({metric["type"] for metric in metrics}),
        "model-index": [{"name": contents["package"], "results": [result]}],
    }
    return README, _readme(metadata, card.render(contents))


def _model_scope(contents: Mapping[str, Any]) -> tuple[str, str]:
    task = _task(contents)
    metadata = {
        **_license(contents),
        "frameworks": ["mindspore"],
        **({"tasks": [task]} if task else {}),
        "metrics": sorted({metric["type"] for metric in _metrics(contents)}),
        "tags": _tags(contents),
    }
    return README, _readme(metadata, _chinese(contents)[1])


def _modelers(contents: Mapping[str, Any]) -> tuple[str, str]:
    task = _task(contents)
    ascend = "Ascend" in contents["environment"]["devices"]
    metadata = {
        **_license(contents),
        "frameworks": ["MindSpore"],
        **({"pipeline_tag": task} if task else {}),
        "hardwares": ["NPU" if ascend else "CPU"],  # where it was measured
        "metrics": sorted({metric["type"] for metric in _metrics(contents)}),
        "tags": _tags(contents),
    }
    return README, _readme(metadata, _chinese(contents)[1])


_KINDS: Mapping[str, Callable[[Mapping[str, Any]], tuple[str, str]]] = {
    "hub": _hub,
    "cn": _chinese,
    "huggingface": _hugging_face,
    "modelscope": _model_scope,
    "modelers": _modelers,
}
KINDS = tuple(_KINDS)


def _readme(metadata: Mapping[str, Any], text: str) -> str:
    body = text.split("\n---\n", 2)[2]  # a card has two rules, around its front matter
    front = yaml.safe_dump(dict(metadata), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n{body}"


def _license(contents: Mapping[str, Any]) -> dict[str, str]:
    name = contents["card"]["license"]
    if name.lower() in _LICENSES:
        return {"license": name.lower()}
    return {"license": "other", "license_name": name}


def _tags(contents: Mapping[str, Any]) -> list[str]:
    return list(dict.fromkeys(["mindspore", "hubpkg", contents["card"]["backbone-name"], contents["dataset"]]))


def _task(contents: Mapping[str, Any]) -> str | None:
    """The task by its common name on these hubs; None where the package does not tell it."""
    recipe, kind = contents["inputs"]["recipe"], contents["card"]["module-type"].split("-")[0]
    if recipe.get("task", "classification") != "classification":
        return None
    if "input_shape" not in recipe:
        return "image-classification"
    return "text-classification" if kind == "nlp" else None


def _metrics(contents: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The measured metrics, each by type, name and value as the card has it."""
    measured = contents["evaluation"]
    for key, name in (("top1", "acc@top1"), ("top5", "acc@top5")):
        if key in measured:
            yield {"type": "accuracy", "name": f"{name} (%)", "value": float(round(measured[key]["percent"], 2))}
    for name, metric in measured.get("metrics", {}).items():
        unit = f" ({metric['unit']})" if metric["unit"] else ""
        yield {
            "type": _METRICS.get(name.lower(), name.lower()),
            "name": f"{name}{unit}",
            "value": float(f"{metric['value']:.6g}"),
        }
