"""Where a package's weights come from, trained here or given as a file, and whether they fit the network."""

import logging
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hubpkg import cache, interrupts
from hubpkg.errors import CheckpointError, HubpkgError, IntegrityError
from hubpkg.runtime import framework


def load_verified(path: Path, sha256: str) -> Mapping[str, Any]:
    """The parameters in the checkpoint at ``path``, whose digest is ``sha256``; no other byte is ever read.

    Raises:
        IntegrityError: it is another file.
        CheckpointError: it is not a readable MindSpore checkpoint.
    """
    # Whoever can write the file could change it after it was hashed: what is loaded is a private copy, hashed as made.
    with tempfile.TemporaryDirectory(prefix="hubpkg-") as private:
        copy = Path(private) / f"{sha256}.ckpt"
        try:
            found = cache.copy(path, copy)
        except FileNotFoundError:
            raise IntegrityError(f"{path}: expected sha256 {sha256}, found no such file; get it again") from None
        except OSError as error:
            raise HubpkgError(
                f"{path}: expected to make a private copy in {private}, found: {error.strerror}; "
                "free some space there, or name another folder in the environment variable TMPDIR"
            ) from None
        if found != sha256:
            raise IntegrityError(f"{path}: expected sha256 {sha256}, found {found}; get it again")
        try:
            return load(copy)
        except CheckpointError as error:
            raise CheckpointError(str(error).replace(str(copy), str(path))) from None


def load(path: Path) -> Mapping[str, Any]:
    """The parameters in the checkpoint at ``path``, by name.

    Raises:
        CheckpointError: it is not a readable MindSpore checkpoint.
    """
    mindspore = framework.load()
    if path.suffix != ".ckpt" or not path.is_file():
        what = f"the suffix {path.suffix!r}" if path.is_file() else "no such file"
        raise CheckpointError(f"{path}: expected a checkpoint file *.ckpt, found {what}")
    try:
        with interrupts.deferred(), _unlogged():
            from hubpkg.runtime import ckpt

            if (fault := ckpt.fault(path)) is not None:
                raise CheckpointError(_unreadable(path, fault))
            parameters: Mapping[str, Any] = mindspore.load_checkpoint(str(path))
    # What load_checkpoint raises on a damaged file is not documented, and differs between versions.
    except (ValueError, TypeError, RuntimeError, KeyError, AttributeError, OSError, MemoryError):
        raise CheckpointError(_unreadable(path, "bytes that MindSpore can't load")) from None
    return parameters


def _unreadable(path: Path, found: str) -> str:
    return (
        f"{path}: expected a MindSpore checkpoint, found {found}, in {path.stat().st_size} bytes; is it cut short, "
        "or of another framework? Get it again, or save it with mindspore.save_checkpoint"
    )


def restore(network: Any, path: Path) -> None:
    """Put the parameters in the checkpoint at ``path`` into ``network``, whose own must be the same ones.

    Raises:
        CheckpointError: the file is unreadable, or a parameter is missing, extra, or of another shape or type.
    """
    put(network, load(path), path)


def put(network: Any, parameters: Mapping[str, Any], path: Path) -> None:
    """Put ``parameters``, loaded from ``path``, into ``network``, whose own must be the same ones.

    Of a network that was trained in graph mode, the graph may go on with the parameters that it had: make a new one.

    Raises:
        CheckpointError: with every parameter that is missing, extra, or of another shape or type.
    """
    _compare(network, parameters, path)
    with interrupts.deferred():
        framework.load().load_param_into_net(network, parameters, strict_load=True)


def adapt(network: Any, parameters: Mapping[str, Any], path: Path, classes: int) -> str:
    """Put ``parameters``, loaded from ``path``, into ``network``, but for those of a head with other classes.

    Args:
        network: a cell, in which the parameters of a head for other classes stay as they are.
        parameters: by name.
        path: where they come from, for messages.
        classes: how many the network has.

    Returns:
        What there is to say of it.

    Raises:
        CheckpointError: with every parameter that is missing, extra, or of another shape or type; a head's may have
            another first dimension than ``classes``, all of them the same.
    """
    own = network.parameters_dict()
    changed = {
        name: (parameters[name].shape[0], parameter.shape[0])
        for name, parameter in own.items()
        if name in parameters
        and hasattr(parameters[name], "shape")
        and tuple(parameters[name].shape) != tuple(parameter.shape)
        and tuple(parameters[name].shape[1:]) == tuple(parameter.shape[1:])
    }
    is_head = len(set(changed.values())) == 1 and {after for _, after in changed.values()} == {classes}
    put(network, {**parameters, **{name: own[name] for name in changed}} if is_head else parameters, path)
    if not changed:
        return f"starts from {path}, its head included"
    (before, _), *_ = changed.values()
    return f"starts from {path}, but for a new head ({', '.join(changed)}): {classes} classes in place of {before}"


def _compare(network: Any, parameters: Mapping[str, Any], path: Path) -> None:
    differences = list(_differences(network.parameters_dict(), parameters))
    if differences:
        raise CheckpointError(
            f"{path}: expected the network's parameters, found {len(differences)} not as there: "
            + "; ".join(differences)
        )


def _differences(expected: Mapping[str, Any], found: Mapping[str, Any]) -> Iterable[str]:
    for name, parameter in expected.items():
        if name not in found:
            yield f"{name} is missing"
        elif not hasattr(found[name], "shape"):
            yield f"{name} is {type(found[name]).__name__} instead of a tensor"
        elif tuple(found[name].shape) != tuple(parameter.shape):
            yield f"{name} has shape {tuple(found[name].shape)} instead of {tuple(parameter.shape)}"
        elif found[name].dtype != parameter.dtype:
            yield f"{name} has type {found[name].dtype} instead of {parameter.dtype}"
    yield from (f"{name} is not in the network" for name in found if name not in expected)


def save(network: Any, path: Path) -> None:
    """Write the parameters of ``network`` to ``path``, a name that ends in ``.ckpt``.

    Raises:
        CheckpointError: the file could not be written whole.
    """
    mindspore = framework.load()
    try:
        with interrupts.deferred(), _unlogged():
            mindspore.save_checkpoint(network, str(path))
    except (RuntimeError, OSError) as error:
        path.with_suffix(".tmp").unlink(missing_ok=True)  # which MindSpore leaves
        raise CheckpointError(
            f"{path}: expected to write a checkpoint, found: {str(error).strip().splitlines()[0]}"
        ) from None
    path.chmod(0o644)  # MindSpore leaves it readable by its owner alone
    _compare(network, load(path), path)


@contextmanager
def _unlogged() -> Iterator[None]:
    """Keep MindSpore from logging what it raises as well."""
    level = logging.root.manager.disable
    logging.disable()
    try:
        yield
    finally:
        logging.disable(level)
