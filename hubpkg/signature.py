"""``<package>.sig``: a signature over every file of a package, in the format of OpenSSF Model Signing.

The library ``model-signing`` makes and checks it; its own command line accepts it too.
"""

import base64
import getpass
import io
import json
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import redirect_stdout, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hubpkg import replacement
from hubpkg.errors import HubpkgError, SignatureError

_KEYS = "an elliptic-curve key (prime256v1, secp384r1 or secp521r1) in PEM"


@dataclass(frozen=True)
class Signer:
    """Whose signature counts: a key's, or that of whom an authority certified, or of an identity that Sigstore knows.

    Attributes:
        public_key: file with the key.
        certificates: files with the authorities' certificates. Whoever they certified for signing counts.
        identity: who signed, as Sigstore's certificate names them; likewise ``issuer``, the service that knew them.
        trust_config: file that says which instance of Sigstore is meant; None for the public one.
    """

    public_key: Path | None = None
    certificates: tuple[Path, ...] = ()
    identity: str | None = None
    issuer: str | None = None
    trust_config: Path | None = None

    def __str__(self) -> str:
        if self.public_key:
            return f"the key {self.public_key}"
        if self.identity:
            return f"{self.identity}, as {self.issuer} knows them"
        return f"whom {', '.join(map(str, self.certificates))} certified"


@dataclass(frozen=True)
class Credentials:
    """What signs.

    Attributes:
        private_key: file with the key; None for keyless signing by Sigstore.
        certificate: file with the key's certificate, if it has one.
        chain: files with the certificates between that one and an authority's.
        trust_config: file that says which instance of Sigstore is meant; None for the public one.
    """

    private_key: Path | None = None
    certificate: Path | None = None
    chain: tuple[Path, ...] = ()
    trust_config: Path | None = None


def path_of(package: Path) -> Path:
    """Where the signature of ``package`` lies: beside its folder."""
    folder = Path(os.path.abspath(package))  # noqa: PTH100 - resolve() would follow a link to another name
    return folder.with_name(f"{folder.name}.sig")


def sign(package: Path, credentials: Credentials) -> Path:
    """Sign all files of ``package``; give the signature's path.

    Raises:
        HubpkgError: the credentials can't be used, or Sigstore can't be reached; an earlier signature stays.
    """
    api = _model_signing()
    config = _signing(api, credentials)
    # Git's files are a package's like any other: none may be added unseen.
    config.set_hashing_config(api.hashing.Config().set_ignored_paths(paths=[], ignore_git_paths=False))
    target = path_of(package)
    try:
        with replacement.of(target) as partial:
            config.sign(package, partial)
    except OSError:
        raise
    except Exception as error:  # the libraries under Sigstore raise what they like
        raise HubpkgError(f"{package}: expected it to be signed, found {_told(error)}") from error
    return target


def check(raw: bytes | None, name: str, digests: Mapping[str, str], signer: Signer) -> None:
    """Check that ``signer`` signed just the files whose SHA-256 are ``digests``.

    Args:
        raw: the signature; None if there is none.
        name: what messages call it.
        digests: SHA-256 by the file's name in the package.
        signer: who must have signed.

    Raises:
        SignatureError: there is no such signature, or other files were signed; names them.
        HubpkgError: the signer's key or certificates can't be used, or the instance of Sigstore not be reached.
    """
    api = _model_signing()
    config = _verifying(api, signer).set_hashing_config(_known(api, digests))
    if raw is None:
        raise SignatureError(f"{name}: expected a signature of {signer}, found none")
    with tempfile.TemporaryDirectory(prefix="hubpkg-") as folder, redirect_stdout(io.StringIO()):
        file = Path(folder, "signature")
        file.write_bytes(raw)
        try:
            config.verify(Path(folder), file)
        except Exception as error:  # noqa: BLE001 - the file may hold anything, and each library says so in its own way
            with suppress(ValueError, TypeError, KeyError, AttributeError):
                if str(error).startswith("Signature mismatch"):  # all but the files was right
                    raise SignatureError("; ".join(_differences(_signed(raw), digests))) from None
            raise SignatureError(f"{name}: expected a signature of {signer}, found another: {_told(error)}") from None


def _signed(raw: bytes) -> dict[str, str]:
    """The digests that a signature, which was found to be its signer's, is over."""
    statement = json.loads(base64.b64decode(json.loads(raw)["dsseEnvelope"]["payload"]))
    return {
        resource["name"]: resource["digest"] if resource["algorithm"] == "sha256" else resource["algorithm"]
        for resource in statement["predicate"]["resources"]
    }


def _differences(signed: Mapping[str, str], found: Mapping[str, str]) -> Iterator[str]:
    for file in sorted(signed.keys() | found.keys()):
        if signed.get(file) != found.get(file):
            yield (
                f"{file}: expected {signed.get(file, 'no such file')}, as signed, "
                f"found {found.get(file, 'no such file')}"
            )


def _told(error: BaseException) -> str:
    message = str(error).strip().partition("\n")[0]
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _model_signing() -> Any:
    # As MindSpore sets it, whose messages only protobuf's implementation in Python takes, once it has been imported.
    os.environ.setdefault("PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION", "python")
    try:
        import model_signing
    except ModuleNotFoundError as error:
        raise HubpkgError(
            f"expected the module {error.name}, which signatures need, found none; install it with: "
            "pip install 'hubpkg[sign]'"
        ) from None
    return model_signing


def _signing(api: Any, credentials: Credentials) -> Any:
    config = api.signing.Config()
    if credentials.private_key is None:
        try:
            return config.use_sigstore_signer(use_ambient_credentials=True, trust_config=credentials.trust_config)
        except Exception as error:  # as above
            raise HubpkgError(f"--sigstore: expected to reach Sigstore, found {_told(error)}") from error
    for option, file in (("--private-key", credentials.private_key), ("--certificate", credentials.certificate)):
        _expect_file(option, file)
    for file in credentials.chain:
        _expect_file("--chain", file)
    try:
        if credentials.certificate:
            return config.use_certificate_signer(
                private_key=credentials.private_key,
                signing_certificate=credentials.certificate,
                certificate_chain=credentials.chain or (credentials.certificate,),
            )
        return config.use_elliptic_key_signer(
            private_key=credentials.private_key, password=_password(credentials.private_key)
        )
    except Exception as error:  # noqa: BLE001 - as above
        raise HubpkgError(
            f"--private-key: expected {_KEYS}, and its own certificate if one is given, "
            f"found {credentials.private_key}: {_told(error)}"
        ) from None


def _password(private_key: Path) -> bytes | None:
    """What an encrypted key is opened with: asked for on a terminal, else the first line of standard input."""
    if b"ENCRYPTED" not in private_key.read_bytes():
        return None
    if sys.stdin.isatty():
        return getpass.getpass(f"{private_key}: ").encode()
    return sys.stdin.readline().rstrip("\n").encode()


def _expect_file(option: str, file: Path | None) -> None:
    if file is not None and not file.is_file():
        raise HubpkgError(f"{option}: expected a file, found none at {file}")


def _verifying(api: Any, signer: Signer) -> Any:
    config = api.verifying.Config()
    for file in (signer.public_key, *signer.certificates, signer.trust_config):
        _expect_file(str(signer), file)
    try:
        if signer.public_key:
            return config.use_elliptic_key_verifier(public_key=signer.public_key)
        if signer.certificates:
            return config.use_certificate_verifier(certificate_chain=signer.certificates)
        return config.use_sigstore_verifier(
            identity=signer.identity, oidc_issuer=signer.issuer, trust_config=signer.trust_config
        )
    except Exception as error:
        wanted = _KEYS if signer.public_key else "certificates in PEM" if signer.certificates else "to reach Sigstore"
        raise HubpkgError(f"expected {wanted}, for {signer}; found {_told(error)}") from error


def _known(api: Any, digests: Mapping[str, str]) -> Any:
    """Digests that are known already, in place of hashing a folder's files."""
    from model_signing import manifest
    from model_signing._hashing.hashing import Digest

    serialization = manifest.SerializationType.from_args(
        {"method": "files", "hash_type": "sha256", "allow_symlinks": False}
    )
    items = [serialization.new_item(name, Digest("sha256", bytes.fromhex(hex_))) for name, hex_ in digests.items()]

    class Known(api.hashing.Config):  # type: ignore[misc]
        def hash(self, model_path: Path, *, files_to_hash: Sequence[Path] | None = None) -> Any:  # noqa: ARG002
            return manifest.Manifest(model_path.name, items, serialization)

    return Known()
