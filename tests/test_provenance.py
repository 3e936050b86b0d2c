"""The provenance: SLSA's predicate in an in-toto statement, of what was really used."""

import hashlib
import json
import subprocess
from datetime import datetime
from importlib import metadata
from pathlib import Path

import pytest
from forging import read_manifest, reseal
from google.protobuf import json_format
from in_toto_attestation.predicates.provenance.v1 import provenance_pb2
from in_toto_attestation.v1 import statement as in_toto
from in_toto_attestation.v1 import statement_pb2

from hubpkg import manifest, provenance, verification

ROOT = Path(__file__).parents[1]
DATA = json.loads((ROOT / "tests" / "data" / "manifest.json").read_text(encoding="utf-8"))


def valid(text):
    """The statement, if it and its predicate are of the published messages, with no field that they do not know."""
    parsed = json_format.Parse(text, statement_pb2.Statement())
    in_toto.Statement.copy_from_pb(parsed).validate()
    document = json.loads(text)
    json_format.ParseDict(document["predicate"], provenance_pb2.Provenance())
    return document


def test_a_package_s_provenance_is_a_valid_statement_about_all_its_other_files(small_package):
    document = valid((small_package / provenance.FILE).read_text(encoding="utf-8"))
    assert document["_type"] == "https://in-toto.io/Statement/v1"
    assert document["predicateType"] == "https://slsa.dev/provenance/v1"
    files = {path.relative_to(small_package).as_posix(): path for path in small_package.rglob("*") if path.is_file()}
    del files[manifest.NAME], files[provenance.FILE]
    assert {subject["name"]: subject["digest"]["sha256"] for subject in document["subject"]} == {
        name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()
    }


def test_the_inputs_and_the_environment_are_those_of_the_build(small_package):
    document = valid((small_package / provenance.FILE).read_text(encoding="utf-8"))
    contents = read_manifest(small_package)
    definition, run = document["predicate"]["buildDefinition"], document["predicate"]["runDetails"]
    command = "hubpkg build xcit_small --dataset digits --checkpoint train --engine onnxruntime"
    assert " ".join(definition["externalParameters"]["command"]) == command
    assert definition["internalParameters"]["environment"]["packages"]["mindspore"] == metadata.version("mindspore")
    dependencies = {entry["name"]: entry for entry in definition["resolvedDependencies"]}
    commit = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607 - the git of the machine
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.strip()
    wanted = {"recipe", "data/digits/test", "data/digits/train", "hubpkg"}
    if commit:  # in an unpacked sdist there is none
        wanted |= {"source", "constraints.txt"}
        assert dependencies["source"]["digest"] == {"gitCommit": commit}
        lock = hashlib.sha256((ROOT / "constraints.txt").read_bytes()).hexdigest()
        assert dependencies["constraints.txt"]["digest"] == {"sha256": lock}
    assert dependencies.keys() == wanted
    assert dependencies["recipe"]["digest"]["sha256"] == manifest.digest(contents["inputs"]["recipe"])
    assert dependencies["data/digits/test"]["digest"]["sha256"] == contents["inputs"]["data"]["test"]["sha256"]
    started, finished = (datetime.fromisoformat(run["metadata"][key]) for key in ("startedOn", "finishedOn"))
    assert started < finished
    assert contents["evaluation"]["measured"] in (str(started.date()), str(finished.date()))


@pytest.mark.parametrize(
    ("source", "command"),
    [
        ({"source": "fetch", "link": "https://example.com/w.ckpt"}, "--checkpoint https://example.com/w.ckpt --sha256"),
        ({"source": "file"}, "--checkpoint tiny-01234567.ckpt --sha256"),
    ],
    ids=["fetched", "given"],
)
def test_a_checkpoint_that_was_not_trained_is_an_input(source, command):
    contents = {**DATA, "checkpoint": {**DATA["checkpoint"], **source}}
    definition = valid(provenance.render(contents))["predicate"]["buildDefinition"]
    assert f" {command} {'01234567' * 8} " in " ".join(definition["externalParameters"]["command"])
    (weights,) = [entry for entry in definition["resolvedDependencies"] if entry["name"] == "checkpoint"]
    assert weights["digest"] == {"sha256": "01234567" * 8}
    assert weights.get("uri") == source.get("link")


def test_files_that_differ_from_the_commit_are_told():
    contents = {**DATA, "environment": {**DATA["environment"], "commit": f"{'0' * 40}-dirty", "lock": "1" * 64}}
    definition = valid(provenance.render(contents))["predicate"]["buildDefinition"]
    (source,) = [entry for entry in definition["resolvedDependencies"] if entry["name"] == "source"]
    assert (source["digest"], source["annotations"]) == ({"gitCommit": "0" * 40}, {"dirty": True})


def test_what_it_says_is_held_against_the_manifest(package):
    file = package / provenance.FILE
    text = file.read_text(encoding="utf-8")
    file.write_text(text.replace('"finishedOn": "2', '"finishedOn": "1'), encoding="utf-8")
    contents = read_manifest(package)
    contents["files"][provenance.FILE] = {
        "size": file.stat().st_size,
        "sha256": hashlib.sha256(file.read_bytes()).hexdigest(),
    }
    (package / manifest.NAME).write_bytes(manifest.seal(contents))
    (failed,) = [check for check in verification.verify(package).checks if not check.ok]
    assert failed.name == "provenance"
    assert 'expected \'"finishedOn": "2' in failed.detail
    reseal(package)
    assert verification.verify(package).ok
