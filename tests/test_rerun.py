"""What ``verify --rerun`` finds that static checks can't."""

import math
import re
from dataclasses import replace

import pytest
from forging import agree, read_manifest, remake, reseal
from scipy.stats import chisquare, hypergeom

from hubpkg import checkpoint, evaluation, hub, manifest, predictions, rerun, verification

ENTRY = "xcit_small/mindspore_hub_conf.py"

pytestmark = pytest.mark.usefixtures("mode")  # a rerun sets graph mode


def checks_of(package, engine=None, sample=None):
    """The checks that a rerun adds to those of a package that looks right."""
    static = verification.verify(package)
    assert static.ok
    where = rerun.Where(None, None, engine, skip_damaged=False, sample=sample, report=lambda _: None)
    return rerun.verify(static, where).checks[len(static.checks) :]


def finding(package, sample=None):
    """The detail of the rerun's one check that fails."""
    (failed,) = [check for check in checks_of(package, sample=sample) if not check.ok]
    return failed.detail


@pytest.mark.compat
def test_a_fresh_package_passes(hubpkg, small_package):
    done = hubpkg("verify", "--rerun", small_package)
    assert done.returncode == 0
    assert re.fullmatch(
        r"(hubpkg: warning: MindSpore 2.10.0 is several times .*\n)?export: (running\nexport: done .*|reused.*)\n",
        done.stderr,
    )
    assert re.search(r"^  ok   data: fingerprint of digits: as the manifest says$", done.stdout, re.MULTILINE)
    assert re.search(r"^  ok   rerun: 360 images evaluated again by onnxruntime: 0 differ, ", done.stdout, re.MULTILINE)


def test_another_engine_reruns_within_the_tolerance_between_engines(package):
    _, check = checks_of(package, "mindspore")
    assert check.ok
    assert re.match(
        r"360 images evaluated again by mindspore: 0 differ, .*, the tolerance 0.001; in total ", check.detail
    )


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
    moved = [replace(p, logits=tuple(x + 5e-5 for x in p.logits), log_sum=p.log_sum + 5e-5) for p in stored]
    predictions.write(file, moved)
    remake(package)
    _, check = checks_of(package)
    assert check.ok
    assert re.search(r": 0 differ, .*the largest change of a logit is 5e-05, the tolerance 0.0001", check.detail)


def test_other_data_is_found(package):
    contents = read_manifest(package)
    contents["inputs"]["data"]["test"]["sha256"] = "0" * 64
    agree(package, contents)
    reseal(package, contents)
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


def test_a_hidden_or_changed_sixth_logit_and_a_changed_sum_are_found(package):
    file = package / predictions.FILE
    first, second, *rest = predictions.read(file)
    predictions.write(file, [replace(p, next_logit=p.next_logit - 0.01) for p in (first, second)] + rest)
    remake(package)
    assert finding(package).startswith("360 images evaluated again by onnxruntime: 2 differ, ")
    predictions.write(file, [replace(p, next_logit=None) for p in (first, second, *rest)])
    remake(package)
    assert "expected 5 logits, found 6" in finding(package)
    predictions.write(file, [replace(first, log_sum=first.log_sum + 0.01), second, *rest])
    remake(package)
    assert finding(package).startswith("360 images evaluated again by onnxruntime: 1 differ, ")


def test_a_cache_that_cannot_be_written_is_no_finding(hubpkg, package):
    done = hubpkg("verify", "--rerun", package, env={"HUBPKG_CACHE": "/dev/null/x"})
    assert done.returncode == 2
    assert "expected a cache folder that can be written" in done.stderr


def drawn_from(package, count):
    """Names of the images that a rerun of ``count`` evaluates."""
    names = sorted(prediction.image for prediction in predictions.read(package / predictions.FILE))
    return {names[i] for i in rerun.draw(names, manifest.record(package / manifest.NAME).sha256, count)}


def improve(package, choose):
    """Have the label first in the stored predictions of an image that is wrong, and that ``choose`` takes."""
    file = package / predictions.FILE
    stored = list(predictions.read(file))
    index, wrong = next(
        (i, p)
        for i, p in enumerate(stored)
        if p.label in p.classes[1:] and p.logits[0] - p.logits[-1] > 0.1 and choose(p.image)
    )
    stored[index] = replace(wrong, classes=(wrong.label, *(c for c in wrong.classes if c != wrong.label)))
    predictions.write(file, stored)
    return wrong.image


def test_a_sample_is_drawn_by_the_manifest_and_says_what_could_slip_through(here, small_package):
    done = here("verify", "--rerun", "--sample", 20, small_package)
    assert done.returncode == 0, done.stderr
    assert re.search(r"^  ok   images: 0 of 360 images or their labels differ from the", done.stdout, re.MULTILINE)
    assert re.search(r"^  ok   rerun: 20 images evaluated again by onnxruntime: 0 differ, ", done.stdout, re.MULTILINE)
    assert "forged by one point, 4 images, slips through with a chance of 0.79; " in done.stdout


def test_a_sample_finds_a_forged_image_if_it_draws_it(package):
    forged = improve(package, drawn_from(package, 100).__contains__)
    remake(package)  # which draws others
    found = forged in drawn_from(package, 60)
    checks = checks_of(package, sample=60)
    assert [check.name for check in checks] == ["data", "images", "rerun"]
    assert checks[-1].ok is not found
    assert (f"; {forged}: expected classes" in checks[-1].detail) is found
    assert f"; {forged}: expected classes" in finding(package, sample=359) or forged not in drawn_from(package, 359)
    assert f"; {forged}: expected classes" in finding(package, sample=360)


def test_a_sample_finds_other_weights(package):
    checkpoint.save(hub.load(str(package), pretrained=False), package / read_manifest(package)["checkpoint"]["file"])
    remake(package)
    assert re.match(r"8 images evaluated again by onnxruntime: [5-8] differ", finding(package, sample=8))


def test_a_sample_finds_left_out_invented_and_relabelled_images_that_it_did_not_draw(package):
    file = package / predictions.FILE
    first, second, *rest = predictions.read(file)
    relabelled = replace(second, label=(second.label + 1) % 10)
    predictions.write(file, [replace(first, image="9999"), relabelled, *rest])
    remake(package)
    (images,) = [check for check in checks_of(package, sample=1) if check.name == "images"]
    assert not images.ok
    assert images.detail.startswith("3 of 360 images or their labels differ from the dataset's; ")
    assert f"; {second.image}: expected label {relabelled.label}, found {second.label}" in images.detail
    assert "; 9999: not in the dataset any more" in images.detail
    assert f"{first.image}: not among the stored predictions" in images.detail


def test_what_is_drawn_depends_on_the_seed_alone_and_evenly():
    names = [f"{i:04}" for i in range(200)]
    assert rerun.draw(names, "a", 20) == rerun.draw(names, "a", 20) == sorted(rerun.draw(names, "a", 20))
    assert {names[i] for i in rerun.draw(names, "a", 20)} == {names[::-1][i] for i in rerun.draw(names[::-1], "a", 20)}
    counts = [0] * 200
    for seed in range(500):
        for index in rerun.draw(names, str(seed), 20):
            counts[index] += 1
    assert chisquare(counts).pvalue > 1e-3


@pytest.mark.parametrize(("images", "drawn"), [(360, 36), (360, 359), (50_000, 500), (50_000, 5000)])
def test_the_stated_chances_are_hypergeometric(images, drawn):
    said = rerun.chances(images, drawn)
    match = re.match(
        r"an accuracy forged by one point, (\d+) images?, .* of (\S+); one forged by (\S+) points is found", said
    )
    forged, chance, points = int(match[1]), float(match[2]), float(match[3])
    assert forged == images // 100 + (images % 100 > 0)
    assert chance == pytest.approx(hypergeom.pmf(0, images, forged, drawn), rel=0.06, abs=1e-12)
    # the number of points is rounded up to a tenth
    assert hypergeom.logpmf(0, images, int(points * images / 100), drawn) < math.log(1e-15)
    assert hypergeom.logpmf(0, images, int((points - 0.1) * images / 100) - 1, drawn) > math.log(1e-15)


def test_a_sample_is_of_a_rerun(here, small_package):
    done = here("verify", "--sample", 5, small_package)
    assert (done.returncode, done.stderr) == (2, "hubpkg: error: --sample: expected it with --rerun, found it alone\n")
    assert here("verify", "--rerun", "--sample", 0, small_package).returncode == 2


def test_a_package_measured_on_another_device_has_the_tolerance_between_devices(package):
    contents = read_manifest(package)
    contents["environment"]["devices"] = "Ascend"
    file = package / predictions.FILE
    stored = list(predictions.read(file))
    moved = [
        replace(
            p,
            logits=tuple(x + 0.03 for x in p.logits),
            next_logit=p.next_logit + 0.03,
            log_sum=p.log_sum + 0.03,
        )
        for p in stored
    ]
    predictions.write(file, moved)
    remake(package, contents)
    (_, check) = checks_of(package)
    assert check.ok, check.detail
    assert ", the tolerance 0.05; in total the counts differ by 0, the tolerance " in check.detail
