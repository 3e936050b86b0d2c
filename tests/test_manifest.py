"""hubpkg.json: what is sealed is read again, and nothing else is."""

import hashlib
import itertools
import json
import os
import re
import signal
import threading
import time
from pathlib import Path

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from hubpkg import manifest
from hubpkg.errors import HubpkgError, InvalidDocumentError

DATA = json.loads((Path(__file__).parent / "data" / "manifest.json").read_text(encoding="utf-8"))
SEALED = manifest.seal(DATA)
READ = json.loads(SEALED)
KEYS = sorted(READ)
LENGTHS = [len(rfc8785.dumps({key: READ[key]})) - 1 for key in KEYS]
STARTS = dict(zip(KEYS, itertools.accumulate(LENGTHS, initial=1), strict=False))  # in SEALED, of each first-level key


@pytest.fixture
def file(tmp_path):
    return tmp_path / manifest.NAME


def faults(file, raw):
    file.write_bytes(raw)
    with pytest.raises(InvalidDocumentError) as caught:
        manifest.read(file)
    return list(caught.value.faults)


def test_what_is_sealed_is_read_again(file):
    file.write_bytes(SEALED)
    read = manifest.read(file)
    assert {key: value for key, value in read.items() if key != "digests"} == DATA
    assert read["digests"].keys() == DATA.keys()
    assert manifest.seal(DATA) == SEALED


@settings(deadline=None, max_examples=50)
@given(
    st.fixed_dictionaries(
        {
            "summary": st.text(st.characters(exclude_categories=["C", "Zl", "Zp"], exclude_characters=":"), min_size=1),
            "introduction": st.from_regex(r"[\w\n\"\\]+", fullmatch=True),
        }
    ),
    st.floats(0, 100),
    st.dictionaries(st.from_regex(r"[^/\\\0.\ud800-\udfff]+(/[^/\\\0.\ud800-\udfff]+)*", fullmatch=True), st.just(7)),
)
def test_any_data_that_fits_is_read_again(tmp_path_factory, texts, percent, files):
    top1 = {**DATA["evaluation"]["top1"], "percent": percent}
    data = {
        **DATA,
        "card": {**DATA["card"], **texts},
        "evaluation": {**DATA["evaluation"], "top1": top1},
        "files": {name: {"size": size, "sha256": "0" * 64} for name, size in files.items()},
    }
    path = tmp_path_factory.getbasetemp() / manifest.NAME
    path.write_bytes(manifest.seal(data))
    read = manifest.read(path)
    assert {key: value for key, value in read.items() if key != "digests"} == data


def another_byte(byte, offset):
    return next(other for other in b'" 0,}\\\n\xff\0'[offset % 9 :] + b"xy" if other != byte)


@pytest.mark.parametrize(
    ("change", "step"),
    [
        pytest.param(lambda byte, _: byte ^ 1, 1, id="the lowest bit"),
        pytest.param(another_byte, 3, id="another byte"),
    ],
)
def test_a_change_of_any_byte_is_refused_and_its_key_named(file, change, step):
    for offset in range(0, len(SEALED), step):
        raw = bytearray(SEALED)
        raw[offset] = change(raw[offset], offset)
        told = faults(file, bytes(raw))
        assert all(fault.startswith("hubpkg.json: ") for fault in told)
        # Of a key that JSON breaks in, a part is named; a digest is told by the key that it is of.
        key = next((name for name, start in reversed(STARTS.items()) if start <= offset), "document")
        likely = KEYS if key == "digests" else [key]
        named = {name for fault in told for name in re.findall(r"^hubpkg\.json: ([\w-]+)", fault)}
        assert any(name in likely or name in key for name in named), (offset, told)


@pytest.mark.parametrize("key", DATA)
def test_a_changed_value_is_told_by_its_key(file, key):
    value = rfc8785.dumps(DATA[key])
    start = STARTS[key] + len(f'"{key}":')
    assert SEALED[start : start + len(value)] == value
    offset = start + re.search(rb"[a-z0-9]+(?!.*[a-z0-9])", value).start()
    for byte in b'019ax"\\\x00\xff':
        if byte != SEALED[offset]:
            told = faults(file, SEALED[:offset] + bytes([byte]) + SEALED[offset + 1 :])
            assert any(re.match(rf"hubpkg\.json: {key}\b", fault) for fault in told), told


@pytest.mark.parametrize("cut", [0, 1, 100, len(SEALED) // 2, len(SEALED) - 1])
def test_a_truncated_manifest_is_refused(file, cut):
    (fault,) = faults(file, SEALED[:cut])
    assert re.match(r"hubpkg\.json: [\w-]+: expected canonical JSON, found: ", fault)


@pytest.mark.parametrize(
    ("raw", "fault"),
    [
        (
            SEALED + b"\n",
            "hubpkg.json: uid: expected canonical JSON (RFC 8785), found other text from character 4245",
        ),
        (b"\xef\xbb\xbf" + SEALED, "hubpkg.json: document: expected canonical JSON, found: Unexpected UTF-8 BOM"),
        (SEALED.decode().encode("utf-16"), "hubpkg.json: document: expected canonical JSON, found: "),
        (
            SEALED.replace(b'"entry":"t', b'"entry": "t'),
            "hubpkg.json: entry: expected canonical JSON (RFC 8785), found ",
        ),
        (b'{"a":1,' + SEALED[1:], "hubpkg.json: a: unknown key; expected one of format, "),
        (b'{"card":1,' + SEALED[1:], "hubpkg.json: card: expected canonical JSON (RFC 8785), found other text from "),
        (b"[" * 100_000, "hubpkg.json: document: expected canonical JSON, found: "),
        (b"[]", "hubpkg.json: document: expected a mapping, found a list of 0"),
        (b"null", "hubpkg.json: document: expected a mapping, found null"),
        (b"\xff", "hubpkg.json: document: expected canonical JSON, found: "),
        (json.dumps(json.loads(SEALED)).encode(), "hubpkg.json: card: expected canonical JSON (RFC 8785), found "),
    ],
    ids=range(11),
)
def test_what_is_no_canonical_manifest_is_refused(file, raw, fault):
    assert faults(file, raw)[0].startswith(fault)


@pytest.mark.parametrize(
    ("path", "value", "fault"),
    [
        (("format",), 2, "format: expected 1, found 2"),
        (("package",), "..", 'package: expected a name without slashes, found ".."'),
        (("entry",), "../a", 'entry: expected a name without slashes, found "../a"'),
        (("files", "../a"), {"size": 1, "sha256": "0" * 64}, 'files["../a"]: expected a path inside the package, '),
        (("files", "/a"), {"size": 1, "sha256": "0" * 64}, 'files["/a"]: expected a path inside the package, '),
        (("files", "a"), {"size": -1, "sha256": "0" * 64}, "files.a.size: expected at least 0, found -1"),
        (("files", "a"), {"size": 1, "sha256": "0" * 8}, "files.a.sha256: expected 64 lower-case hex digits, "),
        (("environment", "cann"), 8, "environment.cann: expected text or null, found 8"),
        (("inputs", "recipe", "epochs"), 0, "inputs.recipe.epochs: expected at least 1, found 0"),
        (("card", "more"), 1, "card.more: unknown key; expected one of title, "),
    ],
)
def test_a_sealed_manifest_must_fit_its_schema_too(file, path, value, fault):
    data = json.loads(json.dumps(DATA))
    place = data
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    (told,) = faults(file, manifest.seal(data))
    assert told.startswith(f"hubpkg.json: {fault}")


def test_a_manifest_needs_all_its_keys_and_digests(file):
    for key in DATA:
        data = {name: value for name, value in DATA.items() if name != key}
        assert faults(file, manifest.seal(data)) == [f"hubpkg.json: {key}: expected this key, found it missing"]
    digests = {name: digest for name, digest in READ["digests"].items() if name != "uid"}
    (fault,) = faults(file, rfc8785.dumps({**DATA, "digests": digests}))
    assert fault.startswith("hubpkg.json: uid: expected the value whose digest is missing, found one with ")


def test_a_manifest_that_cannot_be_read(tmp_path):
    with pytest.raises(HubpkgError, match=r"^hubpkg\.json: expected a readable manifest, found: No such file"):
        manifest.read(tmp_path / manifest.NAME)


def test_a_file_is_recorded_by_size_and_sha256(tmp_path):
    data = b"0123456789" * 100_000
    (tmp_path / "file").write_bytes(data)
    assert manifest.record(tmp_path / "file") == manifest.FileRecord(len(data), hashlib.sha256(data).hexdigest())


def test_a_digest_does_not_depend_on_the_order_of_keys():
    assert manifest.digest({"a": 1, "b": [1.0, None]}) == manifest.digest({"b": [1, None], "a": 1})
    assert manifest.digest({"a": 1}) == hashlib.sha256(b'{"a":1}').hexdigest()


@pytest.fixture
def two_cpus(monkeypatch):
    monkeypatch.setattr(os, "cpu_count", lambda: 2)


@pytest.mark.usefixtures("two_cpus")
def test_files_are_hashed_in_parallel(tmp_path):
    """The second of two pipes is written and closed before the first: one after the other they would never end."""
    for name in ("a", "b"):
        os.mkfifo(tmp_path / name)
    found = {}
    hashing = threading.Thread(target=lambda: found.update(manifest.records(tmp_path, ["a", "b"])), daemon=True)
    hashing.start()
    for name in ("b", "a"):
        (tmp_path / name).write_bytes(name.encode() * 1_000_000)
    hashing.join(60)
    assert found == {
        name: manifest.FileRecord(1_000_000, hashlib.sha256(name.encode() * 1_000_000).hexdigest()) for name in "ab"
    }


def test_an_interrupt_does_not_wait_for_the_end_of_a_file(tmp_path):
    """Which, of 32 GB of zeros, would take half a minute of CPU time."""
    (tmp_path / "large").touch()
    os.truncate(tmp_path / "large", 1 << 35)
    before = time.process_time()

    def interrupt():
        while time.process_time() - before < 0.5:  # until it is well under way
            time.sleep(0.01)
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)

    def hash_it():
        threading.Thread(target=interrupt).start()
        manifest.records(tmp_path, ["large"])

    with pytest.raises(KeyboardInterrupt):
        hash_it()
    assert time.process_time() - before < 10
