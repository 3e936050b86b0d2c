"""The consumer's side: load a package's network, safely."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hubpkg import card, checkpoint, documents, entrypoint, manifest
from hubpkg.errors import HubpkgError, IntegrityError
from hubpkg.runtime import framework


def load(
    name: str | Path,
    *args: Any,
    source: str = "local",
    pretrained: bool = True,
    force_reload: bool = False,  # noqa: ARG001 - mindspore_hub.load's; a local package is read anew every time
    **kwargs: Any,
) -> Any:
    """Load the network of a package, with its weights.

    Every file that is used is first compared with the digests in the package's manifest. The entrypoint runs from the
    bytes that were compared; ``sys.path`` stays as it is and no bytecode is written. The checkpoint's parameters must
    be those of the network, all of them and no other.

    Args:
        name: path of the package's card, or of the package's folder.
        *args: passed to the package's ``create_network`` after the model's name.
        source: ``local``, as for ``mindspore_hub.load``.
        pretrained: whether to load the weights.
        force_reload: as for ``mindspore_hub.load``; changes nothing for a local package.
        **kwargs: passed to ``create_network``.

    Returns:
        The network, a ``mindspore.nn.Cell`` in inference mode.

    Raises:
        IntegrityError: a file is not the one that the manifest or the card names.
        CheckpointError: the checkpoint is unreadable or does not fit the network.
        HubpkgError: there is no such package, or it can't be used.
    """
    if source != "local":
        raise HubpkgError(
            f"source: expected 'local', found {source!r}; get the package's folder, and load it from there"
        )
    if not isinstance(name, str | Path):
        raise HubpkgError(f"name: expected the path of a package's card or folder, found {name!r}")
    card_path = _card_path(Path(name).expanduser())
    package = card_path.parent
    contents = manifest.read(package / manifest.NAME)
    _compare(package, card_path.name, contents)
    fields = _card_fields(card_path)
    entry = str(contents["entry"])
    sources = {
        file.removeprefix(f"{entry}/"): _compare(package, file, contents)
        for file in contents["files"]
        if file.startswith(f"{entry}/")
    }
    if pretrained:
        asset = _checkpoint_asset(fields, card_path)
        weights = package / str(asset["asset-link"]).strip("<>").rsplit("/", 1)[-1]
        found = manifest.record(weights).sha256 if weights.is_file() else "no such file"
        wanted = str(asset["asset-sha256"])
        if found != wanted or wanted != contents["checkpoint"]["sha256"]:
            raise IntegrityError(f"{weights}: expected sha256 {wanted}, found {found}; get the package again")
    mindspore = framework.load()
    with entrypoint.loaded(package / entry, sources) as create_network:
        network = create_network(str(fields["model-name"]).lower(), *args, **kwargs)
    if not isinstance(network, mindspore.nn.Cell):
        raise HubpkgError(
            f"{package / entry / entrypoint.FILE}: expected create_network to return a "
            f"mindspore.nn.Cell, found {type(network).__name__}"
        )
    if pretrained:
        checkpoint.restore(network, weights)
    network.set_train(False)
    return network


def _card_path(path: Path) -> Path:
    folder = path if path.is_dir() else path.parent
    if path.exists() and not (folder / manifest.NAME).is_file():
        raise HubpkgError(f"{folder}: expected a package, whose {manifest.NAME} pins its code and weights, found none")
    if path.is_dir():
        return path / f"{manifest.read(path / manifest.NAME)['package']}.md"
    if not path.is_file() or path.suffix != ".md":
        raise HubpkgError(
            f"{path}: expected a package's card or folder, found {'another file' if path.is_file() else 'no such path'}"
        )
    return path


def _card_fields(path: Path) -> Mapping[str, Any]:
    read = card.read(path)
    documents.check(read.document, "card")
    return read.fields


def _checkpoint_asset(fields: Mapping[str, Any], path: Path) -> Mapping[str, Any]:
    """The asset that the hub's client takes: the last one whose format is ckpt."""
    assets: list[Mapping[str, Any]] = [a for a in fields.get("asset", []) if a["file-format"] == "ckpt"]
    if not assets:
        raise HubpkgError(
            f"{path}: expected an asset whose file-format is ckpt, found none; load it with pretrained=False"
        )
    return assets[-1]


def _compare(package: Path, file: str, contents: dict[str, Any]) -> bytes:
    """The bytes of ``file``, which are those that the manifest names."""
    wanted = contents["files"].get(file, {"sha256": "none: the file is not in the manifest"})["sha256"]
    path = package / file
    data = path.read_bytes() if path.is_file() else None
    found = "no such file" if data is None else hashlib.sha256(data).hexdigest()
    if data is None or found != wanted:
        raise IntegrityError(f"{path}: expected sha256 {wanted}, found {found}; get the package again")
    return data
