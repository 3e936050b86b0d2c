"""The consumer's side: load a network, or its weights, and never a byte that is not the promised one."""

import hashlib
import os
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit

from hubpkg import cache, checkpoint, entrypoint, fetch, location, lockfile, manifest, repository, signers
from hubpkg.errors import FetchError, HubpkgError, IntegrityError, NotPinnedError, SignatureError
from hubpkg.location import Location
from hubpkg.runtime import framework
from hubpkg.transport import Policy


def load(  # noqa: PLR0913 - mindspore_hub.load's, and what makes it safe
    name: str | Path,
    *args: Any,
    source: str | None = None,
    pretrained: bool = True,
    force_reload: bool = False,
    trust_repo: bool = False,
    allow_short_digest: bool = False,
    policy: str | Path | None = None,
    **kwargs: Any,
) -> Any:
    """Load the network of a card or a package, with its weights.

    Checkpoint and code are compared, before they are used, with the digests in the package's manifest, the card or the
    lock file. The entrypoint runs from the bytes that were compared; ``sys.path`` stays as it is and no bytecode is
    written. The checkpoint's parameters must be those of the network, all of them and no other. What is fetched is
    kept in the cache, and so are the card and the code that were found: they are used from then on.

    Args:
        name: a card's path or URL, a package's folder, or a card's uid, ``<publisher>/<version>/<model>_<dataset>``.
        *args: passed to the entrypoint's ``create_network`` after the model's name.
        source: where a uid is looked up: ``gitee``, ``github``, or the URL or the folder of a hub of cards;
            ``local`` for a path. By default a path that exists is local, and a uid is looked up on gitee.
        pretrained: whether to load the weights.
        force_reload: ask again for the card and the code, which may have changed where they come from.
        trust_repo: run code that no manifest and no lock file pins; its digests are then put in the lock file.
        allow_short_digest: accept, where the card has a digest cut short, the first file that it fits; its whole
            digest is then put in the lock file.
        policy: a file that says whose signature each package must have; by default the one that the environment
            variable ``HUBPKG_POLICY`` names, if it is set.
        **kwargs: passed to ``create_network``.

    Returns:
        The network, a ``mindspore.nn.Cell`` in inference mode.

    Raises:
        SignatureError: there is a policy, and the package is not signed as it asks.
        IntegrityError: a file is not the one that was promised.
        NotPinnedError: nothing promises which one it should be.
        FetchError: a file can't be had.
        CheckpointError: the checkpoint is unreadable or does not fit the network.
        HubpkgError: there is no such card, or it can't be used.
    """
    fetching = replace(Policy.from_environment(), allow_short_digest=allow_short_digest)
    place = _located(name, source, fetching, policy, force_reload=force_reload)
    folder, sources = _code(place, fetching, trust_repo=trust_repo, force_reload=force_reload)
    weights = _weights(place, fetching) if pretrained else None
    mindspore = framework.load()
    parameters = checkpoint.load_verified(*weights) if weights else {}
    with entrypoint.loaded(folder, sources) as create_network:
        network = create_network(str(place.fields["model-name"]).lower(), *args, **kwargs)
    if not isinstance(network, mindspore.nn.Cell):
        raise HubpkgError(
            f"{folder / entrypoint.FILE}: expected create_network to return a mindspore.nn.Cell, "
            f"found {type(network).__name__}"
        )
    if weights:
        checkpoint.put(network, parameters, weights[0])
    network.set_train(False)
    return network


def load_weights(
    name: str | Path,
    source: str | None = None,
    force_reload: bool = False,  # noqa: FBT001, FBT002 - as in mindspore_hub
    *,
    allow_short_digest: bool = False,
    policy: str | Path | None = None,
) -> Mapping[str, Any]:
    """The weights of a card or a package, by the parameters' names; the arguments and errors are those of :func:`load`.

    Returns:
        ``mindspore.Parameter`` by name.
    """
    fetching = replace(Policy.from_environment(), allow_short_digest=allow_short_digest)
    place = _located(name, source, fetching, policy, force_reload=force_reload)
    return checkpoint.load_verified(*_weights(place, fetching))


def _located(
    name: str | Path, source: str | None, fetching: Policy, policy: str | Path | None, *, force_reload: bool
) -> Location:
    """The card that is meant, once its package's signature is what the policy asks, if there is one.

    The signature is over the manifest and each file that it lists, and what is loaded later is compared with that.
    """
    given = policy or os.environ.get("HUBPKG_POLICY")
    asked = signers.read(Path(given).expanduser()) if given else None  # says first of all what is wrong with it
    place = location.locate(name, source, fetching, force_reload=force_reload)
    if asked is None:
        return place
    if place.contents is None:
        raise SignatureError(
            f"{place.card}: expected a package, which can be signed as {asked.name} asks, found a card with no "
            "manifest; ask its publisher for a package"
        )
    digests = {file: record["sha256"] for file, record in place.contents["files"].items()}
    digests[manifest.NAME] = manifest.digest(place.contents)  # which was canonical
    found = location.signature_of(place, fetching, force_reload=force_reload)
    asked.check(place.contents["uid"], found.raw, found.name, digests)
    found.pin()
    return place


def _weights(place: Location, policy: Policy) -> tuple[Path, str]:
    """The checkpoint's file and its digest; the file was compared, or is when it is loaded."""
    asset = _checkpoint_asset(place)
    urls = [str(url).strip("<>") for url in (asset["asset-link"], *asset.get("asset-mirrors", []))]
    sha256, file = str(asset["asset-sha256"]).lower(), _file_name(urls[0], f"{place.card}: asset-link")
    if place.contents and place.contents["checkpoint"]["sha256"] != sha256:
        raise IntegrityError(
            f"{place.card}: expected sha256 {place.contents['checkpoint']['sha256']}, as the manifest has it, "
            f"found {sha256}; get the package again"
        )
    if isinstance(place.folder, Path):
        beside = place.folder / file
        found = cache.digest_of(beside)
        if found == sha256:
            return beside, sha256
        if place.contents and (os.path.lexists(beside) or not place.contents["published"]):
            raise IntegrityError(
                f"{beside}: expected sha256 {sha256}, found {found or 'no such file'}; get the package again"
            )
    elif place.contents and not place.contents["published"]:
        urls = [f"{place.folder}/{quote(file)}"]  # its asset-link leads nowhere yet
    else:
        urls.append(f"{place.folder}/{quote(file)}")
    path = fetch.fetch(urls, sha256, policy, lambda _: None)
    return path, path.name


def _file_name(url: str, where: str) -> str:
    """What the file at ``url`` is called beside its card."""
    try:
        name = PurePosixPath(urlsplit(url).path).name
    except ValueError:
        raise HubpkgError(f"{where}: expected a URL, found {url!r}") from None
    repository.check_name(name, where)
    return name


def _checkpoint_asset(place: Location) -> Mapping[str, Any]:
    """The asset that the hub's client takes: the last one whose format is ckpt."""
    listed = place.fields.get("asset")
    listed = listed if isinstance(listed, list) else []
    assets = [a for a in listed if isinstance(a, dict) and a.get("file-format") == "ckpt"]
    if (
        not assets
        or not {"asset-link", "asset-sha256"} <= assets[-1].keys()
        or not isinstance(assets[-1].get("asset-mirrors", []), list)
    ):
        raise HubpkgError(
            f"{place.card}: expected an asset whose file-format is ckpt, with asset-link and asset-sha256, found none; "
            "load it with pretrained=False"
        )
    return assets[-1]


def _code(place: Location, policy: Policy, *, trust_repo: bool, force_reload: bool) -> tuple[Path, Mapping[str, bytes]]:
    """The entry folder, for messages and modules, and its files' bytes, which may be run."""
    link = str(place.fields["repo-link"]).strip("<>").rstrip("/")
    entry = link.rsplit("/", 1)[-1]
    repository.check_name(entry, f"{place.card}: repo-link")
    if place.contents:
        return _pinned_code(place, place.contents, link, policy)
    beside = place.folder / entry if isinstance(place.folder, Path) else None
    if beside and (beside / entrypoint.FILE).is_file():
        files = {path.relative_to(beside).as_posix(): path.read_bytes() for path in _files_of(beside)}
        key, code = str(beside.absolute()), repository.Code(None, files)
    else:
        key, beside = link, None
        code = _repository_code(link, policy, force_reload=force_reload)
        _expect_entrypoint(code.files, link)
    digests = {name: hashlib.sha256(data).hexdigest() for name, data in code.files.items()}
    folder = beside or _keep(code.files, f"{code.commit}-{manifest.digest(digests)[:12]}", entry)
    pinned = lockfile.read("code").get(key)
    found = {"commit": code.commit, "files": digests}
    if trust_repo:
        if pinned != found:
            lockfile.pin("code", key, found)
    elif pinned is None or pinned["files"] != digests:
        at = f" at commit {code.commit}" if code.commit else ""
        count = f"{len(digests)} file{'' if len(digests) == 1 else 's'}"
        held = f"the ones that {lockfile.path()} has" if pinned else "a manifest or a lock file that pins it"
        raise NotPinnedError(
            f"{key}: would run {entrypoint.FILE} and what it imports of {count}{at}; expected {held}, "
            f"found {'others' if pinned else 'none'}; read {folder}, and if you trust it, load with trust_repo=True"
        )
    return folder, code.files


def _repository_code(link: str, policy: Policy, *, force_reload: bool) -> repository.Code:
    """The code that ``link`` names: as the lock file has it, unless it is asked for again."""
    pinned = lockfile.read("code").get(link)
    if pinned and not force_reload:
        files = {name: cache.read(sha256) for name, sha256 in pinned["files"].items()}
        if all(data is not None for data in files.values()):
            return repository.Code(pinned["commit"], {name: data for name, data in files.items() if data is not None})
        try:
            return repository.read(link, policy, pinned["commit"])
        except FetchError:
            pass  # a server may give no commit that no branch or tag has any more, or give none by its name
    return repository.read(link, policy)


def _pinned_code(
    place: Location, contents: Mapping[str, Any], link: str, policy: Policy
) -> tuple[Path, Mapping[str, bytes]]:
    """The entry folder's files, as the manifest ``contents`` pins them."""
    entry = str(contents["entry"])
    wanted = {
        file.removeprefix(f"{entry}/"): record["sha256"]
        for file, record in contents["files"].items()
        if file.startswith(f"{entry}/")
    }
    _expect_entrypoint(wanted, f"{place.folder}/{manifest.NAME}: {entry}")
    if isinstance(place.folder, Path):
        folder = place.folder / entry
        return folder, {
            name: location.compare(_bytes(folder / name), f"{entry}/{name}", contents, str(folder / name))
            for name in wanted
        }
    files: dict[str, bytes] = {}
    try:
        for name, sha256 in wanted.items():
            repository.check_name(name, f"{place.folder}/{manifest.NAME}")
            path = fetch.fetch([f"{place.folder}/{quote(entry)}/{quote(name)}"], sha256, policy, lambda _: None)
            files[name] = location.compare(path.read_bytes(), f"{entry}/{name}", contents, str(path))
    except FetchError:  # the package's files are not beside its manifest
        code = repository.read(link, policy).files
        files = {
            name: location.compare(code.get(name), f"{entry}/{name}", contents, f"{link}/{name}") for name in wanted
        }
    return _keep(files, manifest.digest(wanted), entry), files


def _expect_entrypoint(files: Mapping[str, Any], where: str) -> None:
    """Else a module of that name that has nothing to do with ``files`` would be imported."""
    if entrypoint.FILE not in files:
        raise HubpkgError(f"{where}: expected {entrypoint.FILE} among its files, found none")


def _bytes(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _files_of(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]


def _holds(folder: Path, files: Mapping[str, bytes]) -> bool:
    return {path.relative_to(folder).as_posix(): _bytes(path) for path in _files_of(folder)} == files


def _keep(files: Mapping[str, bytes], identity: str, entry: str) -> Path:
    """A folder called ``entry`` in the cache that holds ``files``, for reading and for the data among them."""
    home = cache.folder() / "code" / identity
    folder = home / entry
    for data in files.values():
        cache.add(data)
    if _holds(folder, files):
        return folder
    with cache.locked(cache.lock_of(home.name), lambda _: None), cache.writing():
        if _holds(folder, files):
            return folder
        partial = home.with_suffix(".partial")
        for leftover in (partial, home):
            if leftover.is_symlink() or leftover.is_file():
                leftover.unlink()
            shutil.rmtree(leftover, ignore_errors=True)
        for name, data in files.items():
            (partial / entry / name).parent.mkdir(parents=True, exist_ok=True)
            (partial / entry / name).write_bytes(data)
        partial.rename(home)
    return folder
