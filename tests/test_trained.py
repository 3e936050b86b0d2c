"""The record of a training, held against the manifest."""

import json

import pytest
from forging import read_manifest, reseal

from hubpkg import trained, verification


@pytest.mark.parametrize(
    ("key", "value"),
    [("recipe", {"epochs": 500}), ("data", {}), ("start", {"file": "a.ckpt", "sha256": 64 * "0"}), ("averaged", True)],
)
def test_a_record_of_another_training_is_found(key, value, package):
    file = package / "evidence" / trained.RECORD
    record = json.loads(file.read_text(encoding="utf-8"))
    file.write_text(json.dumps(record | {key: value}), encoding="utf-8")
    reseal(package)
    checks = {check.name: check for check in verification.verify(package).checks}
    assert not checks["training"].ok
    assert checks["training"].detail == f"evidence/training.json: {key}: expected that of hubpkg.json, found another"


@pytest.mark.parametrize("text", ["", "[]", "{}", "[" * 100_000])
def test_a_record_that_is_none_is_found(text, package):
    (package / "evidence" / trained.RECORD).write_text(text, encoding="utf-8")
    reseal(package)
    checks = {check.name: check for check in verification.verify(package).checks}
    assert not checks["training"].ok
    assert "evidence/training.json: expected the record of a training, found: " in checks["training"].detail


def test_weights_made_elsewhere_have_none(package):
    contents = read_manifest(package)
    contents["checkpoint"]["source"] = "file"
    assert trained.check(package, contents) == "the weights were made elsewhere"
