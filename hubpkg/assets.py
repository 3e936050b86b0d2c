"""The files of a package that its card links to, and whether the links give them."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from hubpkg import exports, manifest, transport
from hubpkg.errors import HubpkgError, InvalidDocumentError
from hubpkg.transport import Policy
from hubpkg.verification import Check, Verification


@dataclass(frozen=True)
class Asset:
    """A file of a package that consumers get from a link.

    Attributes:
        file: its name in the package.
        format: as the card has it, such as ``ckpt``.
        sha256: its digest.
        link: the URL that the card has for it.
    """

    file: str
    format: str
    sha256: str
    link: str


def listed(contents: Mapping[str, Any]) -> list[Asset]:
    """The assets of the package with the manifest ``contents``, in the card's order."""
    base, weights = contents["card"]["asset-base-url"], contents["checkpoint"]
    all_of_them = [{**weights, "format": "ckpt"}, *exports.listed(contents)]
    return [Asset(one["file"], one["format"], one["sha256"], f"{base}{one['file']}") for one in all_of_them]


def read_back(contents: Mapping[str, Any], policy: Policy) -> str:
    """What there is to say of the assets' links, each of which gives its file.

    Raises:
        InvalidDocumentError: with each that does not.
    """
    assets, faults = listed(contents), []
    for asset in assets:
        try:
            found = transport.digest(asset.link, policy)
        except HubpkgError as error:
            faults.append(f"{asset.file}: {error}")
            continue
        if found != asset.sha256:
            faults.append(
                f"{asset.file}: {transport.shown(asset.link)}: expected sha256 {asset.sha256}, "
                f"found {found or 'no such file'}"
            )
    if faults:
        raise InvalidDocumentError(faults)
    return ", ".join(f"{asset.file} was read back from {transport.shown(asset.link)}" for asset in assets)


def verify(result: Verification, policy: Policy) -> Verification:
    """``result``, of a package that verifies, with a check of the links added."""
    contents = manifest.read(result.package / manifest.NAME)
    try:
        checks = [Check("links", ok=True, detail=read_back(contents, policy))]
    except InvalidDocumentError as error:
        checks = [Check("links", ok=False, detail=fault) for fault in error.faults]
    return Verification(result.package, (*result.checks, *checks), result.records)
