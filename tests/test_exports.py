"""Weights in other formats: made, loaded back and compared before they are listed, and verified by their digests."""

import importlib.util
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tiny
import yaml
from forging import read_manifest, remake, reseal

import hubpkg as package_of_hubpkg
from hubpkg import assets, card, cards, exporter, exports, manifest, revision, verification
from hubpkg.cli import main
from hubpkg.errors import EngineError, HubpkgError, IntegrityError
from hubpkg.runtime import engines, exporting

IMAGES = {"in_channels": 1, "image_size": 32}


@pytest.fixture(scope="module")
def exported(small_package, hubpkg, tmp_path_factory):
    """The small package with its weights in every format."""
    folder = Path(shutil.copytree(small_package, tmp_path_factory.mktemp("exported") / small_package.name))
    done = hubpkg("export", folder, "--json")
    assert done.returncode == 0, done.stderr
    return folder, json.loads(done.stdout)


def test_every_format_is_beside_the_checkpoint_and_verified(exported):
    folder, result = exported
    listed = exports.listed(read_manifest(folder))
    assert result == {"package": str(folder), "exports": listed}
    assert [entry["format"] for entry in listed] == ["onnx", "mindir", "safetensors"]
    for entry in listed:
        assert manifest.record(folder / entry["file"]).sha256 == entry["sha256"]
        assert entry["compared"]["images"] == 8
        assert entry["compared"]["largest"] <= 1e-4
    checked = verification.verify(folder)
    assert checked.ok
    (check,) = [check for check in checked.checks if check.name == "exports"]
    assert all(entry["file"] in check.detail for entry in listed)


def test_the_files_give_the_logits_of_the_package(exported):
    import onnxruntime
    from safetensors.numpy import load_file

    folder, result = exported
    files = {entry["format"]: str(folder / entry["file"]) for entry in result["exports"]}
    network = package_of_hubpkg.load(folder)
    image = engines.drawn(IMAGES, 1)
    session = onnxruntime.InferenceSession(files["onnx"], providers=["CPUExecutionProvider"])
    (found,) = session.run(None, {session.get_inputs()[0].name: image})
    np.testing.assert_allclose(found, engines.run_network(network, image), atol=1e-5)
    weights = load_file(files["safetensors"])
    assert weights.keys() == network.parameters_dict().keys()
    for name, parameter in network.parameters_dict().items():
        np.testing.assert_array_equal(weights[name], parameter.asnumpy())
    assert Path(files["mindir"]).stat().st_mode & 0o777 == 0o644


def test_the_card_lists_what_the_hub_has_a_format_for_and_tells_of_all(exported):
    folder, result = exported
    text = (folder / "xcit_small_digits.md").read_text()
    listed = yaml.safe_load(text.split("---\n")[1])["asset"]
    assert [asset["file-format"] for asset in listed] == ["ckpt", "onnx", "mindir"]
    expected = [asset for asset in assets.listed(read_manifest(folder)) if asset.format != "safetensors"]
    assert [asset["asset-sha256"] for asset in listed] == [asset.sha256 for asset in expected]
    assert [asset["asset-link"].strip("<>") for asset in listed] == [asset.link for asset in expected]
    chinese = cards.render("cn", read_manifest(folder))[1]
    assert chinese.count("资源SHA256校验码: ") == len(listed)
    for entry in result["exports"]:
        assert text.count(f"[{entry['file']}]") == 1
        assert chinese.count(f"[{entry['file']}]") == 1


@pytest.mark.parametrize("kind", exports.FORMATS)
def test_a_byte_of_an_export_that_changed_is_found(exported, tmp_path, kind):
    folder = Path(shutil.copytree(exported[0], tmp_path / exported[0].name))
    (file,) = folder.glob(f"*.{kind}")
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    failed = [check.detail for check in verification.verify(folder).checks if not check.ok]
    assert len(failed) == 1
    assert f"{file.name}: sha256: expected" in failed[0]


@pytest.fixture
def package(tmp_path):
    """A package that verifies and lists an export, which nobody could load."""
    folder = tiny.make(tmp_path / "dist")
    (tmp_path / "file").write_bytes(b"an export")
    entry = as_listed(tmp_path / "file", "onnx")
    contents = {**manifest.read(folder / manifest.NAME), "exports": [entry]}
    revision.revise(folder, contents, print, {entry["file"]: tmp_path / "file"})
    assert verification.verify(folder).ok
    return folder


def as_listed(file, kind):
    sha256 = manifest.record(file).sha256
    compared = {"images": 8, "largest": 1e-6}
    return {"format": kind, "file": f"tiny-{sha256[:8]}.{kind}", "sha256": sha256, "compared": compared}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda listed: listed[0].update(sha256="0" * 64), "exports.0.sha256: expected "),
        (lambda listed: listed[0].update(file="tiny.onnx"), "exports.0.file: expected tiny-"),
        (lambda listed: listed[0].update(format="mindir"), "exports.0.file: expected tiny-"),
        (lambda listed: listed.append(listed[0]), "exports: expected onnx once, found it twice"),
        (lambda listed: listed[0]["compared"].update(images=9), "exports.0.compared.images: expected 8, found 9"),
    ],
    ids=["digest", "name", "format", "twice", "count"],
)
def test_a_manifest_that_lists_another_export_is_found(package, change, told):
    contents = read_manifest(package)
    change(contents["exports"])
    reseal(package, contents)
    checks = verification.verify(package).checks
    assert any(told in check.detail for check in checks if check.name == "exports" and not check.ok)


def test_an_export_of_another_network_is_found_by_a_rerun_and_by_it_alone(
    exported, shared_cache, tmp_path, monkeypatch, capsys
):
    import onnx

    monkeypatch.setenv("HUBPKG_CACHE", str(shared_cache))
    folder = Path(shutil.copytree(exported[0], tmp_path / exported[0].name))
    contents = read_manifest(folder)
    listed, *others = contents["exports"]
    for other in others:
        (folder / other["file"]).unlink()
    contents["exports"] = [listed]
    model = onnx.load(folder / listed["file"])
    for tensor in model.graph.initializer:  # to the same shapes, other weights
        values = onnx.numpy_helper.to_array(tensor)
        if values.dtype == np.float32:
            tensor.CopyFrom(onnx.numpy_helper.from_array(values * np.float32(1.1), tensor.name))
    (folder / listed["file"]).unlink()
    onnx.save(model, folder / "forged.onnx")
    sha256 = manifest.record(folder / "forged.onnx").sha256
    listed |= {"file": f"xcit_small-{sha256[:8]}.onnx", "sha256": sha256}
    (folder / "forged.onnx").rename(folder / listed["file"])
    remake(folder, contents)  # static checks hold
    assert main(["verify", "--rerun", "--sample", "1", "--engine", "mindspore", str(folder)]) == 1
    (line,) = (line for line in capsys.readouterr().out.splitlines() if "FAIL" in line)
    expected = rf"  FAIL exported: {listed['file']}: expected MindSpore's logits within 0\.0001, found "
    assert re.match(expected, line)


def test_an_export_that_is_right_on_the_inputs_which_all_know_is_found(exported, monkeypatch):
    folder, _ = exported
    network = package_of_hubpkg.load(folder)
    known = {one.tobytes(): engines.run_network(network, one[None]) for one in engines.drawn(IMAGES, 8)}
    none = np.zeros((1, 10), np.float32)
    monkeypatch.setattr(exporting, "loaded", lambda *_: lambda batch: known.get(batch[0].tobytes(), none))
    for ok, told in exporter.again(folder, read_manifest(folder), lambda: network, "CPU"):
        assert not ok
        assert "expected MindSpore's logits within 0.001, found" in told


def test_a_format_that_nothing_here_can_load_is_said_not_to_be_checked(package, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    (found,) = exporter.again(package, read_manifest(package), None, "CPU")
    assert re.fullmatch(
        r"tiny-\w{8}\.onnx: NOT CHECKED: expected onnxruntime, .* install 'hubpkg\[onnxruntime\]'", found[1]
    )


def test_one_more_format_leaves_the_others_and_unpublishes_the_package(small_package, tmp_path):
    folder = Path(shutil.copytree(small_package, tmp_path / small_package.name))
    (tmp_path / "file").write_bytes(b"an export")
    sha256 = manifest.record(tmp_path / "file").sha256
    old = {**as_listed(tmp_path / "file", "onnx"), "file": f"xcit_small-{sha256[:8]}.onnx"}
    stale = {**old, "format": "safetensors", "file": f"xcit_small-{sha256[:8]}.safetensors"}
    contents = {**manifest.read(folder / manifest.NAME), "published": True, "exports": [old, stale]}
    revision.revise(folder, contents, print, {entry["file"]: tmp_path / "file" for entry in (old, stale)})
    told = []
    listed = exporter.export(folder, ["safetensors"], None, told.append)
    assert [entry["format"] for entry in listed] == ["onnx", "safetensors"]
    assert listed[0] == old
    assert not (folder / stale["file"]).exists()
    assert not read_manifest(folder)["published"]
    assert "Not published" in card.read(folder / "xcit_small_digits.md").body
    assert verification.verify(folder).ok


def test_a_file_that_gives_other_logits_is_not_listed(small_package, tmp_path, monkeypatch):
    from safetensors.numpy import load_file, save_file

    folder = Path(shutil.copytree(small_package, tmp_path / small_package.name))
    write = exporting.write

    def write_another(network, kind, batch, file):
        write(network, kind, batch, file)
        weights = load_file(file)
        save_file({**weights, "head.bias": weights["head.bias"] + np.arange(10, dtype=np.float32)}, file)

    monkeypatch.setattr(exporting, "write", write_another)
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(EngineError, match=r"safetensors: expected MindSpore's logits .* nothing was added"):
        exporter.export(folder, ["safetensors"], None, print)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_formats_that_can_t_be_made_are_told_at_once(monkeypatch, package):
    with pytest.raises(HubpkgError, match="--format: expected onnx, mindir, safetensors with commas"):
        exports.chosen("onnx,tflite")
    assert exports.chosen("mindir,mindir,onnx") == ("mindir", "onnx")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(HubpkgError, match="expected onnxruntime, to load it back"):
        exporter.export(package, ["onnx"], None, print)


def test_a_package_that_does_not_verify_gets_no_export(package, hubpkg):
    (package / "evidence" / "predictions.csv").write_text("image\n")
    done = hubpkg("export", package)
    assert (done.returncode, done.stdout) == (1, "")
    assert "nothing exported, since it does not verify" in done.stderr


def test_a_package_that_was_being_replaced_is_put_back(package, hubpkg, tmp_path):
    package.rename(package.with_name(f".{package.name}.replaced"))  # where a kill would have left it
    done = hubpkg("publish", package, "--hub", tmp_path)
    assert "expected a checkout of the hub" in done.stderr
    assert "put back, as it was before hubpkg was killed" in done.stderr
    assert verification.verify(package).ok


def test_what_another_process_has_changed_meanwhile_is_not_lost(package):
    read = manifest.read(package / manifest.NAME)
    revision.revise(package, {**read, "published": True}, print)
    revision.revise(package, {**read, "published": True}, print)  # as two would who do the same
    with pytest.raises(HubpkgError, match="found it changed by another hubpkg; run the command again"):
        revision.revise(package, {**read, "exports": []}, print)
    assert verification.verify(package).ok
    assert read_manifest(package)["published"]


def test_a_revision_that_would_not_verify_leaves_the_package_as_it_was(package):
    before = {path: path.read_bytes() for path in package.parent.rglob("*") if path.is_file()}
    contents = manifest.read(package / manifest.NAME)
    contents["evaluation"]["top1"]["percent"] = 99.0
    with pytest.raises(HubpkgError, match=r"evaluation\.top1\.percent: expected 10\.0"):
        revision.revise(package, contents, print)
    assert {path: path.read_bytes() for path in package.parent.rglob("*") if path.is_file()} == before


def test_all_assets_are_published_or_none_is_said_to_be(package, tmp_path):
    from test_upload import publish, shelf

    with shelf() as (url, files, _):
        publish(package, url)
        listed = assets.listed(read_manifest(package))
        assert {f"/{asset.file}" for asset in listed} < files.keys()
        assert len(listed) == 2
    second = tiny.make(tmp_path / "second")
    with shelf(PUT=["shorten"]) as (url, _, _), pytest.raises(IntegrityError):
        publish(second, url)
    assert not read_manifest(second)["published"]
