"""Checkpoints that are what they say are loaded; others are refused, and never crash the interpreter."""

import struct

import numpy as np
import pytest

from hubpkg import checkpoint, manifest
from hubpkg.errors import CheckpointError, IntegrityError
from hubpkg.runtime import framework

FLOATS = struct.pack("<6f", *range(6))
mark = pytest.mark.compat


def message(*parameters, **fields):
    """The bytes of a checkpoint; a parameter is its name, shape, type and bytes."""
    from mindspore.train.checkpoint_pb2 import Checkpoint

    made = Checkpoint()
    for name, shape, kind, content in parameters:
        value = made.value.add(tag=name)
        value.tensor.dims.extend(shape)
        value.tensor.tensor_type, value.tensor.tensor_content = kind, content
    for name in fields.get("maps", []):
        made.value.add(tag=name).maptensor.SetInParent()
    return made.SerializeToString()


@pytest.fixture
def load(tmp_path):
    """Loads what a checkpoint with some bytes holds."""
    framework.load()

    def run(raw):
        file = tmp_path / "some.ckpt"
        file.write_bytes(raw)
        return checkpoint.load(file)

    return run


@mark
def test_every_type_that_mindspore_saves_is_loaded_as_it_was(tmp_path):
    mindspore = framework.load()
    kinds = ["bool_", "int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64", "float16", "float32"]
    saved = {kind: mindspore.Tensor([0, 1, 1], getattr(mindspore, kind)) for kind in [*kinds, "float64", "bfloat16"]}
    saved |= {"scalar": mindspore.Tensor(2.5, mindspore.float32), "one": mindspore.Tensor([1.5], mindspore.float32)}
    entries = [{"name": name, "data": value} for name, value in saved.items()]
    mindspore.save_checkpoint(
        entries, str(tmp_path / "all.ckpt"), append_dict={"epoch": 3, "rate": 0.5, "note": "text"}
    )
    found = checkpoint.load(tmp_path / "all.ckpt")
    assert found.keys() == saved.keys() | {"epoch", "rate", "note"}
    for name, value in saved.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        assert (found[name].float().asnumpy() == value.float().asnumpy()).all()


@mark
def test_a_checksum_at_the_end_is_no_part_of_the_parameters(tmp_path):
    mindspore = framework.load()
    entries = [{"name": "w", "data": mindspore.Tensor(np.arange(6), mindspore.float32)}]
    mindspore.save_checkpoint(entries, str(tmp_path / "sum.ckpt"), crc_check=True)
    assert (tmp_path / "sum.ckpt").read_bytes()[-17:-10] == b"crc_num"
    assert checkpoint.load(tmp_path / "sum.ckpt")["w"].asnumpy().tolist() == [0, 1, 2, 3, 4, 5]


def test_a_parameter_may_be_stored_in_parts(load):
    whole = load(message(("w", [6], "Float32", FLOATS[:8]), ("w", [6], "Float32", FLOATS[8:])))
    assert whole["w"].asnumpy().tolist() == [0, 1, 2, 3, 4, 5]


@mark
@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ([("w", [2, 2], "Float32", FLOATS)], "'w': 24 bytes for the shape (2, 2) of Float32, which needs 16"),
        ([("w", [2, 4], "Float32", FLOATS)], "'w': 24 bytes for the shape (2, 4) of Float32, which needs 32"),
        ([("w", [], "Float32", FLOATS)], "'w': 24 bytes for the shape () of Float32, which needs 4"),
        ([("w", [2**40, 2**20], "Float32", FLOATS)], "'w': 24 bytes for the shape (1099511627776, 1048576)"),
        ([("w", [6], "Float32", FLOATS), ("w", [6], "Float32", FLOATS)], "'w': 48 bytes for the shape (6,)"),
        (
            [("w", [6], "Float32", FLOATS[:8]), ("w", [2], "Float32", FLOATS[:8])],
            "'w': parts of several shapes or types",
        ),
        (
            [("w", [6], "Float32", FLOATS), ("b", [6], "Float32", FLOATS), ("w", [6], "Float32", FLOATS)],
            "the parameter 'w' twice",
        ),
        ([("w", [-2, -3], "Float32", FLOATS)], "'w': the type 'Float32' and the shape (-2, -3)"),
        ([("w", [6], "Float31", FLOATS)], "'w': the type 'Float31' and the shape (6,)"),
        ([("w", [6], "Int4", FLOATS)], "'w': the type 'Int4' and the shape (6,)"),
        ([("", [6], "Float32", FLOATS)], "a parameter without a name"),
        ([], "no parameter"),
    ],
    ids=lambda value: None if isinstance(value, str) else "",
)
def test_a_checkpoint_that_mindspore_would_crash_on_or_misread_is_refused(parameters, words, load):
    with pytest.raises(CheckpointError) as caught:
        load(message(*parameters))
    assert f"some.ckpt: expected a MindSpore checkpoint, found {words}" in str(caught.value)
    assert str(caught.value).endswith("Get it again, or save it with mindspore.save_checkpoint")


def test_a_value_that_is_no_tensor_is_refused(load):
    with pytest.raises(CheckpointError, match="found 'table': no tensor"):
        load(message(("w", [6], "Float32", FLOATS), maps=["table"]))


@pytest.mark.parametrize("raw", [b"", b"<html></html>", b"PK\x03\x04" + bytes(60), b"\x80\x02}q\x00.", FLOATS * 9])
def test_other_files_are_refused(raw, load):
    with pytest.raises(CheckpointError, match=rf"found (bytes that are none|no parameter), in {len(raw)} bytes"):
        load(raw)


def test_cut_anywhere_it_is_refused_or_lacks_what_was_cut(load):
    raw = message(("w", [6], "Float32", FLOATS), ("b", [6], "Float32", FLOATS))
    kept = []
    for end in range(len(raw)):
        try:
            kept.append((end, list(load(raw[:end]))))
        except CheckpointError:
            continue
    assert kept == [(len(raw) // 2, ["w"])]


def test_text_in_place_of_a_parameter_is_told_as_a_difference(tmp_path):
    mindspore = framework.load()
    network = mindspore.nn.Dense(2, 2)
    saved = {**network.parameters_dict()}
    file = tmp_path / "text.ckpt"
    entries = [{"name": "weight", "data": saved["weight"]}]
    mindspore.save_checkpoint(entries, str(file), append_dict={"bias": "text"})
    with pytest.raises(CheckpointError, match=r"found 1 not as there: bias is str instead of a tensor$"):
        checkpoint.restore(network, file)


def test_what_was_changed_after_it_was_hashed_is_not_loaded(tmp_path):
    file = tmp_path / "some.ckpt"
    file.write_bytes(message(("w", [6], "Float32", FLOATS)))
    sha256 = manifest.record(file).sha256
    assert checkpoint.load_verified(file, sha256)["w"].asnumpy().tolist() == [0, 1, 2, 3, 4, 5]
    file.write_bytes(message(("w", [6], "Float32", FLOATS[::-1])))
    with pytest.raises(IntegrityError, match=rf"some\.ckpt: expected sha256 {sha256}, found "):
        checkpoint.load_verified(file, sha256)


def test_text_that_is_none_is_refused(load):
    with pytest.raises(CheckpointError, match="found bytes that are none"):
        load(message(("w", [6], "Float32", FLOATS), ("note", [], "str", b"\xff" * 8)))
