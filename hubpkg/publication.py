"""Publish a package: its assets where consumers reach them, its card on a branch of a checkout of the hub."""

import hashlib
import os
import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubpkg import assets, cards, documents, manifest, replacement, repository, revision, upload, verification
from hubpkg.checkout import ASSETS, Checkout
from hubpkg.errors import HubpkgError, InvalidDocumentError
from hubpkg.job import check_writable
from hubpkg.lint import engine, link
from hubpkg.lint.configuration import Configuration
from hubpkg.lint.rules import Options, Target
from hubpkg.lint.source import Card
from hubpkg.transport import Policy
from hubpkg.verification import Verification

_KINDS = ("hub", "cn")  # of cards that the hub has
SUFFIX = ".pull-request.txt"  # of the text, which lies beside the package
_NOWHERE = ", a name reserved for examples, so that the hub's own client finds none there."


@dataclass(frozen=True)
class Order:
    """What is to be done with a package.

    Attributes:
        package: its folder.
        hub: a checkout of the hub; None to leave the hub alone.
        branch: what the branch is called; None for a name made of the uid.
        replace: whether a card of the same user-id may be replaced.
        to: where the assets are put; None to leave them where they are.
        base: the URL below which consumers reach them; None for the place's own, else the package's.
        policy: how patient and strict to be with servers.
        report: told, in one line each, what was done.
    """

    package: Path
    hub: Path | None
    branch: str | None
    replace: bool
    to: str | None
    base: str | None
    policy: Policy
    report: Callable[[str], None]


def publish(order: Order) -> tuple[Verification, dict[str, Any] | None]:
    """Do as ``order`` says.

    What can be refused is refused before anything is sent or written. The assets are sent and read back first; then
    the package is replaced by one that says so, as a whole; the card is committed last. A second run after a stop goes
    on from there.

    Returns:
        The package's verification; and what was done, or None where the package does not verify, and nothing was.

    Raises:
        IntegrityError: an asset is not read back as it was sent.
        HubpkgError: the place, the links or the checkout can't be used.
    """
    checked = verification.verify(order.package)
    if not checked.ok:
        return checked, None
    contents = _contents(order.package)
    repository.check_name(contents["uid"], f"{manifest.NAME}: uid")
    if order.to and Path(order.to).resolve().is_relative_to(order.package.resolve()):
        raise HubpkgError(f"--to: expected a place outside the package, found {order.to}")
    hub = order.hub and Checkout(order.hub, order.branch or f"add-{contents['uid'].replace('/', '-')}")
    place = upload.destination(order.to, order.policy) if order.to else None
    base = order.base or (place and place.base) or contents["card"]["asset-base-url"]
    planned = _with_links(contents, base) if place else contents
    _check_links(planned["card"], "--asset-base-url" if place else str(order.package))
    tree = ""
    if hub and link.is_placeholder(code := contents["card"]["repo-link"]):
        order.report(f"repo-link: {code}{_NOWHERE} Say where it is: hubpkg build MODEL --repo-link URL")
    if hub:  # what can be refused is refused before anything is sent
        tree = hub.check(_cards(planned), planned["card"]["user-id"], replace=order.replace)
        _check_lint(_cards(planned))
        check_writable(_request(order.package).parent)
    if place:
        check_writable(order.package.resolve().parent)
        _send(order, planned, place)
        revision.revise(order.package, planned, order.report)
        checked, contents = verification.verify(order.package), _contents(order.package)
        if not checked.ok:
            return checked, None
    result: dict[str, Any] = {
        "package": str(order.package),
        "uid": contents["uid"],
        "published": contents["published"],
        "assets": [asset.link for asset in assets.listed(contents)],
    }
    return checked, result | (_commit(order, hub, tree, contents, checked) if hub else {})


def _send(order: Order, planned: Mapping[str, Any], place: upload.Destination) -> None:
    """Let each asset be at its place, and be what its link gives."""
    for asset in assets.listed(planned):
        sent = upload.send(order.package / asset.file, asset.sha256, place)
        where = place.name(asset.file)
        order.report(f"{where}: {'sent, and read back' if sent else 'there already'}, sha256 {asset.sha256}")
    try:
        order.report(f"links: {assets.read_back(planned, order.policy)}")
    except InvalidDocumentError as error:
        told = (
            "the files are in their place and the package is as it was; let the link lead there, or say where it does"
        )
        *faults, last = error.faults
        raise InvalidDocumentError([*faults, f"{last}; {told}: --asset-base-url URL"]) from None


def _commit(
    order: Order, hub: Checkout, tree: str, contents: Mapping[str, Any], checked: Verification
) -> dict[str, Any]:
    """Commit the card and write the text of the pull request; give what there is to say of it."""
    added = _cards(contents)
    title = f"{'Update' if hub.holds(next(iter(added))) else 'Add'} the card {contents['uid']}"
    made = f"Made by hubpkg from the package whose {manifest.NAME} has the sha256\n{_digest(order.package)}."
    commit = hub.commit(tree, f"{title}\n\n{made}\n")
    file = _request(order.package)
    replacement.write(file, _pull_request(title, contents, checked, added).encode())
    return {"branch": hub.branch, "commit": commit, "cards": list(added), "pull_request": str(file)}


def _request(package: Path) -> Path:
    """Where the text of the pull request lies: beside the package, or the link that names it."""
    folder = Path(os.path.abspath(package))  # noqa: PTH100 - resolve() would follow a link to another name
    return folder.with_name(f"{folder.name}{SUFFIX}")


def _contents(folder: Path) -> dict[str, Any]:
    return manifest.read(folder / manifest.NAME)


def _with_links(contents: Mapping[str, Any], base: str) -> dict[str, Any]:
    """The manifest, without digests, of the package whose assets lie below ``base`` and were read back from there."""
    changed = {**contents, "published": True, "card": {**contents["card"], "asset-base-url": base.rstrip("/") + "/"}}
    faults = [fault for path, fault in documents.faults_of(changed, "manifest") if "asset-base-url" in path]
    if faults:
        raise InvalidDocumentError([f"--asset-base-url: {fault}" for fault in faults])
    return changed


def _check_links(card: Mapping[str, Any], where: str) -> None:
    """Raise HubpkgError if the assets' links lead nowhere."""
    base = card["asset-base-url"]
    if link.is_placeholder(base):
        raise HubpkgError(
            f"{where}: expected links by which consumers reach the assets, found them below {base}, a name reserved "
            "for examples; upload them with --to, and say with --asset-base-url where they are then, or build again: "
            "hubpkg build MODEL --asset-base-url URL"
        )


def _digest(folder: Path) -> str:
    return manifest.record(folder / manifest.NAME).sha256


def _cards(contents: Mapping[str, Any]) -> dict[str, bytes]:
    """The package's card and its Chinese one as the hub has them, by their paths there."""
    folder = f"{ASSETS}/{contents['uid'].rpartition('/')[0]}"
    made = (cards.render(kind, contents) for kind in _KINDS)
    return {f"{folder}/{name}": text.encode() for name, text in made}


def _check_lint(added: Mapping[str, bytes]) -> None:
    """Raise InvalidDocumentError with what the hub's validator would reject."""
    found = _lint(added, "hub")
    if found:
        raise InvalidDocumentError([f"{fault}; the hub would reject it" for fault in found])


def _lint(added: Mapping[str, bytes], target: Target) -> list[str]:
    """What lint finds on the cards, a line each."""
    read = [Card(path, data) for path, data in added.items()]
    reports = engine.lint(read, Configuration(target=target), Options(target))
    return [
        f"{report.card.path}:{report.card.position(report.finding.start)[0]}: {report.rule.code} "
        f"{report.finding.message} [{report.rule.name}]"
        for report in reports
    ]


def _pull_request(title: str, contents: Mapping[str, Any], checked: Verification, added: Mapping[str, bytes]) -> str:
    """The text of the pull request, in Markdown."""
    listed = assets.listed(contents)
    paths, folder = " ".join(shlex.quote(path) for path in added), next(iter(added)).rpartition("/")[0]
    code = contents["card"]["repo-link"]
    found = _lint(added, "hubpkg")
    tool = contents["environment"]["hubpkg"]
    digest = f"whose {manifest.NAME} has the sha256 `{_digest(checked.package)}`"
    lint = "`hubpkg lint --target hub` found nothing that the hub's validator would reject; `hubpkg lint` found"
    fetch = [f"hubpkg fetch {shlex.quote(asset.link)} --sha256 {asset.sha256}" for asset in listed]
    lines = [
        f"# {title}",
        "",
        contents["card"]["summary"],
        "",
        f"The card was made by hubpkg {tool} from a package {digest}. `hubpkg verify` found on it:",
        "",
        "| check | holds | detail |",
        "| :---- | :---: | :----- |",
        *(f"| {check.name} | {'yes' if check.ok else 'NO'} | {_cell(check.detail)} |" for check in checked.checks),
        "",
        f"{lint} {'this' if found else 'nothing either'}.",
        "",
        *(f"- {_cell(line)}" for line in found),
        *([""] if found else []),
        "| file | sha256 |",
        "| :--- | :----- |",
        *(f"| {path} | `{hashlib.sha256(data).hexdigest()}` |" for path, data in added.items()),
        *(f"| <{asset.link}> | `{asset.sha256}` |" for asset in listed),
        "",
        "The assets were read back from these links, and have these digests."
        if contents["published"]
        else "The assets were not yet read back from these links, and the card says so.",
        f"The network's code is at <{code}>{_NOWHERE if link.is_placeholder(code) else '.'}",
        "",
        "To check it:",
        "",
        "```shell",
        f"hubpkg lint --target hub {paths}",
        *(fetch if contents["published"] else []),
        "```",
        "",
        "and, with the package from whoever sent this:",
        "",
        "```shell",
        f"hubpkg verify {contents['package']}",
        *(f"hubpkg cards {contents['package']} --for {kind} --out {shlex.quote(folder)} --check" for kind in _KINDS),
        "```",
    ]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    """``text`` as a table's cell has it, in which it is no markup."""
    return re.sub(r"([\\`*_<>|\[\]])", r"\\\1", text)
