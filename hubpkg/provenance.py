"""``evidence/provenance.json``: what a package was built from, how and when, as an in-toto statement.

Its predicate is SLSA's provenance, version 1. It is made of what the manifest says, and so verified by making it again.
"""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from hubpkg import manifest, recipe

FILE = "evidence/provenance.json"
_BUILD_TYPE = "https://example.com/hubpkg/build/v1"
_BUILDER = "https://example.com/hubpkg"
_PUBLICATION = ("author", "user-id", "publisher", "repo-link", "asset-base-url")


def render(contents: Mapping[str, Any]) -> str:
    """The statement about the package whose manifest is ``contents``: its files but this one are the subjects."""
    environment = contents["environment"]
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [
            {"name": name, "digest": {"sha256": record["sha256"]}}
            for name, record in sorted(contents["files"].items())
            if name != FILE
        ],
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {
                    "command": list(_command(contents)),
                    "publication": {key: contents["card"][key] for key in _PUBLICATION},
                },
                "internalParameters": {"environment": environment, "engine": contents["evaluation"]["engine"]},
                "resolvedDependencies": list(_inputs(contents)),
            },
            "runDetails": {
                "builder": {"id": _BUILDER, "version": {"hubpkg": environment["hubpkg"]}},
                "metadata": {"startedOn": contents["times"]["started"], "finishedOn": contents["times"]["finished"]},
            },
        },
    }
    return json.dumps(statement, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _command(contents: Mapping[str, Any]) -> Iterator[str]:
    """The command that builds the package; where data and files lay, and on which device, is left out."""
    inputs, weights = contents["inputs"], contents["checkpoint"]
    yield from ("hubpkg", "build", contents["model"], "--dataset", contents["dataset"])
    for key, value in inputs.get("settings", {}).items():
        yield from ("--set", f"{key}={value}")
    if any(data["damaged"] for data in inputs["data"].values()):
        yield "--skip-damaged"
    if weights["source"] == "train":
        yield from ("--checkpoint", "train")
        if "start" in weights:
            yield from ("--from", weights["start"]["file"])
        if inputs["recipe"].get("devices", 1) > 1:
            yield from ("--workers", str(inputs["recipe"]["devices"]))
    else:
        yield from ("--checkpoint", weights.get("link", weights["file"]), "--sha256", weights["sha256"])
    yield from ("--engine", contents["evaluation"]["engine"]["name"])


def _inputs(contents: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What the build read, as in-toto's resource descriptors."""
    inputs, environment, weights = contents["inputs"], contents["environment"], contents["checkpoint"]
    noun = recipe.noun(inputs["recipe"])
    yield _descriptor("recipe", inputs["recipe"], "inputs.recipe of hubpkg.json, as canonical JSON (RFC 8785)")
    for split, data in sorted(inputs["data"].items()):
        yield {
            "name": f"data/{contents['dataset']}/{split}",
            "digest": {"sha256": data["sha256"]},
            "annotations": {
                "of": f"names, labels, sizes and contents of the {noun}s",
                f"{noun}s": data["images"],
                "damaged": len(data["damaged"]),
            },
        }
    if "start" in weights:
        yield {
            "name": "start",
            "digest": {"sha256": weights["start"]["sha256"]},
            "annotations": {"of": "the checkpoint that training started from"},
        }
    if weights["source"] != "train":
        link = {"uri": weights["link"]} if "link" in weights else {}
        yield {"name": "checkpoint", "digest": {"sha256": weights["sha256"]}, **link}
    yield {
        "name": "hubpkg",
        "digest": {"sha256": inputs["code"]},
        "annotations": {"of": "the sources that measurements depend on"},
    }
    if environment["commit"]:
        commit, dirty, _ = environment["commit"].partition("-dirty")
        yield {"name": "source", "digest": {"gitCommit": commit}, "annotations": {"dirty": bool(dirty)}}
    if environment["lock"]:
        yield {"name": "constraints.txt", "digest": {"sha256": environment["lock"]}}


def _descriptor(name: str, value: Any, of: str) -> dict[str, Any]:
    return {"name": name, "digest": {"sha256": manifest.digest(value)}, "annotations": {"of": of}}
