"""The bill of materials: CycloneDX 1.6, with its model card, of what is in a package."""

import hashlib
import json
from importlib import metadata, resources
from pathlib import Path

import jsonschema
import pytest
from forging import read_manifest
from referencing import Registry

from hubpkg import bom, manifest, verification

DATA = json.loads((Path(__file__).parent / "data" / "manifest.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def validator():
    """CycloneDX's schema of version 1.6, as its library brings it."""
    folder = resources.files("cyclonedx.schema") / "_res"
    names = {"bom-1.6.SNAPSHOT.schema.json", "spdx.SNAPSHOT.schema.json", "jsf-0.82.SNAPSHOT.schema.json"}
    schemas = {name: json.loads((folder / name).read_text(encoding="utf-8")) for name in names}
    schema = schemas["bom-1.6.SNAPSHOT.schema.json"]
    base = schema["$id"].rpartition("/")[0]
    registry = Registry().with_contents((f"{base}/{name}", contents) for name, contents in schemas.items())
    return jsonschema.Draft7Validator(schema, registry=registry)


def test_a_package_s_bill_of_materials_is_valid(small_package, validator):
    document = json.loads((small_package / bom.FILE).read_bytes())
    assert [error.message for error in validator.iter_errors(document)] == []
    assert (document["bomFormat"], document["specVersion"]) == ("CycloneDX", "1.6")


def test_the_schema_would_find_a_fault(small_package, validator):
    document = json.loads((small_package / bom.FILE).read_bytes())
    document["metadata"]["component"]["modelCard"]["modelParameters"]["approach"]["type"] = "guessed"
    assert len(list(validator.iter_errors(document))) == 1
    document["metadata"]["component"]["extra"] = 1
    assert len(list(validator.iter_errors(document))) == 2


def test_it_lists_the_code_the_data_and_the_libraries_with_their_digests_and_versions(small_package):
    document, contents = json.loads((small_package / bom.FILE).read_bytes()), read_manifest(small_package)
    components = {component["bom-ref"]: component for component in document["components"]}
    code = {name: part for name, part in components.items() if part["type"] == "file"}
    assert {name: part["hashes"][0]["content"] for name, part in code.items()} == {
        path.relative_to(small_package).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in (small_package / "xcit_small").rglob("*")
        if path.is_file()
    }
    for name in ("mindspore", "numpy", "onnxruntime", "jinja2", "scikit-learn"):
        version = metadata.version(name)
        assert components[f"pkg:pypi/{name}@{version}"]["version"] == version
    assert not {name for name in components if "pytest" in name}
    assert {"data/digits/test", "data/digits/train"} <= components.keys()
    assert document["dependencies"] == [{"ref": "model", "dependsOn": list(components)}]
    model = document["metadata"]["component"]
    assert model["hashes"] == [{"alg": "SHA-256", "content": contents["checkpoint"]["sha256"]}]
    assert model["licenses"] == [{"expression": "Apache-2.0"}]


def test_its_model_card_has_the_measured_figures(small_package):
    contents = read_manifest(small_package)
    card = json.loads((small_package / bom.FILE).read_bytes())["metadata"]["component"]["modelCard"]
    for key, metric in zip(("top1", "top5"), card["quantitativeAnalysis"]["performanceMetrics"], strict=True):
        interval = metric["confidenceInterval"]
        found = {"percent": metric["value"], "low": interval["lowerBound"], "high": interval["upperBound"]}
        assert {name: float(value) for name, value in found.items()} == contents["evaluation"][key]
    assert card["modelParameters"]["inputs"] == [{"format": "float32 images of shape (N, 1, 32, 32)"}]


@pytest.mark.parametrize(
    ("name", "wanted"),
    [
        ("Apache-2.0", {"expression": "Apache-2.0"}),
        ("apache-2.0 OR mit", {"expression": "Apache-2.0 OR MIT"}),
        ("A licence of our own", {"license": {"name": "A licence of our own"}}),
        ("(" * 5000, {"license": {"name": "(" * 5000}}),
    ],
    ids=["id", "expression", "other", "brackets"],
)
def test_a_license_is_spdx_s_or_a_name(name, wanted, validator):
    document = json.loads(bom.render({**DATA, "card": {**DATA["card"], "license": name}}))
    assert document["metadata"]["component"]["licenses"] == [wanted]
    assert [error.message for error in validator.iter_errors(document)] == []


def test_what_it_says_is_held_against_the_manifest(package):
    file = package / bom.FILE
    file.write_text(file.read_text(encoding="utf-8").replace("supervised", "unsupervised"), encoding="utf-8")
    contents = read_manifest(package)
    contents["files"][bom.FILE] = {
        "size": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    (package / manifest.NAME).write_bytes(manifest.seal(contents))
    failed = {check.name: check.detail for check in verification.verify(package).checks if not check.ok}
    assert failed.keys() == {"bom", "provenance"}  # whose subject it is
    assert failed["bom"].endswith("""expected '"type": "supervised"', found '"type": "unsupervised"'""")
