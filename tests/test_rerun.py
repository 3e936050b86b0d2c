"""What ``verify --rerun`` finds that static checks can't."""

import re
from dataclasses import replace

import pytest
from forging import read_manifest, remake, reseal

from hubpkg import checkpoint, evaluation, hub, manifest, predictions, rerun, verification

ENTRY = "xcit_small/mindspore_hub_conf.py"

pytestmark = pytest.mark.usefixtures("mode")  # a rerun sets graph mode


def checks_of(package, engine=None):
    """The checks that a rerun adds to those of a package that looks right."""
    static = verification.verify(package)
    assert static.ok
    where = rerun.Where(None, None, engine, skip_damaged=False, report=lambda _: None)
    return rerun.verify(static, where).checks[len(static.checks) :]


def finding(package):
    """The detail of the rerun's one check that fails."""
    (failed,) = [check for check in checks_of(package) if not check.ok]
    return failed.detail


@pytest.mark.compat
def test_a_fresh_package_passes(hubpkg, small_package):
    done = hubpkg("verify", "--rerun", small_package)
    assert done.returncode == 0
    assert re.fullmatch(
        r"(hubpkg: warning: MindSpore 2.10.0 is several times slower .*\n)?export: running\nexport: done .*\n",
        done.stderr,
    )
    assert re.search(r"^  ok   data: fingerprint of digits: as the manifest says$", done.stdout, re.MULTILINE)
    assert re.search(r"^  ok   rerun: 360 images evaluated again by onnxruntime: 0 differ, ", done.stdout, re.MULTILINE)


def test_another_engine_reruns_within_the_tolerance_between_engines(package):
    _, check = checks_of(package, "mindspore")
    assert check.ok
    assert re.match(r"360 images evaluated again by mindspore: 0 differ, .*, the tolerance 0.001$", check.detail)


def test_a_package_that_does_not_verify_is_not_run(hubpkg, package):
    (package / ENTRY).write_text("raise AssertionError('run')\n", encoding="utf-8")
    done = hubpkg("verify", "--rerun", package)
    assert (done.returncode, done.stderr) == (1, "")
    assert " rerun:" not in done.stdout


def test_other_weights_are_found(package):
    """All that is recorded was made anew for them, but the predictions are the old ones."""
    checkpoint.save(hub.load(str(package), pretrained=False), package / read_manifest(package)["checkpoint"]["file"])
    remake(package)
    detail = finding(package)
    differing = int(re.match(r"360 images evaluated again by onnxruntime: (\d+) differ", detail)[1])
    assert differing > 300
    assert len(re.findall(r"\b\d{4}: expected classes \(.*?\), found \(.*?\); a logit moved by ", detail)) == 5
    assert detail.endswith(f"and {differing - 5} more")


@pytest.mark.parametrize("tolerance", [evaluation.LOGIT_TOLERANCE, 1e9])
def test_better_predictions_are_found(package, tolerance):
    """Whatever tolerance the package states."""
    file = package / predictions.FILE
    stored = list(predictions.read(file))
    index, wrong = next(
        (i, p) for i, p in enumerate(stored) if p.label in p.classes[1:] and p.logits[0] - p.logits[-1] > 0.1
    )
    others = tuple(c for c in wrong.classes if c != wrong.label)
    stored[index] = replace(wrong, classes=(wrong.label, *others))
    predictions.write(file, stored)
    contents = read_manifest(package)
    before = contents["evaluation"]["top1"]["percent"]
    contents["evaluation"]["tolerance"] = tolerance
    remake(package, contents)
    assert read_manifest(package)["evaluation"]["top1"]["percent"] > before
    detail = finding(package)
    assert detail.startswith("360 images evaluated again by onnxruntime: 1 differ, ")
    assert f"; {wrong.image}: expected " in detail


def test_left_out_invented_and_relabelled_images_are_found(package):
    file = package / predictions.FILE
    first, second, *rest = predictions.read(file)
    invented = replace(first, image="9999")
    relabelled = replace(second, label=(second.label + 1) % 10)
    predictions.write(file, [invented, relabelled, *rest])
    remake(package)
    detail = finding(package)
    assert detail.startswith("360 images evaluated again by onnxruntime: 3 differ, ")
    assert "; 9999: not in the dataset" in detail
    assert f"; {second.image}: expected label {relabelled.label}, found {second.label}" in detail
    assert f"; {first.image}: not among the stored predictions" in detail


def test_logits_may_move_within_the_tolerance(package):
    file = package / predictions.FILE
    stored = list(predictions.read(file))
    moved = [replace(p, logits=tuple(logit + 5e-5 for logit in p.logits)) for p in stored]
    predictions.write(file, moved)
    remake(package)
    _, check = checks_of(package)
    assert check.ok
    assert re.search(r": 0 differ, .*the largest change of a logit is 5e-05, the tolerance 0.0001", check.detail)


def test_other_data_is_found(package):
    contents = read_manifest(package)
    contents["inputs"]["data"]["test"]["sha256"] = "0" * 64
    (package / manifest.NAME).write_bytes(manifest.seal(contents))
    detail = finding(package)
    assert re.fullmatch(r"fingerprint of digits: expected 0{64}, found [0-9a-f]{64}", detail)


def test_only_a_rerun_runs_the_package(package, tmp_path):
    planted = tmp_path / "planted"
    source = (package / ENTRY).read_text(encoding="utf-8")
    (package / ENTRY).write_text(f"{source}\nPath({str(planted)!r}).touch()\n", encoding="utf-8")
    reseal(package)
    assert verification.verify(package).ok
    assert not planted.exists()
    assert all(check.ok for check in checks_of(package))
    assert planted.exists()


NOT_RUNNING = """
import xcit_small_network as network

class Broken(network.XCiT):
    def construct(self, images):
        raise RuntimeError("broken")

def create_network(name):
    return Broken(depth=1, dim=32, num_heads=2, class_depth=1, num_classes=10, in_channels=1)
"""


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("def create_network(name):\n    return 1 / 0\n", "xcit_small: running it raised ZeroDivisionError: division"),
        ("def create_network(name):\n    raise SystemExit(0)\n", "xcit_small: running it raised SystemExit: 0"),
        ("import nowhere\ndef create_network(name):\n    pass\n", "raised ModuleNotFoundError: No module named"),
        ("def create_network(name):\n    return name\n", "expected create_network to return a mindspore.nn.Cell"),
        (
            "from mindspore.nn import Flatten\ndef create_network(name):\n    return Flatten()\n",
            "is not in the network",
        ),
        (NOT_RUNNING, "xcit_small: running it raised RuntimeError: "),
    ],
    ids=["raises", "exits", "imports", "no-cell", "other-cell", "fails-to-run"],
)
def test_a_package_that_cannot_be_run_is_a_finding(package, monkeypatch, tmp_path, source, found):
    monkeypatch.chdir(tmp_path)  # a failed compilation leaves a dump in the working folder
    (package / ENTRY).write_text(source, encoding="utf-8")
    reseal(package)
    assert found in finding(package)


def test_a_hidden_or_changed_sixth_logit_is_found(package):
    file = package / predictions.FILE
    first, second, *rest = predictions.read(file)
    predictions.write(file, [replace(p, next_logit=p.next_logit - 0.01) for p in (first, second)] + rest)
    remake(package)
    assert finding(package).startswith("360 images evaluated again by onnxruntime: 2 differ, ")
    predictions.write(file, [replace(p, next_logit=None) for p in (first, second, *rest)])
    remake(package)
    assert "expected 5 logits, found 6" in finding(package)


def test_a_cache_that_cannot_be_written_is_no_finding(hubpkg, package):
    done = hubpkg("verify", "--rerun", package, env={"HUBPKG_CACHE": "/dev/null/x"})
    assert done.returncode == 2
    assert "expected a cache folder that can be written" in done.stderr
