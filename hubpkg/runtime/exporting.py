"""A network in other formats: written, loaded back and run."""

import importlib.util
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubpkg import checkpoint, interrupts
from hubpkg.errors import EngineError
from hubpkg.exports import MINDIR, ONNX
from hubpkg.runtime import engines, foreign, framework

Array = NDArray[Any]


def lacking(kind: str) -> str | None:
    """What is not installed that loading a file of the format ``kind`` needs, in a sentence; None if nothing."""
    if kind == ONNX and importlib.util.find_spec("onnxruntime") is None:
        return "expected onnxruntime, to load it back, found none; install 'hubpkg[onnxruntime]'"
    return None


def write(network: Any, kind: str, batch: Array, file: Path) -> None:
    """Write ``network``, which must not have been exported before, for inputs of the shape of ``batch``.

    Raises:
        EngineError: it has an operator that MindSpore can't export.
    """
    if kind == ONNX:
        framework.export_onnx(network, batch, file)
    elif kind == MINDIR:
        mindspore = framework.load()
        try:
            with interrupts.deferred():
                mindspore.export(network, mindspore.Tensor(batch), file_name=str(file), file_format="MINDIR")
        except (RuntimeError, TypeError, ValueError) as error:
            raise EngineError(
                f"expected a network that MindSpore can export as MINDIR, found: {framework.reason(error)}"
            ) from None
    else:
        from safetensors.numpy import save_file

        save_file({name: parameter.asnumpy() for name, parameter in network.parameters_dict().items()}, file)
    if not file.is_file():
        raise EngineError(
            f"expected one file {file}, found none; is that disk full, or the network of more than a gigabyte, which "
            "MindSpore puts into several?"
        )
    file.chmod(0o644)  # MindSpore lets its owner alone read a MINDIR


def loaded(file: Path, kind: str, network: Callable[[], Any]) -> Callable[[Array], Array]:
    """What gives outputs for inputs by the network in ``file``; ``network`` makes a new one, for weights alone."""
    if kind == ONNX:
        import onnxruntime

        with interrupts.deferred():
            session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
        return lambda batch: np.asarray(session.run(None, {session.get_inputs()[0].name: batch})[0])
    mindspore = framework.load()
    if kind == MINDIR:
        with interrupts.deferred():
            cell = mindspore.nn.GraphCell(mindspore.load(str(file)))
    else:
        cell = network()
        arrays = foreign.read(file, ())
        for parameter in cell.get_parameters():  # so that nothing of what it had before can pass for the file's
            parameter.set_data(mindspore.ops.zeros(parameter.shape, parameter.dtype))
        checkpoint.put(cell, foreign.parameters(arrays), file)
    return lambda batch: engines.run_network(cell, batch)
