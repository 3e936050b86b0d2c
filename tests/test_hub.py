"""What a consumer gets from hubpkg.load."""

import shutil
import subprocess
import sys

import numpy as np
import pytest
from forging import read_manifest, remake, reseal

import hubpkg as library
from hubpkg import manifest, predictions
from hubpkg.errors import CheckpointError, FetchError, HubpkgError, IntegrityError
from hubpkg.runtime import datasets, framework

ENTRY = "xcit_small"
CONF = f"{ENTRY}/mindspore_hub_conf.py"
CARD = "xcit_small_digits.md"
TRAP = "raise AssertionError('the entrypoint was run')\n"


def images_of(package, count):
    """The first test images, as the network takes them."""
    recipe = read_manifest(package)["inputs"]["recipe"]
    images = datasets.find("digits").read("test", None)
    batches = datasets.pipeline(images, recipe, count)
    batch, _ = next(batches.create_tuple_iterator(num_epochs=1))
    return batch


def assert_stored_logits(network, package, count=5):
    logits = network(images_of(package, count)).asnumpy()
    stored = list(predictions.read(package / predictions.FILE))[:count]
    for found, expected in zip(logits, stored, strict=True):
        np.testing.assert_allclose(found[list(expected.classes)], expected.logits, rtol=0, atol=1e-4)


@pytest.mark.compat
@pytest.mark.parametrize("given", ["card", "folder"])
def test_the_network_gives_the_stored_logits_in_both_modes(small_package, mode, given):
    path = small_package / CARD if given == "card" else small_package
    files = sorted(small_package.rglob("*"))
    network = library.load(str(path), source="local")
    assert isinstance(network, framework.load().nn.Cell)
    assert not network.training
    for name in ("graph", "pynative"):
        mode(name)
        assert_stored_logits(network, small_package)
    assert sorted(small_package.rglob("*")) == files  # no bytecode either


def test_a_path_may_be_relative_or_below_home(small_package, monkeypatch):
    monkeypatch.setenv("HOME", str(small_package.parent))
    monkeypatch.chdir(small_package)
    for path in (CARD, f"~/{small_package.name}/{CARD}", "."):
        assert library.load(path).parameters_dict()


def test_a_copy_of_the_card_elsewhere_is_no_package(small_package, tmp_path, monkeypatch):
    shutil.copyfile(small_package / CARD, tmp_path / CARD)
    monkeypatch.setenv("HUBPKG_OFFLINE", "1")
    with pytest.raises(FetchError, match=r"xcit_small: expected its code in the cache, found none, and hubpkg is off"):
        library.load(str(tmp_path / CARD))


def test_what_is_no_package_is_refused(small_package, tmp_path):
    with pytest.raises(HubpkgError, match=r"none: expected a package's card or folder, found no such path$"):
        library.load(str(tmp_path / "none"), source="local")
    with pytest.raises(
        HubpkgError, match=r"none: expected a card's path or URL, a package's folder, or a uid .*, found"
    ):
        library.load(str(tmp_path / "none"))
    with pytest.raises(HubpkgError, match=r"^source: expected .*, found 'gite'"):
        library.load("hubpkg/2.8/xcit_small_digits", source="gite")
    with pytest.raises(HubpkgError, match=r"hubpkg\.json: expected a package's card or folder, found another"):
        library.load(small_package / "hubpkg.json")
    with pytest.raises(HubpkgError, match=r"^name: expected a path, a URL or a name, found None$"):
        library.load(None)


@pytest.mark.parametrize("change", ["flipped", "cut", "missing", "folder"])
def test_a_checkpoint_that_is_not_the_promised_one_is_refused_before_code_runs(package, change):
    weights = package / read_manifest(package)["checkpoint"]["file"]
    (package / CONF).write_text(TRAP, encoding="utf-8")
    reseal(package)
    raw = weights.read_bytes()
    weights.unlink()
    if change == "folder":
        weights.mkdir()
    elif change != "missing":
        weights.write_bytes(raw[:-1] if change == "cut" else bytes([raw[0] ^ 1]) + raw[1:])
    with pytest.raises(IntegrityError, match=r"\.ckpt: expected sha256 [0-9a-f]{64}, found .*; get the package again$"):
        library.load(str(package))


@pytest.mark.parametrize("name", [CONF, f"{ENTRY}/xcit_small_network.py", f"{ENTRY}/create_network.json", CARD])
def test_a_changed_file_is_refused_before_code_runs(package, name):
    file = package / name
    file.write_bytes(file.read_bytes() + TRAP.encode())
    with pytest.raises(
        IntegrityError, match=r": expected sha256 [0-9a-f]{64}, found [0-9a-f]{64}; get the package again$"
    ):
        library.load(str(package / CARD))
    file.unlink()
    with pytest.raises(HubpkgError, match=r"found no such (file|path)"):
        library.load(str(package / CARD))


def test_a_changed_manifest_is_refused(package):
    file = package / manifest.NAME
    file.write_bytes(file.read_bytes().replace(b'"format":1', b'"format":2'))
    with pytest.raises(HubpkgError, match=r"^hubpkg\.json: format: "):
        library.load(str(package))


def test_a_file_that_was_added_is_not_imported(package):
    (package / ENTRY / "json.py").write_text(TRAP, encoding="utf-8")
    (package / ENTRY / "numpy.py").write_text(TRAP, encoding="utf-8")
    assert_stored_logits(library.load(str(package)), package)


def test_arguments_reach_create_network(small_package):
    network = library.load(str(small_package), 5, pretrained=False)
    assert network.head.weight.shape == (5, 32)
    network = library.load(str(small_package), num_classes=7, in_channels=2, pretrained=False)
    assert network.head.weight.shape == (7, 32)
    with pytest.raises(CheckpointError) as caught:
        library.load(str(small_package), num_classes=5)
    assert "head.weight has shape (10, 32) instead of (5, 32)" in str(caught.value)
    assert "head.bias has shape (10,) instead of (5,)" in str(caught.value)


def test_without_weights_the_checkpoint_is_not_needed(package):
    (package / read_manifest(package)["checkpoint"]["file"]).unlink()
    assert library.load(str(package), pretrained=False).head.weight.shape == (10, 32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda parameters: parameters.pop("head.bias"), "head.bias is missing"),
        (lambda parameters: parameters.update(extra=np.zeros(3)), "extra is not in the network"),
        (
            lambda parameters: parameters.update({"head.bias": np.zeros((2, 5))}),
            "head.bias has shape (2, 5) instead of (10,)",
        ),
    ],
    ids=["missing", "extra", "shape"],
)
def test_parameters_are_matched_strictly(package, change, message):
    mindspore = framework.load()
    weights = package / read_manifest(package)["checkpoint"]["file"]
    parameters = {name: value.asnumpy() for name, value in mindspore.load_checkpoint(str(weights)).items()}
    change(parameters)
    saved = [{"name": name, "data": mindspore.Tensor(value, mindspore.float32)} for name, value in parameters.items()]
    weights.unlink()
    mindspore.save_checkpoint(saved, str(weights))
    remake(package)
    with pytest.raises(CheckpointError) as caught:
        library.load(str(package))
    assert message in str(caught.value)


def test_what_is_no_cell_is_refused(package):
    (package / CONF).write_text("def create_network(name):\n    return name\n", encoding="utf-8")
    reseal(package)
    with pytest.raises(HubpkgError, match=r"expected create_network to return a mindspore\.nn\.Cell, found str$"):
        library.load(str(package))


def test_the_network_is_in_inference_mode_whatever_the_package_says(package):
    training = "\nmake = create_network\ndef create_network(name):\n    return make(name).set_train()\n"
    (package / CONF).write_text((package / CONF).read_text(encoding="utf-8") + training, encoding="utf-8")
    reseal(package)
    assert not [cell for _, cell in library.load(str(package)).cells_and_names() if cell.training]


def test_errors_of_the_package_are_its_own(package):
    before = sys.path.copy(), sys.meta_path.copy()
    with pytest.raises(ValueError, match="XCiT expects in_channels from 1 to 4, found 9"):
        library.load(str(package), in_channels=9, pretrained=False)
    assert (sys.path, sys.meta_path) == before


def test_two_packages_with_modules_of_the_same_names(small_package, package, mode):
    """The second one's network answers otherwise, by one line of the module that both have."""
    network = package / ENTRY / "xcit_small_network.py"
    source = network.read_text(encoding="utf-8")
    negated = source.replace("return self.head(self.norm(x[:, 0]))", "return -self.head(self.norm(x[:, 0]))")
    assert negated != source
    network.write_text(negated, encoding="utf-8")
    reseal(package)
    first, second = library.load(str(small_package)), library.load(str(package))
    images = images_of(small_package, 5)
    for name in ("graph", "pynative"):
        mode(name)
        np.testing.assert_allclose(second(images).asnumpy(), -first(images).asnumpy(), rtol=0, atol=1e-6)
        assert_stored_logits(first, small_package)


CONSUMER = """
import hubpkg, os, sys
{load}
import mindspore, numpy
mindspore.set_context(mode=mindspore.GRAPH_MODE)
print(network(mindspore.Tensor(numpy.zeros((1, 1, 32, 32), numpy.float32))).shape)
os.keep = network  # a module that is still there when MindSpore's are not
"""
SAFELY = "network = hubpkg.load({card!r}, source='local')"
PLAINLY = """
sys.path.insert(0, {entry!r})
from mindspore_hub_conf import create_network
network = create_network('xcit_small')
"""


def consume(package, load):
    script = CONSUMER.format(load=load.format(card=str(package / CARD), entry=str(package / ENTRY)))
    command = [sys.executable, "-W", "default", "-c", script]
    return subprocess.run(command, cwd=package.parent, capture_output=True, text=True, check=True)


def test_a_consumer_sees_no_noise(package):
    done = consume(package, SAFELY)
    assert (done.stdout, done.stderr) == ("(1, 10)\n", "")


def test_without_hubpkg_a_consumer_sees_noise(package):
    """Else the test before this one would show nothing."""
    done = consume(package, PLAINLY)
    assert done.stderr.count("Exception ignored in: <function Cell.__del__") > 20
