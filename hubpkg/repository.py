"""A card's repo-link -> the files of its folder, read from git at its branch or tag without checking anything out."""

import os
import re
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from hubpkg.errors import FetchError, HubpkgError
from hubpkg.transport import MayPassError, Meter, Policy, check_scheme, shown

_LOCAL = ("/", "file://")
_LINK = re.compile(r"(?P<repository>.+?)/(?:tree|blob)/(?P<ref>[^/]+)/(?P<folder>.+)")
_MOST_FILES, _MOST_BYTES = 1_000, 64 << 20
_MOST_FETCHED_BYTES = 4 << 30  # of a repository whose server can't send a part of it
_WATCH_SECONDS = 0.5  # between two looks at what git is doing
_LONGEST = 255  # bytes in a file's name
_LONGEST_LINK = 2_000
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)  # devices, on some systems
_MAY_PASS = re.compile(rb"error: (429|5\d\d)\b|timed? ?out|reset by peer|early EOF|RPC failed|unexpected disconnect")
_KINDS = {"120000": "a symbolic link", "160000": "a submodule", "040000": "a folder"}


@dataclass(frozen=True)
class Code:
    """The files of an entry folder, by their names in it, and the commit they are of, if they come from git."""

    commit: str | None
    files: Mapping[str, bytes]


def read(link: str, policy: Policy, commit: str | None = None) -> Code:
    """The folder that the repo-link ``link`` names.

    Nothing of the repository is run or checked out: no hook, filter, link or submodule of it has any effect.

    Args:
        link: ``https://<host>/<owner>/<repo>/tree/<branch or tag>/<folder>``; in place of the part before ``/tree/``
            it may have a local repository's path, or its ``file://`` URL.
        policy: how patient and strict to be.
        commit: this commit in place of the branch's or tag's newest.

    Raises:
        FetchError: git can't bring it.
        HubpkgError: it is no such link, or the folder holds what a folder of code must not.
    """
    link = link.strip("<>").rstrip("/")
    if len(link) > _LONGEST_LINK or not link.isprintable() or (match := _LINK.fullmatch(link)) is None:
        found = link if len(link) <= _LONGEST_LINK else f"{link[:40]}... of {len(link)} characters"
        raise HubpkgError(f"repo-link: expected <repository>/tree/<branch>/<folder>, found {found!r}")
    repository, ref, folder = match["repository"], match["ref"], match["folder"]
    check_name(folder, "repo-link")
    if ref.startswith(("-", "+")) or ":" in ref:
        raise HubpkgError(f"repo-link: expected a repository and a branch or a tag of it, found {shown(link)!r}")
    link = link if repository.startswith(_LOCAL) else shown(link)  # in what errors say
    if not repository.startswith(_LOCAL):
        check_scheme(repository, policy)
    if policy.offline and not repository.startswith(_LOCAL):
        raise FetchError(f"{link}: expected its code in the cache, found none, and hubpkg is offline")
    with tempfile.TemporaryDirectory(prefix="hubpkg-") as temporary:
        git = _Git(Path(temporary), repository, policy)
        found = git.fetch(commit or ref)
        return Code(found, git.files(found, folder, link))


def check_name(name: str, where: str) -> None:
    """Raise HubpkgError unless ``name``, found in ``where``, is a path that stays where it is put, on any system."""
    for part in name.split("/"):
        if (
            part in ("", ".", "..", ".git")
            or re.search(r"[\\:\x00-\x1f\x7f]", part)
            or len(part.encode(errors="surrogatepass")) > _LONGEST
            or _RESERVED.fullmatch(part)
        ):
            shown = name if len(name) <= _LONGEST else f"{name[:40]}... of {len(name)} characters"
            raise HubpkgError(f"{where}: expected a file's path inside its folder, found {shown!r}")


class _Git:
    """A bare repository in the folder ``home``, for one fetch from ``repository``."""

    def __init__(self, home: Path, repository: str, policy: Policy) -> None:
        self._home, self._repository, self._policy = home, repository, policy
        self._name = repository if repository.startswith(_LOCAL) else shown(repository)
        self._run("init", "--quiet", "--bare", ".")
        self._run("remote", "add", "origin", repository)

    def fetch(self, ref: str) -> str:
        """Bring the commit ``ref``, without its history and, where the server can, without its files."""

        def attempt() -> str:
            try:
                self._run("fetch", "--quiet", "--depth=1", "--no-tags", "--filter=blob:none", "origin", ref)
                return self._run("rev-parse", "FETCH_HEAD^{commit}").decode().strip()
            except subprocess.CalledProcessError as error:
                message = f"expected the branch or tag {ref}, found: {_reason(error.stderr)}"
                if _MAY_PASS.search(error.stderr):
                    raise MayPassError(message) from None
                raise FetchError(f"{self._name}: {message}") from None

        return Meter(self._name, self._policy).retry(attempt)

    def files(self, commit: str, folder: str, link: str) -> dict[str, bytes]:
        """The files below ``folder``, exactly as they are stored."""
        listed = [line for line in self._run("ls-tree", "-r", "-z", "--", commit, f"{folder}/").split(b"\0") if line]
        if not 0 < len(listed) <= _MOST_FILES:
            found = f"{len(listed)} files" if listed else "none"
            raise HubpkgError(
                f"{link}: expected a folder of at most {_MOST_FILES} files at {commit[:12]}, found {found}"
            )
        blobs: dict[str, str] = {}
        for line in listed:
            (mode, _, blob), path = line.split(b"\t")[0].decode().split(" "), line.split(b"\t", 1)[1]
            name = path.decode("utf-8", "backslashreplace").removeprefix(f"{folder}/")
            check_name(name, link)
            if mode in _KINDS:
                raise HubpkgError(f"{link}: {name}: expected a file, found {_KINDS[mode]}")
            blobs[name] = blob
        given = "\n".join(blobs.values()).encode()
        try:
            sizes = self._run("cat-file", "--batch-check=%(objectsize)", given=given).split()
            if not all(size.isdigit() for size in sizes) or sum(map(int, sizes)) > _MOST_BYTES:
                raise HubpkgError(f"{link}: expected at most {_MOST_BYTES} bytes of code, found more")
            raw = self._run("cat-file", "--batch", given=given)
        except subprocess.CalledProcessError as error:
            raise FetchError(f"{link}: expected its files, found: {_reason(error.stderr)}") from None
        return _split(raw, blobs)

    def _run(self, *arguments: str, given: bytes = b"") -> bytes:
        # ssh only by the user's own settings: check_scheme has seen the link.
        protocols = ("https", "file", "ssh", *(["http"] if self._repository.startswith("http://") else []))
        settings = {
            "transfer.fsckObjects": "true",
            "http.lowSpeedLimit": "1",
            "http.lowSpeedTime": str(max(1, round(self._policy.stall_seconds))),
            "http.followRedirects": "false",  # git would follow them anywhere
            "core.hooksPath": "/dev/null",
            "protocol.allow": "never",
            **{f"protocol.{name}.allow": "always" for name in protocols},
        }
        options = [option for key, value in settings.items() for option in ("-c", f"{key}={value}")]
        try:
            process = subprocess.Popen(  # noqa: S603 - the link is an argument of its own, and no option
                ["git", *options, *arguments],  # noqa: S607 - the user's git
                cwd=self._home,
                env={**_environment(), "GIT_TERMINAL_PROMPT": "0", "GIT_DIR": str(self._home), "LC_ALL": "C"},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # so that what git starts ends with it
            )
        except FileNotFoundError:
            raise HubpkgError("expected git, to bring the entrypoint's code, found none; install it") from None
        with process:
            try:
                output, errors = self._watch(process, given)
            except BaseException:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise
        if process.returncode:
            raise subprocess.CalledProcessError(process.returncode, "git", output, errors)
        return output

    def _watch(self, process: subprocess.Popen[bytes], given: bytes | None) -> tuple[bytes, bytes]:
        """What ``process`` prints, unless it gains nothing for too long, or too much."""
        best, since = 0, time.monotonic()
        while True:
            try:
                return process.communicate(given, timeout=_WATCH_SECONDS)
            except subprocess.TimeoutExpired:
                given = None  # git has it
            size = sum(path.stat().st_size for path in self._home.rglob("*.pack") if path.is_file())
            size += sum(path.stat().st_size for path in self._home.rglob("tmp_*") if path.is_file())
            if size > best:
                best, since = size, time.monotonic()
            if time.monotonic() - since > self._policy.stall_seconds:
                raise FetchError(f"{self._name}: expected git to bring it, found it silent; given up")
            if size > _MOST_FETCHED_BYTES:
                raise FetchError(f"{self._name}: expected at most {_MOST_FETCHED_BYTES} bytes, found more")


def _environment() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if not key.startswith("GIT_") or key == "GIT_SSL_CAINFO"}


def _split(raw: bytes, blobs: Mapping[str, str]) -> dict[str, bytes]:
    """The files in what ``git cat-file --batch`` printed of ``blobs``: a line that ends in the size, then the file."""
    files, at = {}, 0
    for name in blobs:
        start = raw.index(b"\n", at) + 1
        end = start + int(raw[at:start].split()[-1])
        files[name] = raw[start:end]
        at = end + 1
    return files


def _reason(stderr: bytes) -> str:
    """What git said first of what went wrong; what follows is advice."""
    lines = stderr.decode(errors="backslashreplace").splitlines()
    return next((line for line in lines if line.startswith(("fatal: ", "error: "))), "no more is known")
