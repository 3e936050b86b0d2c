"""MindSpore's checkpoint format, checked before MindSpore loads it.

Where a parameter has more bytes than its shape needs, ``mindspore.load_checkpoint`` (2.7 to 2.10) writes beyond its
memory; where it has fewer, it fills up with zeros; and it reserves what a shape asks for before it looks for the bytes.
"""

import itertools
import math
from pathlib import Path
from typing import Any

_BYTES = {  # of one element
    "Bool": 1,
    "Int8": 1,
    "UInt8": 1,
    "Int16": 2,
    "UInt16": 2,
    "Float16": 2,
    "BFloat16": 2,
    "Int32": 4,
    "UInt32": 4,
    "Float32": 4,
    "Int64": 8,
    "UInt64": 8,
    "Float64": 8,
}
_TEXT = "str"  # of the extra values that save_checkpoint takes, in UTF-32
_CHECKSUM = b"crc_num"  # it and ten bytes may end the file


def fault(path: Path) -> str | None:
    """What is wrong with the checkpoint at ``path``; None if it is safe to load.

    Safe is a file whose parameters have each a name of their own, a type that is known, and as many bytes as their
    shape needs.
    """
    from google.protobuf.message import DecodeError
    from mindspore.train.checkpoint_pb2 import Checkpoint

    raw = path.read_bytes()
    end = len(raw) - len(_CHECKSUM) - 10
    message = Checkpoint()
    try:
        message.ParseFromString(raw[:end] if raw[end:].startswith(_CHECKSUM) else raw)
        return _fault_of(message.value)
    except (DecodeError, UnicodeDecodeError):
        return "bytes that are none"


def _fault_of(values: Any) -> str | None:
    names: set[str] = set()
    for name, group in itertools.groupby(values, key=lambda value: value.tag):
        parts = list(group)  # a large parameter is stored in several
        if not name or name in names:
            return f"the parameter {name!r} twice" if name else "a parameter without a name"
        names.add(name)
        if any(part.WhichOneof("value") != "tensor" for part in parts):
            return f"{name!r}: no tensor"
        tensors = [part.tensor for part in parts]
        kind, shape = tensors[0].tensor_type, list(tensors[0].dims)
        if any(tensor.tensor_type != kind or list(tensor.dims) != shape for tensor in tensors):
            return f"{name!r}: parts of several shapes or types"
        if kind == _TEXT:
            b"".join(tensor.tensor_content for tensor in tensors).decode("utf-32-le")
            continue
        if kind not in _BYTES or min(shape, default=0) < 0:
            return f"{name!r}: the type {kind!r} and the shape {tuple(shape)}"
        stored = sum(len(tensor.tensor_content) for tensor in tensors)
        needed = math.prod(shape if shape != [0] else []) * _BYTES[kind]  # MindSpore writes a scalar's shape as [0]
        if stored != needed:
            return f"{name!r}: {stored} bytes for the shape {tuple(shape)} of {kind}, which needs {needed}"
    return None if names else "no parameter"
