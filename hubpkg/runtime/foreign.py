"""Weights in other frameworks' files, read as arrays, and the logits of the network that they were trained in."""

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hubpkg import interrupts
from hubpkg.errors import CheckpointError, HubpkgError
from hubpkg.runtime import framework

Array = NDArray[Any]
_SAFE_TORCH = (2, 6)  # the first whose weights_only runs no code that a file holds
_PYTORCH = (".pth", ".pt", ".bin")


def read(path: Path, within: Sequence[str]) -> dict[str, Array]:
    """The weights in the file at ``path``, by name; nothing that the file may say is run.

    Args:
        path: ``*.safetensors``, or PyTorch's ``*.pth``, ``*.pt`` or ``*.bin``, for which torch has to be installed.
        within: keys under which a PyTorch file may hold them; the first one that it has counts.

    Raises:
        CheckpointError: it holds no such weights.
        HubpkgError: torch is needed, and not installed.
    """
    if not path.is_file() or path.suffix not in (".safetensors", *_PYTORCH):
        found = f"the suffix {path.suffix!r}" if path.is_file() else "no such file"
        raise CheckpointError(f"{path}: expected weights in *.safetensors or *{', *'.join(_PYTORCH)}, found {found}")
    return _read_safetensors(path) if path.suffix == ".safetensors" else _read_pytorch(path, within)


def _read_safetensors(path: Path) -> dict[str, Array]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found: dict[str, Array] = load_file(path)
    except (SafetensorError, KeyError, ValueError, TypeError, AttributeError, OSError) as error:
        raise CheckpointError(
            f"{path}: expected safetensors in float32, float16 or float64, found {type(error).__name__}: {error}"
        ) from None
    return found


def _read_pytorch(path: Path, within: Sequence[str]) -> dict[str, Array]:
    try:
        with interrupts.deferred():
            import torch
    except ModuleNotFoundError:
        raise HubpkgError(
            f"{path}: expected torch, which reads PyTorch's files, found none; install it, or save the weights with "
            "safetensors.torch.save_file where it is"
        ) from None
    if tuple(map(int, re.findall(r"\d+", torch.__version__)[:2])) < _SAFE_TORCH:
        raise HubpkgError(
            f"{path}: expected torch 2.6 or later, as earlier ones can run code that a file holds "
            f"(CVE-2025-32434), found {torch.__version__}; install a later one, or save the weights as safetensors"
        )
    try:
        data = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # noqa: BLE001 - what it raises on a damaged or malicious file is not documented
        raise CheckpointError(
            f"{path}: expected a PyTorch file with weights and no code, found a damaged one or more in it "
            f"({type(error).__name__})"
        ) from None
    for key in within:
        if isinstance(data, dict) and isinstance(data.get(key), dict):
            data = data[key]
            break
    if not isinstance(data, dict) or not all(isinstance(value, torch.Tensor) for value in data.values()):
        keys = ", ".join(map(str, list(data)[:5])) if isinstance(data, dict) else type(data).__name__
        raise CheckpointError(f"{path}: expected tensors by their names, found {keys}")
    return {
        str(name): (value.float() if value.is_floating_point() else value).detach().numpy()
        for name, value in data.items()
    }


def joined(weights: Mapping[str, Array], plan: Mapping[str, Sequence[str]]) -> dict[str, Array]:
    """The arrays by our names, each of the parts that ``plan`` names, one below the other, in float32."""
    return {
        ours: np.concatenate([np.atleast_1d(weights[name]) for name in names]).astype(np.float32)
        if len(names) > 1
        else weights[names[0]].astype(np.float32)
        for ours, names in plan.items()
    }


def faults(found: Mapping[str, Array], plan: Mapping[str, Sequence[str]], network: Any) -> list[str]:
    """How the arrays ``found`` differ from the parameters of ``network``, each by its name here and there."""
    told = []
    own = network.parameters_dict()
    for name, parameter in own.items():
        if name not in found:
            told.append(f"{name} is missing")
        elif found[name].shape != tuple(parameter.shape):
            told.append(
                f"{name} has shape {found[name].shape} ({' + '.join(plan[name])} there) instead of "
                f"{tuple(parameter.shape)}"
            )
        elif not np.isfinite(found[name]).all():
            told.append(f"{name} ({' + '.join(plan[name])} there) has values that are not finite")
    told += [f"{' + '.join(plan[name])} ({name} here) is not in the network" for name in found if name not in own]
    return told


def parameters(arrays: Mapping[str, Array]) -> dict[str, Any]:
    """MindSpore's parameters of these values, by name."""
    mindspore = framework.load()
    with interrupts.deferred():
        return {name: mindspore.Parameter(mindspore.Tensor(value), name=name) for name, value in arrays.items()}


def reference_logits(name: str, weights: Mapping[str, Array], classes: int, batch: Array) -> Array | None:
    """The logits that timm's network ``name`` gives with these weights; None where torch or timm is not installed.

    Raises:
        CheckpointError: the weights are not that network's.
    """
    try:
        with interrupts.deferred():
            import timm
            import torch
    except ModuleNotFoundError:
        return None
    try:
        network = timm.create_model(name, num_classes=classes, in_chans=batch.shape[1], img_size=batch.shape[-1])
        state = {key: torch.from_numpy(np.array(value)) for key, value in weights.items()}
        # Beside each network timm has what makes the authors' names its own.
        adapt = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
        network.load_state_dict(adapt(state, network) if adapt else state)
        with torch.no_grad():
            logits: Array = network.eval()(torch.from_numpy(batch)).numpy()
    except (RuntimeError, TypeError, ValueError, KeyError) as error:
        told = str(error).strip().partition("\n")[0]
        raise CheckpointError(f"timm's {name}: expected its weights, found {told}") from None
    return logits
