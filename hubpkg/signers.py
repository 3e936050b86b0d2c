"""Whose signatures count, for which packages: one key, or what a policy file says."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from hubpkg import documents, manifest, signature
from hubpkg.errors import HubpkgError, InvalidDocumentError, SignatureError
from hubpkg.signature import Signer
from hubpkg.verification import Check, Verification


@dataclass(frozen=True)
class Policy:
    """Whose signatures count.

    Attributes:
        name: what messages call it.
        signers: each with the patterns of the uids that it may sign, such as ``mindspore/*``.
    """

    name: str
    signers: tuple[tuple[tuple[str, ...], Signer], ...]

    def check(self, uid: str, raw: bytes | None, where: str, digests: Mapping[str, str]) -> Signer:
        """The signer of the package ``uid``, whose files have the SHA-256 ``digests``, by the signature ``raw``.

        Args:
            uid: the package's.
            raw: its signature; None if there is none.
            where: what messages call the signature.
            digests: by the files' names; all of the package's.

        Raises:
            SignatureError: none of those that count for it signed just these files.
            HubpkgError: a key or certificates of a signer can't be used.
        """
        known = [signer for patterns, signer in self.signers if any(fnmatchcase(uid, p) for p in patterns)]
        if not known:
            raise SignatureError(f"{self.name}: expected somebody who may sign {uid}, found nobody")
        refused = []
        for signer in known:
            try:
                signature.check(raw, where, digests, signer)
            except SignatureError as error:
                refused.append(str(error))
            else:
                return signer
        raise SignatureError("; ".join(refused))


def of_key(public_key: Path) -> Policy:
    """The policy that only the holder of the key in the file ``public_key`` may sign, and may sign every package."""
    return Policy("--public-key", ((("*",), Signer(public_key)),))


def read(path: Path) -> Policy:
    """The policy in the YAML file ``path``; what it names lies relative to its folder.

    Raises:
        InvalidDocumentError: it does not fit its schema, or a signer is not named in just one way; with every fault.
        HubpkgError: it can't be read.
    """
    document = documents.read(path, "policy")
    faults, signers = [], []
    for number, entry in enumerate(document.data["signers"]):
        ways = [way for way in ("public-key", "certificates", "identity") if way in entry]
        place = document.place(("signers", number))
        if len(ways) != 1:
            faults.append(
                f"{place}: signers[{number}]: expected one of public-key, certificates, identity, "
                f"found {' and '.join(ways) or 'none'}"
            )
        if ("issuer" in entry) != ("identity" in entry) or ("trust-config" in entry and "identity" not in entry):
            faults.append(f"{place}: signers[{number}]: expected identity and issuer together, found one alone")
        keys = ("public-key", "trust-config")
        key, trust_config = (path.parent / entry[name] if name in entry else None for name in keys)
        signer = Signer(key, tuple(path.parent / name for name in entry.get("certificates", ())))
        signer = replace(signer, identity=entry.get("identity"), issuer=entry.get("issuer"), trust_config=trust_config)
        signers.append((tuple(entry.get("packages", ["*"])), signer))
    if faults:
        raise InvalidDocumentError(faults)
    return Policy(str(path), tuple(signers))


def verify(result: Verification, policy: Policy) -> Verification:
    """Add to ``result`` whether a signature beside the package is of one whose signatures count, over all its files.

    Raises:
        HubpkgError: the policy can't be used.
    """
    package, file = result.package, signature.path_of(result.package)
    if not result.records:
        detail = "not compared: the package holds what can't be hashed"
        return replace(result, checks=(*result.checks, Check("signature", ok=False, detail=detail)))
    digests = {name: record.sha256 for name, record in result.records.items()}
    try:
        uid = manifest.read(package / manifest.NAME)["uid"]
    except HubpkgError:  # a finding already; who may sign every package may have signed it
        uid = ""
    try:
        signer = policy.check(uid, file.read_bytes() if file.is_file() else None, str(file), digests)
    except SignatureError as error:
        check = Check("signature", ok=False, detail=str(error))
    except OSError as error:
        check = Check("signature", ok=False, detail=f"{file}: expected a readable signature, found: {error.strerror}")
    else:
        check = Check("signature", ok=True, detail=f"{len(digests)} files, signed by {signer}")
    return replace(result, checks=(*result.checks, check))
