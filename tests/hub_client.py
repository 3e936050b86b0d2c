"""A stand-in for MindSpore Hub's client, written from what that client was seen to need of a package.

It asks the network nothing, and needs MindSpore and PyYAML alone. Unlike the client it compares the checkpoint's digest
on every load: the client does so with what it downloads.
"""

import hashlib
import importlib.util
import re
import sys
from pathlib import Path

import yaml

REQUIRED = [
    *("model-name", "backbone-name", "module-type", "fine-tunable", "model-version", "author", "update-time"),
    *("repo-link", "user-id", "used-for", "mindspore-version", "license", "summary"),
]
MODULE_TYPES = {"gnn", "rl", "audio", "cv", "cvtmodel", "nlp", "recommend", "cross", "hpc", "mm", "other"}
USES = {"inference", "extract-feature", "transfer-learning"}
BACKENDS = {"cpu", "gpu", "ascend"}
FORMATS = {"air", "ckpt", "onnx", "mindir", "mslite"}
SUFFIXES = {".ckpt", ".air", ".geir", ".meta", ".onnx"}
REPO_LINK = re.compile(r"https?://[^/\s]+\.com/[^/\s]+/[^/\s]+/tree/[^/\s]+/(?:[^/\s]+/)*[^/\s]+")
DATASETS = Path(__file__).parents[1] / "hubpkg" / "lint" / "hub-datasets.txt"


class RefusedError(Exception):
    """What the client would not take."""


def expect(holds, what):
    if not holds:
        raise RefusedError(what)


def read_card(path):
    """The front matter of a card that the hub takes."""
    lines = Path(path).read_text(encoding="utf-8").splitlines()
    rules = [number for number, line in enumerate(lines) if line.startswith("---")]
    expect(len(rules) == 2, f"{len(rules)} lines start with ---")
    try:
        fields = yaml.safe_load("\n".join(lines[rules[0] + 1 : rules[1]]))
    except yaml.YAMLError as error:
        raise RefusedError("YAML") from error
    expect(isinstance(fields, dict), "no mapping")
    for line in lines[: rules[0]] + lines[rules[1] + 1 :]:
        expect(not re.match(r"#.*:\s*$", line), f"heading {line}")
    check_fields(fields)
    return fields


def check_fields(fields):
    for key in REQUIRED:
        expect(key in fields, f"{key} is required")
    for key, value in fields.items():
        expect(key in ("repo-link", "asset", "evaluation") or ":" not in str(value), f"colon in {key}")
    expect(isinstance(fields["fine-tunable"], bool), "fine-tunable")
    kind, *details = fields["module-type"].split("-")
    expect(kind in MODULE_TYPES and len(details) <= 1, "module-type")
    expect(set(fields["used-for"].split("/")) <= USES, "used-for")
    for key in ("train-backend", "infer-backend"):
        expect(set(fields.get(key, "cpu").split("/")) <= BACKENDS, key)
    if "train-dataset" in fields:
        known = {line for line in DATASETS.read_text(encoding="utf-8").splitlines() if not line.startswith("#")}
        expect(set(fields["train-dataset"].split("_")) <= known, "train-dataset")
    expect(REPO_LINK.fullmatch(fields["repo-link"].strip("<>")), "repo-link")
    for asset in fields.get("asset", []):
        expect({"file-format", "asset-link", "asset-sha256"} <= asset.keys(), "asset")
        expect(asset["file-format"] in FORMATS, "file-format")
        expect(Path(asset["asset-link"].strip("<>")).suffix in SUFFIXES, "asset-link")
        expect(re.fullmatch(r"[0-9a-f]{64}", str(asset["asset-sha256"])), "asset-sha256")


def load(path, *arguments, source="local", pretrained=True, **options):
    """The network of the package whose card is at ``path``, with its weights; what it leaves behind is the client's."""
    import mindspore

    expect(source == "local" and pretrained, "this stand-in loads local packages, with their weights")

    fields = read_card(path)
    package = Path(path).parent
    folder = package / fields["repo-link"].strip("<>").rsplit("/", 1)[-1]
    sys.path.insert(0, str(folder))
    spec = importlib.util.spec_from_file_location("mindspore_hub_conf.py", folder / "mindspore_hub_conf.py")
    module = importlib.util.module_from_spec(spec)  # not put into sys.modules
    spec.loader.exec_module(module)
    network = module.create_network(fields["model-name"].lower(), *arguments, **options)
    expect(isinstance(network, mindspore.nn.Cell), "no Cell")
    asset = [asset for asset in fields["asset"] if asset["file-format"] == "ckpt"][-1]
    checkpoint = package / asset["asset-link"].strip("<>").rsplit("/", 1)[-1]
    expect(hashlib.sha256(checkpoint.read_bytes()).hexdigest() == asset["asset-sha256"], "digest")
    mindspore.load_param_into_net(network, mindspore.load_checkpoint(str(checkpoint)))
    return network
