"""A package's assets -> a folder, an S3-compatible store or a server that takes PUT, each read back by its digest."""

import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from hubpkg import cache, replacement, transport
from hubpkg.errors import FetchError, HubpkgError, IntegrityError
from hubpkg.transport import Policy

_BLOCK = 1 << 20
_HINT = "boto3 takes endpoint and credentials from AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and the like"
_S3 = re.compile(r"s3://(?P<bucket>[a-z0-9][a-z0-9.-]+)(?:/(?P<prefix>[^?#]*))?")


class _HiddenError(FetchError):
    """A place does not say whether a file is there."""


class Destination(Protocol):
    """Where files can be put, and read back from; nothing that is there is ever written over, where the place can tell.

    Attributes:
        base: the URL that consumers reach the files below; None where it can't be told from the place alone.
    """

    base: str | None

    def name(self, file: str) -> str:
        """What messages call the place of ``file``; no secret is in it."""

    def digest(self, file: str) -> str | None:
        """SHA-256 of what is at that place now; None where nothing is."""

    def put(self, file: str, path: Path) -> None:
        """Put the file at ``path`` there; if something is there by now, it stays, and that is no fault."""


def destination(where: str, policy: Policy) -> Destination:
    """The place that ``where`` names: a folder, ``s3://BUCKET/PREFIX``, or the URL of a folder that takes PUT.

    Raises:
        HubpkgError: it names none, or what is needed for it is not installed.
    """
    if where.startswith("s3://"):
        return _Store(where)
    if re.match(r"https?://", where, re.IGNORECASE):
        return _Server(where, policy)
    if "://" in where:
        raise HubpkgError(f"--to: expected a folder, s3://BUCKET/PREFIX or an https URL, found {where}")
    return _Folder(Path(where))


def send(path: Path, sha256: str, place: Destination) -> bool:
    """Let the file at ``path``, whose digest is ``sha256``, be at ``place`` under its name; give whether it was sent.

    Raises:
        IntegrityError: another file is there, which stays, or another is read back.
        HubpkgError: it can't be put or read there.
    """
    try:
        found = place.digest(path.name)
    except _HiddenError:  # as a store answers whoever may not list it, where nothing is too: it is put on condition
        found = None
    if found not in (None, sha256):
        raise IntegrityError(
            f"{place.name(path.name)}: expected nothing, or the file with sha256 {sha256}, found one with {found}, "
            "which is left as it is; move it away, or name another place with --to"
        )
    if found is not None:
        return False
    place.put(path.name, path)
    found = place.digest(path.name)
    if found != sha256:
        raise IntegrityError(
            f"{place.name(path.name)}: expected sha256 {sha256} to be read back, found {found or 'nothing'}; "
            "is it served as it is stored?"
        )
    return True


class _Folder:
    base: str | None = None

    def __init__(self, folder: Path) -> None:
        if folder.exists() and not folder.is_dir():
            raise HubpkgError(f"--to: expected a folder or a URL, found the file {folder}")
        self._folder = folder

    def name(self, file: str) -> str:
        return str(self._folder / file)

    def digest(self, file: str) -> str | None:
        path = self._folder / file
        if not path.exists():
            return None
        return cache.digest_of(path) or "no regular file"

    def put(self, file: str, path: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / file
        with replacement.beside(target) as partial:
            cache.copy(path, partial)
            try:
                target.hardlink_to(partial)  # which fails if something is there by now
            except FileExistsError:
                return
            except OSError:  # the file system has no links: the name is taken first
                with suppress(FileExistsError):
                    target.touch(exist_ok=False)
                    partial.replace(target)


class _Server:
    def __init__(self, url: str, policy: Policy) -> None:
        parts = urlsplit(url)
        if parts.query or parts.fragment:
            raise HubpkgError(
                f"--to: expected the URL of a folder, found {transport.shown(url)}, which has a query or a fragment"
            )
        transport.check_scheme(url, policy)
        self._url, self._policy = f"{url.rstrip('/')}/", policy
        self.base: str | None = transport.without_secrets(self._url)

    def name(self, file: str) -> str:
        return transport.shown(self._url + quote(file))

    def digest(self, file: str) -> str | None:
        return transport.digest(self._url + quote(file), self._policy)

    def put(self, file: str, path: Path) -> None:
        transport.put(self._url + quote(file), path, self._policy)


class _Store:
    """A bucket of an S3-compatible store, reached as boto3 does: by its environment variables and files."""

    base: str | None = None

    def __init__(self, where: str) -> None:
        match = _S3.fullmatch(where)
        if match is None:
            raise HubpkgError(f"--to: expected s3://BUCKET/PREFIX, found {where!r}")
        prefix = (match["prefix"] or "").strip("/")
        self._bucket, self._prefix = match["bucket"], f"{prefix}/" if prefix else ""
        try:
            import boto3
        except ModuleNotFoundError:
            raise HubpkgError(
                "--to s3://...: expected the module boto3, found none; install it with: pip install 'hubpkg[s3]'"
            ) from None
        with self._told(where):
            self._client: Any = boto3.session.Session().client("s3")
        self._conditional = True
        self._hidden: set[str] = set()  # files of which it does not tell whether they are there
        for step in ("PutObject", "CompleteMultipartUpload"):  # upload_fileobj takes no such argument
            self._client.meta.events.register(f"before-parameter-build.s3.{step}", self._set_condition)

    def name(self, file: str) -> str:
        return f"s3://{self._bucket}/{self._prefix}{file}"

    def digest(self, file: str) -> str | None:
        from botocore.exceptions import ClientError

        hasher = hashlib.sha256()
        with self._told(self.name(file)):
            try:
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + file)
            except ClientError as error:
                if _code(error) == "NoSuchKey":
                    return None
                if _code(error) == "AccessDenied":
                    self._hidden.add(file)
                    raise _HiddenError(_refused(self.name(file), error)) from None
                raise
            for block in answer["Body"].iter_chunks(_BLOCK):
                hasher.update(block)
        return hasher.hexdigest()

    def put(self, file: str, path: Path) -> None:
        from botocore.exceptions import ClientError

        with self._told(self.name(file)):
            try:
                self._upload(file, path)
            except ClientError as error:
                if _code(error) == "NotImplemented" and file not in self._hidden:  # a store that knows no conditions
                    self._conditional = False
                    self._upload(file, path)
                elif _code(error) != "PreconditionFailed":
                    raise

    def _upload(self, file: str, path: Path) -> None:
        self._asks = self._conditional or file in self._hidden  # for nothing to be there
        with path.open("rb") as opened:
            self._client.upload_fileobj(opened, self._bucket, self._prefix + file)

    def _set_condition(self, params: dict[str, Any], **_: Any) -> None:
        if self._asks:
            params["IfNoneMatch"] = "*"

    @contextmanager
    def _told(self, name: str) -> Iterator[None]:
        """Say in a line what boto3 raises."""
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            yield
        except ClientError as error:
            raise FetchError(_refused(name, error)) from None
        except (Boto3Error, BotoCoreError, ValueError) as error:
            found = f"{type(error).__name__}: {error}"
            raise FetchError(f"{name}: expected to reach the store, found {found}; {_HINT}") from None


def _code(error: Any) -> str:
    return str(error.response.get("Error", {}).get("Code", "an error"))


def _refused(name: str, error: Any) -> str:
    said = error.response.get("Error", {}).get("Message") or "no more is known"
    return f"{name}: expected the store to take and give it, found {_code(error)}: {said}; {_HINT}"
