"""MindSpore, set up so that its users see none of the noise that they can do nothing about."""

import atexit
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from hubpkg import interrupts
from hubpkg import recipe as recipes
from hubpkg.errors import EngineError, HubpkgError, SlowFrameworkWarning

_FAST_ON_CPU = ((2, 7), (2, 8))  # from 2.9 on, convolutions take many times as long there


def version() -> str:
    """The installed MindSpore's version, read without importing it.

    Raises:
        HubpkgError: there is none, or one that hubpkg does not support.
    """
    try:
        found = metadata.version("mindspore")
    except metadata.PackageNotFoundError:
        raise HubpkgError(
            "expected MindSpore 2.7 to 2.10, found none; install it with: pip install 'hubpkg[build]'"
        ) from None
    if _minor(found) not in {(2, 7), (2, 8), (2, 9), (2, 10)}:
        raise HubpkgError(
            f"expected MindSpore 2.7 to 2.10, found {found}; install one with: pip install 'hubpkg[build]'"
        )
    return found


def _minor(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".")[:2] if part.isdigit())


@cache
def load() -> Any:
    """The module ``mindspore``, quiet at exit; warns, once, of one that is slow on the CPU.

    Raises:
        HubpkgError: it is not installed, or can't be imported.
    """
    found = version()
    _check_numpy(found)
    try:
        with interrupts.deferred():
            import mindspore
    except ImportError as error:
        raise HubpkgError(f"expected MindSpore {found} to import, found: {error}") from None
    atexit.register(_quiet_exit, mindspore.nn.Cell)
    if mindspore.get_context("device_target") == "CPU" and _minor(found) not in _FAST_ON_CPU:
        warnings.warn(
            f"MindSpore {found} is several times slower on the CPU than 2.8.0; for speed: pip install mindspore==2.8.0",
            SlowFrameworkWarning,
            stacklevel=2,
        )
    return mindspore


@contextmanager
def explained(what: str, recipe: Mapping[str, Any]) -> Iterator[None]:
    """Say in one line what MindSpore and NumPy say in many.

    Raises:
        HubpkgError: in place of theirs, that ``what`` was expected to run on images of the recipe's size.
    """
    try:
        yield
    except (RuntimeError, TypeError, ValueError, MemoryError) as error:
        size = "x".join(map(str, recipes.input_shape(recipe)[1 if recipes.of_images(recipe) else 0 :]))
        where = f"{what}, {'images' if recipes.of_images(recipe) else 'inputs'} of {size}"
        if isinstance(error, MemoryError) or re.search("alloc|memory", str(error), re.IGNORECASE):
            raise HubpkgError(
                f"{where}: expected memory enough, found too little ({reason(error)}); try a smaller batch_size, in "
                "training with grad_accumulation, or smaller images"
            ) from None
        raise HubpkgError(f"{where}: expected it to run, found {type(error).__name__}: {reason(error)}") from None


def reason(error: Exception) -> str:
    """The line of a message of MindSpore's that says something: others are empty, ruled, or headings between rules."""
    lines = [line.strip() for line in str(error).splitlines()]
    return next((line.rstrip(".") for line in lines if line and not line.startswith("-")), "no reason given")


def _quiet_exit(cell: type) -> None:
    # MindSpore's own handlers, which run after this one, use what Python deprecates.
    warnings.filterwarnings("ignore", module="mindspore")
    # Cells that outlive MindSpore's modules have a __del__ that fails, and Python reports each of them.
    if "__del__" in vars(cell):
        del cell.__del__  # type: ignore[attr-defined]


def _check_numpy(found: str) -> None:
    numpy = metadata.version("numpy")
    if int(numpy.split(".")[0]) > 1:
        raise HubpkgError(
            f"expected numpy below 2, which MindSpore {found} needs, found {numpy}; "
            "install it with: pip install 'numpy<2'"
        )


def start(jit_level: str, device: str | None) -> Any:
    """MindSpore in graph mode on ``device`` (default: the one that it was built for), at ``jit_level``.

    Args:
        jit_level: O0, O1 or O2.
        device: CPU or Ascend.

    Raises:
        HubpkgError: the device is not there.
    """
    mindspore = load()
    try:
        if device is not None and mindspore.get_context("device_target") != device:
            mindspore.set_device(device)
        mindspore.set_context(mode=mindspore.GRAPH_MODE, jit_level=jit_level)
    except (RuntimeError, ValueError) as error:
        raise HubpkgError(f"expected a usable device {device}, found: {str(error).strip().splitlines()[0]}") from None
    return mindspore


def export_onnx(network: Any, inputs: Any, file: Path) -> None:
    """Write ``network`` for ``inputs``, an array like those that it will be given, to ``file`` as ONNX.

    Raises:
        EngineError: it has an operator that MindSpore can't export.
    """
    mindspore = load()
    images = mindspore.Tensor(inputs)
    try:
        with interrupts.deferred():
            if hasattr(mindspore, "onnx"):  # from 2.8 on
                mindspore.onnx.export(network, images, file_name=str(file))
            else:
                mindspore.export(network, images, file_name=str(file), file_format="ONNX")
    except (RuntimeError, TypeError, ValueError) as error:
        raise EngineError(
            f"expected a network that MindSpore can export as ONNX, found: {str(error).strip().splitlines()[0]}"
        ) from None
