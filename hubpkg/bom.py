"""``evidence/bom.cdx.json``: what a package is made of, as a bill of materials in CycloneDX 1.6, with its model card.

It is made of what the manifest says, and so verified by making it again.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any
from urllib.parse import quote

from hubpkg import recipe as recipes

FILE = "evidence/bom.cdx.json"
_MODEL = "model"  # the reference of the model itself


def render(contents: Mapping[str, Any]) -> str:
    """The bill of materials of the package whose manifest is ``contents``."""
    card, environment = contents["card"], contents["environment"]
    weights = contents["checkpoint"]
    components = [*_data(contents), *_code(contents), *_libraries(environment["packages"])]
    bom = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "timestamp": contents["times"]["finished"],
            "tools": {"components": [{"type": "application", "name": "hubpkg", "version": environment["hubpkg"]}]},
            "component": {
                "type": "machine-learning-model",
                "bom-ref": _MODEL,
                "group": card["publisher"],
                "name": contents["package"],
                "version": card["model-version"],
                "description": card["summary"],
                "authors": [{"name": card["author"]}],
                "licenses": [_license(card["license"])],
                "hashes": [{"alg": "SHA-256", "content": weights["sha256"]}],
                "externalReferences": [
                    {"type": "vcs", "url": card["repo-link"]},
                    {"type": "distribution", "url": f"{card['asset-base-url']}{weights['file']}"},
                    *([{"type": "documentation", "url": card["paper"]["link"]}] if "paper" in card else []),
                ],
                "modelCard": _model_card(contents),
            },
        },
        "components": components,
        "dependencies": [{"ref": _MODEL, "dependsOn": [component["bom-ref"] for component in components]}],
    }
    return json.dumps(bom, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _model_card(contents: Mapping[str, Any]) -> dict[str, Any]:
    recipe, measured = contents["inputs"]["recipe"], contents["evaluation"]
    shape = ", ".join(["N", *map(str, recipes.input_shape(recipe))])
    inputs = f"{recipes.input_dtype(recipe)} {'images' if recipes.of_images(recipe) else 'inputs'} of shape ({shape})"
    kind, outputs = ("regression", "numbers") if recipes.is_regression(recipe) else ("classification", "logits")
    own = measured.get("metrics", {})
    return {
        "modelParameters": {
            "approach": {"type": "supervised"},
            "task": f"image {kind}" if recipes.of_images(recipe) else kind,
            "architectureFamily": contents["card"]["backbone-name"],
            "modelArchitecture": contents["model"],
            "datasets": [{"ref": _data_reference(contents, split)} for split in sorted(contents["inputs"]["data"])],
            "inputs": [{"format": inputs}],
            "outputs": [{"format": f"float32 {outputs} of shape (N, {recipes.outputs(recipe)})"}],
        },
        "quantitativeAnalysis": {
            "performanceMetrics": [
                {
                    "type": name,
                    "value": f"{value:g}",
                    "slice": contents["card"]["dataset"]["evaluated"],
                    **_interval(entry),
                }
                for name, value, entry in [
                    *(
                        (f"top-{k} accuracy in percent", measured[f"top{k}"]["percent"], measured[f"top{k}"])
                        for k in (1, 5)
                        if f"top{k}" in measured
                    ),
                    *((_with_unit(name, entry["unit"]), entry["value"], entry) for name, entry in own.items()),
                ]
            ]
        },
        "considerations": {"useCases": contents["card"]["used-for"].split("/")},
    }


def _with_unit(name: str, unit: str) -> str:
    return f"{name} in {'percent' if unit == '%' else unit}" if unit else name


def _interval(entry: Mapping[str, Any]) -> dict[str, Any]:
    if "low" not in entry:
        return {}
    return {"confidenceInterval": {"lowerBound": f"{entry['low']:g}", "upperBound": f"{entry['high']:g}"}}


def _license(name: str) -> dict[str, Any]:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    try:
        if re.fullmatch(r"[\w.+ -]{1,100}", name, re.ASCII):  # brackets could be nested without end
            return {"expression": canonicalize_license_expression(name)}
    except InvalidLicenseExpression:
        pass
    return {"license": {"name": name}}


def _data_reference(contents: Mapping[str, Any], split: str) -> str:
    return f"data/{contents['dataset']}/{split}"


def _data(contents: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The images; their digest is no file's, and so it is a property."""
    noun = recipes.noun(contents["inputs"]["recipe"])
    for split, data in sorted(contents["inputs"]["data"].items()):
        yield {
            "type": "data",
            "bom-ref": _data_reference(contents, split),
            "name": f"{contents['dataset']}, {split}",
            "description": f"{contents['card']['dataset']['title']}: {data['images']} {noun}s",
            "data": [{"type": "dataset", "name": contents["dataset"]}],
            "properties": [{"name": f"hubpkg:sha256-of-{noun}s", "value": data["sha256"]}],
        }


def _code(contents: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """The files of the entry folder, which a consumer runs."""
    for name, record in sorted(contents["files"].items()):
        if name.startswith(f"{contents['entry']}/"):
            yield {
                "type": "file",
                "bom-ref": name,
                "name": name,
                "hashes": [{"alg": "SHA-256", "content": record["sha256"]}],
            }


def _libraries(packages: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    for name, version in sorted(packages.items()):
        purl = f"pkg:pypi/{name}@{quote(version)}"
        yield {"type": "library", "bom-ref": purl, "name": name, "version": version, "purl": purl}
