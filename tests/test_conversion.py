"""Weights from elsewhere: names and parts, what does not fit, and the logits of the network that they are from."""

import csv
import importlib.util
import json
import re
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from hubpkg import checkpoint, conversion, spec
from hubpkg.errors import CheckpointError, HubpkgError
from hubpkg.runtime import engines, foreign, framework

ROOT = Path(__file__).parents[1]
MODEL = ROOT / "models" / "xcit_tiny_12_p16_224"
IMAGES = {"in_channels": 1, "image_size": 32}
# timm's network of this kind with width 16, one block of each kind and random weights, and the logits that it gives
# for engines.drawn(IMAGES, 2); made by timm 1.0.31 with torch 2.14.1.
RANDOM = ROOT / "tests" / "data" / "xcit_width_16.safetensors"


@pytest.fixture(scope="module")
def network_class():
    loading = importlib.util.spec_from_file_location("xcit_for_conversion", MODEL / f"{MODEL.name}_network.py")
    module = importlib.util.module_from_spec(loading)
    sys.modules[loading.name] = module  # where MindSpore looks its source up
    loading.loader.exec_module(module)
    return module.XCiT


@pytest.fixture(scope="module")
def names():
    return conversion.read_map(MODEL)


def test_timm_s_weights_give_timm_s_logits(network_class, names):
    weights = load_file(RANDOM)
    expected = weights.pop("logits")
    arrays = foreign.joined(weights, plan := names.plan(weights))
    sizes = {"in_channels": 1, "num_classes": 10, "dim": 16, "depth": 1, "num_heads": 2, "class_depth": 1}
    network = network_class(**sizes, **names.arguments)
    assert foreign.faults(arrays, plan, network) == []
    checkpoint.put(network, foreign.parameters(arrays), RANDOM)
    batch = engines.drawn(IMAGES, 2)
    found = engines.run_network(network.set_train(False), batch)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert np.abs(engines.run_network(network, batch[::-1].copy()) - expected).max() > 1e-2


def as_the_authors_have_it(ours):
    """The name that a parameter of ours has in the authors' files."""
    names = {r"\.moving_mean$": ".running_mean", r"\.moving_variance$": ".running_var"}
    normalisation = r"((?:^|\.)norm\d?|\.bn|proj\.\d\.1)"
    names |= {rf"{normalisation}\.gamma$": r"\1.weight", rf"{normalisation}\.beta$": r"\1.bias"}
    for pattern, to in names.items():
        ours = re.sub(pattern, to, ours)
    return ours


def as_timm_has_it(ours):
    """The names that it has, in one or more parts, in timm's."""
    name = as_the_authors_have_it(ours).replace("pos_embeder.", "pos_embed.")
    in_parts = name.startswith("cls_attn_blocks") and ".qkv." in name
    return [name.replace(".qkv.", f".{part}.") for part in "qkv"] if in_parts else [name]


def test_every_published_name_is_reached_from_the_authors_and_from_timm(names):
    with (ROOT / "tests" / "data" / "xcit_tiny_12_p16_224.parameters.tsv").open() as file:
        published = [row["name"] for row in csv.DictReader(file, delimiter="\t")]
    assert len(published) == 367
    more = ["patch_embed.proj.0.1.num_batches_tracked"]
    assert names.plan([*map(as_the_authors_have_it, published), *more]) == {
        ours: [as_the_authors_have_it(ours)] for ours in published
    }
    timm = {ours: as_timm_has_it(ours) for ours in published}
    assert names.plan([name for parts in timm.values() for name in parts[::-1]]) == timm


def test_parts_that_are_missing_and_names_that_collide_are_told(names):
    with pytest.raises(CheckpointError, match=r"of cls_attn_blocks\.0\.attn\.qkv\.bias the part k is missing"):
        names.plan(["cls_attn_blocks.0.attn.q.bias", "cls_attn_blocks.0.attn.v.bias"])
    with pytest.raises(CheckpointError, match=r"pos_embed\.x and pos_embeder\.x are both pos_embeder\.x"):
        names.plan(["pos_embed.x", "pos_embeder.x"])


@pytest.fixture(scope="module")
def theirs(small_package, tmp_path_factory):
    """The small package's weights in a file with the authors' names."""
    (file,) = small_package.glob("*.ckpt")
    weights = {as_the_authors_have_it(k): v.asnumpy() for k, v in checkpoint.load(file).items()}
    path = tmp_path_factory.mktemp("theirs") / "theirs.safetensors"
    save_file({**weights, "patch_embed.proj.0.1.num_batches_tracked": np.array(7)}, path)
    return path


def test_convert_writes_the_checkpoint_and_says_what_it_is_for(hubpkg, theirs, small_package, tmp_path):
    out = tmp_path / "new" / "ours.ckpt"
    done = hubpkg("convert", "xcit_small", theirs, "--out", out, "--json")
    assert done.returncode == 0, done.stderr
    (original,) = small_package.glob("*.ckpt")
    expected, found = checkpoint.load(original), checkpoint.load(out)
    assert found.keys() == expected.keys()
    for name, parameter in expected.items():
        np.testing.assert_array_equal(found[name].asnumpy(), parameter.asnumpy())
    result = json.loads(done.stdout)
    assert result["arguments"] == {"normalize_qk": True, "exact_gelu": True}
    assert result["parameters"] == len(expected)
    if importlib.util.find_spec("torch") is None:
        assert result["compared"] is None
        assert "not compared with PyTorch's" in done.stderr
    assert [path.name for path in out.parent.iterdir()] == ["ours.ckpt"]


@pytest.fixture
def convert(models, theirs, monkeypatch, tmp_path):
    """Converts the small model's weights, changed, and gives the checkpoint's path."""
    monkeypatch.setenv("HUBPKG_MODELS", str(models))

    def run(change, out="ours.ckpt"):
        weights = load_file(theirs)
        change(weights)
        save_file(weights, tmp_path / "changed.safetensors")
        model = spec.read_spec("xcit_small")
        conversion.convert(model, tmp_path / "changed.safetensors", tmp_path / out, None, lambda _: None)
        return tmp_path / out

    return run


def test_another_file_that_is_there_stays(convert, tmp_path):
    out = convert(lambda _: None)
    made = out.read_bytes()
    assert convert(lambda _: None).read_bytes() == made  # which is there already
    with pytest.raises(HubpkgError, match=r"ours\.ckpt: expected no file, or this checkpoint, found another; move it"):
        convert(lambda w: w["head.bias"].__setitem__(0, 7))
    assert out.read_bytes() == made
    (tmp_path / "folder.ckpt").mkdir()
    with pytest.raises(HubpkgError, match=r"--out: expected no file, or a checkpoint, found something else at "):
        convert(lambda _: None, "folder.ckpt")
    assert {path.name for path in tmp_path.iterdir()} == {"ours.ckpt", "folder.ckpt", "changed.safetensors"}


def test_a_checkpoint_that_can_t_be_written_leaves_nothing(convert, tmp_path, monkeypatch):
    def save(_, name):
        Path(name).with_suffix(".tmp").write_bytes(b"what MindSpore leaves on a full disk")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(framework.load(), "save_checkpoint", save)
    with pytest.raises(CheckpointError, match=r"/ours\.ckpt: expected to write a checkpoint, found: .* No space left"):
        convert(lambda _: None)
    assert [path.name for path in tmp_path.iterdir()] == ["changed.safetensors"]


def test_half_precision_becomes_float32(convert):
    out = convert(lambda w: w.update({k: v.astype(np.float16) for k, v in w.items() if v.dtype == np.float32}))
    assert {str(parameter.dtype) for parameter in checkpoint.load(out).values()} == {"Float32"}


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda w: w.pop("norm.weight"), r"found 1 not as there: norm\.gamma is missing"),
        (
            lambda w: w.update(extra=np.ones(2, np.float32)),
            r"found 1 not as there: extra \(extra here\) is not in the network",
        ),
        (
            lambda w: w.update({"head.weight": np.ones((1000, 32), np.float32)}),
            r"head\.weight has shape \(1000, 32\) \(head\.weight there\) instead of \(10, 32\).*another --dataset",
        ),
        (
            lambda w: w["norm.bias"].__setitem__(3, np.nan),
            r"norm\.beta \(norm\.bias there\) has values that are not finite",
        ),
    ],
    ids=["missing", "surplus", "misshapen", "not finite"],
)
def test_what_does_not_fit_is_named_and_nothing_is_written(convert, change, told, tmp_path):
    with pytest.raises(CheckpointError, match=told):
        convert(change)
    assert [path.name for path in tmp_path.iterdir()] == ["changed.safetensors"]


def test_the_name_must_be_a_checkpoint_s(convert):
    with pytest.raises(HubpkgError, match=r"--out: expected a checkpoint's name \*\.ckpt, found .*ours\.npz"):
        convert(lambda _: None, "ours.npz")


@pytest.mark.parametrize(
    ("name", "data", "told"),
    [
        ("x.safetensors", b"\x08\0\0\0\0\0\0\0not json", "expected safetensors in float32"),
        ("x.safetensors", b"", "expected safetensors in float32"),
        ("x.h5", b"", "expected weights in .* found the suffix '.h5'"),
        ("none.pth", None, "found no such file"),
    ],
)
def test_a_file_that_is_none_is_told(tmp_path, name, data, told):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(CheckpointError, match=told):
        foreign.read(tmp_path / name, ())


def test_pytorch_s_files_need_torch(tmp_path, monkeypatch):
    (tmp_path / "x.pth").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        HubpkgError, match=r"expected torch, which reads PyTorch's files, .*safetensors\.torch\.save_file"
    ):
        foreign.read(tmp_path / "x.pth", ())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("rename: [{pattern: '(', to: x}]", r"expected a regular expression, found '\('"),
        ("rename: [{pattern: a, to: '\\7'}]", "expected a replacement for the pattern"),
        ("rename: [{pattern: a, to: b, parts: [q, k]}]", "expected parts, and a group 'part'"),
        ("rename: [{pattern: a}]", "to"),
        (None, r"expected the file weights\.yaml"),
    ],
)
def test_a_map_that_can_t_be_used_is_told(tmp_path, text, told):
    if text is not None:
        (tmp_path / "weights.yaml").write_text(text)
    with pytest.raises(HubpkgError, match=told):
        conversion.read_map(tmp_path)
