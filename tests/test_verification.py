"""What static verification finds, and what its findings name."""

import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from functools import reduce
from operator import getitem
from pathlib import Path

import hypothesis
import pytest
import rfc8785
from forging import agree, read_manifest, reseal
from hypothesis import strategies as st

from hubpkg import cli, manifest, verification
from hubpkg.errors import InvalidDocumentError

CHECKS = [
    "manifest",
    "files",
    "bytecode",
    "checkpoint",
    "exports",
    "entrypoint",
    "evaluation",
    "performance",
    "training",
    "card",
    "bom",
    "provenance",
]
ENTRY = "xcit_small"
CONF = f"{ENTRY}/mindspore_hub_conf.py"
CARD = "xcit_small_digits.md"


@pytest.fixture
def verify(capsys):
    """Runs ``hubpkg verify --json`` in this process; gives the exit status and what was printed."""

    def run(*packages):
        status = cli.main(["verify", "--json", *map(str, packages)])
        return status, json.loads(capsys.readouterr().out)

    return run


@pytest.fixture
def findings(verify):
    """The details of the checks of a package that fail; there must be some, and the exit status 1."""

    def run(package):
        status, result = verify(package)
        assert (status, result["ok"]) == (1, False)
        return [check["detail"] for check in result["checks"] if not check["ok"]]

    return run


def failing(package):
    return [check.detail for check in verification.verify(package).checks if not check.ok]


@contextmanager
def replaced(file, data):
    """Have ``data`` in the place of a file's bytes for a while."""
    before = file.read_bytes()
    file.write_bytes(data)
    yield
    file.write_bytes(before)


def test_a_fresh_package_verifies(hubpkg, small_package):
    done = hubpkg("verify", "--json", small_package)
    result = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert result.keys() == {"package", "ok", "checks"}
    assert (result["package"], result["ok"]) == (str(small_package), True)
    assert [check["name"] for check in result["checks"]] == CHECKS
    assert all(check.keys() == {"name", "ok", "detail"} and check["ok"] is True for check in result["checks"])


def test_text_says_the_same(hubpkg, package):
    done = hubpkg("verify", package)
    lines = done.stdout.splitlines()
    assert (done.returncode, done.stderr, lines[0]) == (0, "", f"{package}: verified")
    assert [line.split()[:2] for line in lines[1:]] == [["ok", f"{name}:"] for name in CHECKS]
    (package / "added").touch()
    done = hubpkg("verify", package)
    assert done.returncode == 1
    assert done.stdout.startswith(f"{package}: NOT VERIFIED\n")
    assert re.findall(r"^  FAIL .*", done.stdout, re.MULTILINE) == [
        "  FAIL files: added: expected no such file, found one that the manifest does not list"
    ]


WITHOUT_FRAMEWORK = """
import builtins, socket, sys
class Forbid:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"mindspore", "numpy", "sklearn", "scipy", "onnxruntime", "rich", "filelock"}:
            raise AssertionError(f"{name} is imported")
sys.meta_path.insert(0, Forbid())
def connect(*_):
    raise AssertionError("the network is used")
socket.socket.connect = connect
from hubpkg.cli import main
sys.exit(main(["verify", *sys.argv[1:]]))
"""


def test_needs_no_framework_and_no_network(small_package):
    command = [sys.executable, "-c", WITHOUT_FRAMEWORK, small_package]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_several_packages_and_dist(hubpkg, small_package, tmp_path):
    good, bad = tmp_path / "dist" / "a", tmp_path / "dist" / "b"
    for target in (good, bad, tmp_path / "dist" / ".b.partial"):
        shutil.copytree(small_package, target)
    (bad / CARD).unlink()
    for arguments in ([], ["dist/a", "dist/b"]):
        done = hubpkg("verify", "--json", *arguments, cwd=tmp_path)
        results = json.loads(done.stdout)
        assert done.returncode == 1
        assert [(result["package"], result["ok"]) for result in results] == [("dist/a", True), ("dist/b", False)]
    assert hubpkg("verify", good, good, cwd=tmp_path).returncode == 0


def test_what_is_no_folder_is_refused(hubpkg, small_package, tmp_path):
    for path, found in ((tmp_path / "none", "none"), (small_package / CARD, f"a file; its folder is {small_package}")):
        done = hubpkg("verify", small_package, path)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"hubpkg: error: {path}: expected a package's folder, found {found}\n"
    done = hubpkg("verify", cwd=tmp_path)
    assert done.returncode == 2
    assert "expected a package, or packages in ./dist, found none; make one with: hubpkg build" in done.stderr


def test_a_changed_byte_in_any_file_is_found(package):
    listed = read_manifest(package)["files"]
    assert len(listed) == 22
    for name, change in itertools.product(listed, (0x01, 0x80)):
        raw = (package / name).read_bytes()
        for offset in (0, 1, len(raw) // 3, len(raw) // 2, len(raw) - 2, len(raw) - 1):
            data = bytearray(raw)
            data[offset] ^= change
            with replaced(package / name, data):
                found = failing(package)
            assert any(detail.startswith(f"{name}: sha256: expected {listed[name]['sha256']}") for detail in found)
    assert failing(package) == []


def faults(raw):
    """What is wrong with the manifest ``raw``."""
    try:
        manifest.parse(raw, manifest.NAME)
    except InvalidDocumentError as error:
        return list(error.faults)
    return []


def test_a_changed_byte_anywhere_in_the_manifest_is_found(package):
    """The finding names the key that the byte belongs to; in the digests, the key that it is a digest of.

    Of each token of the JSON the first byte is changed, the last one, and the one in the middle. The whole package is
    verified once for each key.
    """
    file = package / manifest.NAME
    raw = file.read_bytes()
    data = json.loads(raw)
    keys = ["document", *(key for key, value in data.items() for _ in rfc8785.dumps({key: value})[1:])]
    tokens = [match.span() for match in re.finditer(rb'"(?:[^"\\]|\\.)*"|[^][{},:"]+|.', raw)]
    offsets = sorted({offset for start, end in tokens for offset in (start, (start + end) // 2, end - 1)})
    assert len(offsets) > 2000
    assert {keys[offset] for offset in offsets} == {"document", *data}
    verified = set()
    for offset in offsets:
        key = keys[offset]
        changed = bytearray(raw)
        changed[offset] ^= (0x01, 0x80, 0x10)[offset % 3]
        found = faults(bytes(changed))
        assert found, offset
        if key not in verified:
            verified.add(key)
            with replaced(file, changed):
                assert failing(package) == found
        named = {re.match(rf"{manifest.NAME}: ([^:. ]*)", detail)[1] for detail in found}
        known = data.keys() if key == "digests" else {key, keys[offset - 1]}
        assert named & {*known, "document"}, (offset, found)  # a key that is broken itself has no name any more
    assert faults(raw) == failing(package) == []


def test_any_changed_digit_in_the_card_is_found_with_its_line_and_field(package):
    """Each run changes one digit in every line that has so many."""
    text = (package / CARD).read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    places = [[match.start() for match in re.finditer(r"\d", line)] for line in lines]
    assert sum(map(len, places)) > 250
    for nth in range(max(map(len, places))):
        wrong, changed = lines.copy(), {}
        for index, digits in enumerate(places):
            if nth < len(digits):
                at = digits[nth]
                wrong[index] = f"{lines[index][:at]}{(int(lines[index][at]) + 1) % 10}{lines[index][at + 1 :]}"
                changed[index + 1] = at
        with replaced(package / CARD, "".join(wrong).encode()):
            found = failing(package)
        assert any(detail.startswith(f"{CARD}: sha256: ") for detail in found)
        told = {int(m[1]): m[2] for m in (re.match(rf"{re.escape(CARD)}:(\d+): (.*)", d) for d in found) if m}
        assert told.keys() == changed.keys()
        for number, at in changed.items():
            assert told[number].startswith(field(lines, number - 1, at)), told[number]


def field(lines, index, at):
    """How a finding must begin for a digit at a place of the card: with the key or the table's column, if any."""
    line = lines[index]
    if line.startswith("|"):
        header = next(lines[i + 1] for i in reversed(range(index)) if not lines[i].startswith("|"))
        column = header.split("|")[line[:at].count("|")].strip()
        return f"column {column!r}: expected "
    key = re.match(r"\s*([a-z0-9-]+): ", line)
    return f"{key[1]}: expected " if key else "expected "


def test_a_card_with_another_number_of_lines_is_found(package, findings):
    text = (package / CARD).read_text(encoding="utf-8")
    (package / CARD).write_text(text.replace("license: Apache-2.0\n", ""), encoding="utf-8")
    number = text.splitlines().index("license: Apache-2.0") + 1
    found = findings(package)
    assert any(detail.startswith(f"{CARD}:{number}: license: expected 'license: Apache-2.0'") for detail in found)


def test_a_missing_file_is_found(small_package, package):
    for name in read_manifest(package)["files"]:
        (package / name).unlink()
        assert any(d == f"{name}: expected this file, found it missing" for d in failing(package))
        shutil.copyfile(small_package / name, package / name)
    assert failing(package) == []


def test_an_added_file_is_found(package):
    for name in ("added", "evidence/added.csv", f"{ENTRY}/json.py", f"{ENTRY}/.hidden", f"{ENTRY}/sub/x.so"):
        (package / name).parent.mkdir(exist_ok=True)
        (package / name).touch()
        assert failing(package) == [f"{name}: expected no such file, found one that the manifest does not list"]
        (package / name).unlink()


def test_what_stands_in_place_of_a_file_is_found(package, tmp_path):
    for name in read_manifest(package)["files"]:
        file, kept = package / name, tmp_path / "kept"
        file.rename(kept)
        file.symlink_to(kept)
        assert failing(package) == [f"{name}: expected a file, found a link or a special file"]
        file.unlink()
        file.touch()
        assert any(d.startswith(f"{name}: size: expected {kept.stat().st_size}, found 0") for d in failing(package))
        file.unlink()
        file.mkdir()
        assert any(d == f"{name}: expected this file, found it missing" for d in failing(package))
        file.rmdir()
        os.mkfifo(file)
        assert any(d.startswith(f"{name}: expected a file, found a link or a special") for d in failing(package))
        file.unlink()
        kept.rename(file)
    assert failing(package) == []


def test_a_linked_folder_in_place_of_a_folder_is_found(package, findings, tmp_path):
    (package / ENTRY).rename(tmp_path / "elsewhere")
    (package / ENTRY).symlink_to(tmp_path / "elsewhere")
    assert findings(package) == [f"{ENTRY}: expected a file, found a link or a special file"]


def test_names_of_files_cannot_forge_the_output(hubpkg, package):
    Path(os.fsdecode(os.fsencode(package) + b"/x\n  ok   files: \x1b[1m\xff")).touch()
    done = hubpkg("verify", package)
    assert (done.returncode, done.stderr) == (1, "")
    assert len(done.stdout.splitlines()) == 1 + len(CHECKS)
    assert r"x\n  ok   files: \x1b[1m\udcff: expected no such file" in done.stdout


def leaves(value, path=()):
    if isinstance(value, dict):
        for key, part in value.items():
            yield from leaves(part, (*path, key))
    else:
        yield path, value


def set_leaf(contents, path, value):
    for key in path[:-1]:
        contents = contents[key]
    contents[path[-1]] = value


def another(value):
    """Another value that fits the manifest's schema."""
    if isinstance(value, list):
        return [*value, value[-1]] if value else ["a reason"]
    if isinstance(value, str):
        return {"O0": "O1", "float32": "float16", "mindspore": "onnxruntime"}[value]
    return value - 0.001 if value % 1 else value - 1 or 2


def test_any_figure_changed_in_a_resealed_manifest_is_found(package):
    claims = {section: read_manifest(package)[section] for section in ("evaluation", "performance")}
    computed = [path for path, _ in leaves(claims) if path[-1] not in ("measured", "tolerance")]
    computed = [path for path in computed if path[:2] != ("evaluation", "engine")]  # no evidence tells it
    assert len(computed) == 8 + 18
    for path in computed:
        contents = read_manifest(package)
        section = contents[path[0]]
        value = section[path[1]] if len(path) == 2 else section[path[1]][path[2]]
        set_leaf(contents, path, another(value))
        with replaced(package / manifest.NAME, manifest.seal(contents)):
            found = failing(package)
        assert any(d.startswith(f"{manifest.NAME}: {'.'.join(path)}: expected {value}, as evidence/") for d in found)


def test_changed_predictions_are_found_in_a_resealed_package(package, findings):
    file = package / "evidence" / "predictions.csv"
    lines = file.read_text(encoding="utf-8").splitlines()
    number, cells = next(
        (number, cells)
        for number, cells in enumerate([line.split(",") for line in lines[1:]], start=1)
        if cells[1] not in cells[2:7]
    )
    cells[1] = cells[2]
    lines[number] = ",".join(cells)
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")
    reseal(package)
    found = findings(package)
    assert len(found) == 6
    for key in ("percent", "low", "high"):
        for metric in ("top1", "top5"):
            claim = f"{manifest.NAME}: evaluation.{metric}.{key}: expected "
            assert any(d.startswith(claim) and "as evidence/predictions.csv shows" in d for d in found)


@pytest.mark.parametrize(
    ("path", "figures"),
    [
        (("training", "ms"), ["ms_per_step", "images_per_second"]),
        (("training", "compile_seconds"), ["compile_seconds"]),
        (("training", "devices"), ["devices", "images_per_second"]),
        (("training", "batch_size"), ["batch_size", "images_per_second"]),
        (("training", "image_size"), ["image_size"]),
        (("inference", 0, "ms"), ["latency_p50_ms", "latency_p90_ms", "latency_p99_ms", "throughput"]),
        (("inference", 1, "batch_size"), ["throughput"]),
        (("inference", 2, "ms"), ["throughput"]),
        (("training", "conditions", "throttled"), ["noise"]),
    ],
)
def test_changed_timings_are_found_in_a_resealed_package(package, findings, path, figures):
    file = package / "evidence" / "timing.json"
    data = json.loads(file.read_bytes())
    *parents, last = path
    holder = reduce(getitem, parents, data)
    value = holder[last]
    holder[last] = [2 * sample for sample in value] if isinstance(value, list) else 2 * (value or 1)
    file.write_text(json.dumps(data), encoding="utf-8")
    reseal(package)
    named = {
        re.match(rf"{manifest.NAME}: performance\.(\w+): expected .*, as evidence/", d)[1] for d in findings(package)
    }
    noise = {"noise"} - set(figures)  # which names what was timed by its batch size, if the machine was not quiet
    assert named - noise == set(figures)


def test_changed_parameters_are_found_in_a_resealed_package(package, findings):
    file = package / "evidence" / "parameters.csv"
    file.write_text(file.read_text(encoding="utf-8").replace(",yes\n", ",no\n"), encoding="utf-8")
    reseal(package)
    (found,) = findings(package)
    assert found.startswith(f"{manifest.NAME}: performance.parameters_m: expected 0.0, as evidence/")


@pytest.mark.parametrize(
    ("before", "after", "field"),
    [
        ("license: Apache-2.0", "license: MIT", "license"),
        ("user-id: hubpkg", "user-id: someone", "user-id"),
        ("# XCiT,", "# xCiT,", ""),
    ],
)
def test_an_edited_card_is_found_in_a_resealed_package(package, findings, before, after, field):
    text = (package / CARD).read_text(encoding="utf-8")
    (package / CARD).write_text(text.replace(before, after), encoding="utf-8")
    reseal(package)
    (found,) = findings(package)
    assert re.match(rf"{re.escape(CARD)}:\d+: {field}.*expected '{re.escape(before)}.*found '{re.escape(after)}", found)


@pytest.mark.parametrize(
    ("source", "expected", "found"),
    [
        ("def create_net(name):\n    return None\n", "a function create_network(name, ...)", "none"),
        ("class create_network:\n    pass\n", "a function create_network(name, ...)", "none"),
        ("def create_network(name, depth):\n    pass\n", "create_network to need one argument", "name, depth"),
        ("def create_network(name, *, depth):\n    pass\n", "create_network to need one argument", "name, *, depth"),
        ("def create_network():\n    pass\n", "create_network to need one argument", "create_network()"),
        ("def create_network(name)\n    pass\n", "Python source", "expected ':'"),
        ("def create_network(name):\n    pass\n\0", "Python source", "null bytes"),
        ("-" * 100_000 + "1", "Python source", ""),
        ("a." * 100_000 + "a", "Python source", ""),
    ],
    ids=["other", "class", "two", "keyword", "no-argument", "syntax", "null", "deep-expression", "deep-attribute"],
)
def test_an_entrypoint_that_the_hub_cannot_call_is_found(package, findings, source, expected, found):
    (package / CONF).write_text(source, encoding="utf-8")
    reseal(package)
    (detail,) = findings(package)
    assert detail.startswith(CONF)
    assert f"expected {expected}" in detail
    assert found in detail.partition("found")[2]


def test_an_entrypoint_with_a_doubtful_escape_is_read(package):
    """Python warns of it; that is no finding, and nothing that the user could mend."""
    (package / CONF).write_text("def create_network(name):\n    return '\\d'\n", encoding="utf-8")
    reseal(package)
    assert failing(package) == []


def test_a_checkpoint_that_is_not_the_named_one_is_found_in_a_resealed_package(package, findings):
    contents = read_manifest(package)
    (package / contents["checkpoint"]["file"]).write_bytes(b"other weights")
    reseal(package, contents)
    (found,) = findings(package)
    assert found.startswith(f"{manifest.NAME}: checkpoint.sha256: expected ")


def test_bytecode_is_named_and_the_command_removes_it(package, verify, findings):
    # the modules' own bytecode is written even though their import of the framework fails
    script = f"import sys; sys.modules['mindspore'] = None; sys.path.insert(0, {str(package / ENTRY)!r}); "
    command = [sys.executable, "-c", script + "import mindspore_hub_conf"]
    environment = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    subprocess.run(command, env=environment, capture_output=True, check=False)
    (package / ENTRY / "stray.pyc").touch()
    (package / "evidence" / "stray.pyo").touch()
    cached = sorted((package / ENTRY / "__pycache__").iterdir())
    assert len(cached) == 2
    found = findings(package)
    named = [f"{ENTRY}/__pycache__/{file.name}" for file in cached] + [f"{ENTRY}/stray.pyc", "evidence/stray.pyo"]
    assert sorted(detail.partition(": ")[0] for detail in found) == sorted(named)
    for detail in found:
        assert "bytecode, which Python can run in place of the source that was hashed; remove it with: find" in detail
    subprocess.run(shlex.split(found[0].partition("remove it with: ")[2]), check=True)
    assert verify(package)[0] == 0


def test_the_command_that_removes_bytecode_can_be_pasted_for_any_path(package, findings, tmp_path):
    odd = package.rename(tmp_path / "a 'b' $(c)")
    (odd / ENTRY / "x.pyc").touch()
    (found,) = findings(odd)
    subprocess.run(["bash", "-c", found.partition("remove it with: ")[2]], check=True)  # noqa: S607
    assert failing(odd) == []


def test_bytecode_that_the_manifest_lists_is_found_too(package, findings):
    (package / ENTRY / "__pycache__").mkdir()
    (package / ENTRY / "__pycache__" / "x.cpython-311.pyc").touch()
    reseal(package)
    (found,) = findings(package)
    assert "bytecode" in found


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", "canonical JSON"),
        (b"garbage", "canonical JSON"),
        (bytes(range(256)), "canonical JSON"),
        (b"\xff\xfe{\0}\0", "canonical JSON"),
        (b"[" * 100_000 + b"]" * 100_000, "canonical JSON"),
        (b'{"a":' * 900 + b"1" + b"}" * 900, "a: unknown key"),
        (b'{"format":1' + b"0" * 5000 + b"}", "canonical JSON"),
        (b'{"format":NaN}', "format: expected"),
        (b'{"format":1e999}', "format: expected"),
        (b'{"format":"\\ud800"}', "format: expected"),
        (b"[]", "document: expected a mapping, found a list of 0"),
        (b"null", "document: expected a mapping, found null"),
        (b"{}", "evaluation: expected this key, found it missing"),
        (b'{"digests":[]}', "digests: expected a mapping, found a list of 0"),
        (b'{"extra":1}', "extra: unknown key"),
    ],
    ids=lambda value: str(value[:20]) if isinstance(value, bytes) else "",
)
def test_a_manifest_that_is_none_is_a_finding(package, findings, raw, expected):
    (package / manifest.NAME).write_bytes(raw)
    found = findings(package)
    assert all(detail.startswith(f"{manifest.NAME}: ") and len(detail) < 1000 for detail in found)
    assert any(expected in detail for detail in found)


def test_a_manifest_in_another_form_is_a_finding(package, findings):
    file = package / manifest.NAME
    raw = file.read_bytes()
    for other in (
        raw.replace(b'{"card"', b'{"card":{},"card"', 1),  # a key given twice: readers differ in which one they take
        raw + b"\n",
        b"\xef\xbb\xbf" + raw,
        raw.decode().encode("utf-16"),
        json.dumps(json.loads(raw)).encode(),
    ):
        assert other != raw
        file.write_bytes(other)
        assert any("expected canonical JSON" in detail for detail in findings(package))


def test_a_manifest_that_is_missing_or_a_folder_is_a_finding(package, findings, tmp_path):
    (package / manifest.NAME).unlink()
    assert findings(package) == [f"{manifest.NAME}: expected a readable manifest, found: No such file or directory"]
    (package / manifest.NAME).mkdir()
    assert findings(package) == [f"{manifest.NAME}: expected a readable manifest, found: Is a directory"]
    (tmp_path / "empty").mkdir()
    assert len(findings(tmp_path / "empty")) == 1


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "a/../b", "a//b", ".", "a\\b", "a\0b", "a/", ""])
def test_files_outside_the_package_are_refused(package, findings, name):
    contents = read_manifest(package)
    contents["files"][name] = {"size": 0, "sha256": "0" * 64}
    (package / manifest.NAME).write_bytes(manifest.seal(contents))
    (found,) = findings(package)
    assert found.startswith(f"{manifest.NAME}: files")
    assert json.dumps(name) in found


@pytest.mark.parametrize("path", [("entry",), ("package",), ("model",), ("dataset",), ("checkpoint", "file")])
def test_names_that_lead_outside_the_package_are_refused(package, findings, path):
    for name in ("..", ".", "../x", "/x", "a/b"):
        contents = read_manifest(package)
        set_leaf(contents, path, name)
        (package / manifest.NAME).write_bytes(manifest.seal(contents))
        (found,) = findings(package)
        wanted = f"{'.'.join(path)}: expected a name without slashes, found {json.dumps(name)}"
        assert found == f"{manifest.NAME}: {wanted}"


def test_an_unknown_template_is_a_finding(package, findings):
    contents = {**read_manifest(package), "template": 999}
    (package / manifest.NAME).write_bytes(manifest.seal(contents))
    (found,) = findings(package)
    assert found == "template: expected one of hubpkg's card templates, found 999; install a newer hubpkg"


def test_a_card_value_that_yaml_cannot_parse_is_a_finding(package, findings):
    contents = read_manifest(package)
    contents["card"]["author"] = "[" * 1000
    (package / manifest.NAME).write_bytes(manifest.seal(contents))
    assert findings(package)


# Hostile packages: whatever is in a folder, verification answers.

ODD = [
    *(b"9" * 400, b"9" * 5000, b"1e400", b"1e308", b"1e-320", b"-1", b"0", b"nan", b"Infinity", "\u0661".encode()),
    *(b"", b"\xff", b"\0", b",", b"\n", b"\r", b'"', b"[" * 3000, b"{" * 3000),
]
ANY_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=20)
    | st.sampled_from(["[" * 3000, "{{ 7 * 7 }}", "x" * 300, "\n---\n", "%s", "<b>", "|", "`", "\u2028", "9999-99-99"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FUZZ = hypothesis.settings(
    max_examples=80,
    deadline=None,
    suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture, hypothesis.HealthCheck.too_slow],
)


@contextmanager
def copy_of(package):
    with tempfile.TemporaryDirectory() as folder:
        yield Path(shutil.copytree(package, Path(folder) / package.name))


@FUZZ
@hypothesis.given(data=st.data())
def test_changed_bytes_never_break_verification(small_package, data):
    with copy_of(small_package) as package:
        names = sorted(str(file.relative_to(package)) for file in package.rglob("*") if file.is_file())
        file = package / data.draw(st.sampled_from(names))
        raw = file.read_bytes()
        start, end = sorted(data.draw(st.tuples(*[st.integers(0, len(raw))] * 2)))
        changed = raw[:start] + data.draw(st.binary(max_size=30) | st.sampled_from(ODD)) + raw[end:]
        file.write_bytes(changed)
        assert verification.verify(package).ok == (changed == raw)


@FUZZ
@hypothesis.given(data=st.data())
def test_changed_numbers_never_break_verification_of_a_resealed_package(small_package, data):
    with copy_of(small_package) as package:
        name = data.draw(
            st.sampled_from(["evidence/predictions.csv", "evidence/timing.json", "evidence/parameters.csv"])
        )
        raw = (package / name).read_bytes()
        numbers = [match.span() for match in re.finditer(rb"[\d.]+", raw)]
        start, end = data.draw(st.sampled_from(numbers))
        (package / name).write_bytes(raw[:start] + data.draw(st.sampled_from(ODD)) + raw[end:])
        reseal(package)
        verification.verify(package)


@FUZZ
@hypothesis.given(data=st.data())
def test_changed_values_never_break_verification_of_a_resealed_manifest(small_package, data):
    with copy_of(small_package) as package:
        contents = read_manifest(package)
        path, before = data.draw(st.sampled_from([(path, v) for path, v in leaves(contents) if path[0] != "files"]))
        alike = st.text(max_size=300) if isinstance(before, str) else st.floats(0, 1e308) | st.integers(0, 2**53 - 1)
        set_leaf(contents, path, data.draw(alike | ANY_JSON))
        try:
            sealed = manifest.seal(contents)
        except ValueError:
            hypothesis.reject()
        (package / manifest.NAME).write_bytes(sealed)
        result = verification.verify(package)
        assert all(isinstance(check.detail, str) for check in result.checks)
        for check in result.checks:
            check.detail.encode()


def test_images_that_were_found_and_not_evaluated_are_missed(package):
    contents = read_manifest(package)
    contents["inputs"]["data"]["test"]["images"] += 1
    agree(package, contents)
    reseal(package, contents)
    (failed,) = [check for check in verification.verify(package).checks if not check.ok]
    assert "inputs.data.test: expected 360 images that were not left out" in failed.detail
    assert failed.detail.endswith("found 361 less 0")


OWN = {"MAE": {"value": 1.0, "unit": "", "higher_is_better": False}}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c["performance"].pop("image_size"), "performance.image_size: expected this key, as evidence/timing"),
        (
            lambda c: c["evaluation"].pop("top5"),
            "evaluation.top5: expected this key, as evidence/predictions.csv shows",
        ),
        (lambda c: c["evaluation"].update(metrics=OWN), f"expected the file of {ENTRY}/ that computes MAE, found none"),
        (
            lambda c: c["inputs"]["recipe"].update(task="regression", num_outputs=1),
            "predictions.csv: expected outputs of a regression, as the recipe says, found classes and logits",
        ),
    ],
)
def test_a_manifest_may_neither_lack_nor_add_figures(package, change, expected):
    contents = read_manifest(package)
    change(contents)
    agree(package, contents)
    reseal(package, contents)
    assert any(expected in finding for finding in failing(package)), failing(package)
