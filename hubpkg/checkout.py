"""A checkout of the hub's repository: cards are committed to a new branch, and nothing else of it is touched.

All that git is asked to do is to store objects and, last, to make the branch: the work tree, the index, HEAD and every
branch that is there stay as they are, whatever happens meanwhile.
"""

import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from hubpkg import card
from hubpkg.errors import HubpkgError
from hubpkg.spec import ANONYMOUS

ASSETS = "mshub_res/assets"  # the cards' folder in the hub's repository
_FILE, _FOLDER = "100644", "040000"
_SETTINGS = [
    option
    for setting in ("core.hooksPath=/dev/null", "user.useConfigOnly=true", "i18n.commitEncoding=utf-8")
    for option in ("-c", setting)
]


class Checkout:
    """A checkout, and the branch in it that is to be made."""

    def __init__(self, folder: Path, branch: str) -> None:
        """Find the commit that the branch is to follow, HEAD, and whoever commits.

        Raises:
            HubpkgError: the folder is no checkout of the hub, the branch can't be called so, or git knows no name and
                address to commit under.
        """
        self.folder, self.branch = folder, branch
        if not folder.is_dir():
            raise HubpkgError(
                f"--hub: expected a checkout of the hub, found {'a file' if folder.exists() else 'nothing'} at {folder}"
            )
        self._environment = {**os.environ, "LC_ALL": "C"}
        for name in self._git("rev-parse", "--local-env-vars").split():
            self._environment.pop(name, None)  # of whatever repository runs hubpkg, in a hook for example
        try:
            self._head = self._git("rev-parse", "--verify", "--quiet", "HEAD^{commit}")
        except HubpkgError as error:
            if owned := re.search("dubious ownership in repository at '(.*)'", str(error)):
                raise HubpkgError(
                    f"{folder}: expected a checkout of your own, found another user's, which git does not trust; if "
                    f"you do: git config --global --add safe.directory {shlex.quote(owned[1])}"
                ) from None
            self._head = ""
        if not self._head or not self._is_folder(f"{self._head}:{ASSETS}"):
            raise HubpkgError(
                f"--hub: expected a checkout of the hub, with {ASSETS} in its newest commit, found none at {folder}"
            )
        try:
            self._git("check-ref-format", "--branch", branch)
        except HubpkgError:
            raise HubpkgError(f"--branch: expected a name that a branch may have, found {branch!r}") from None
        for who in ("GIT_AUTHOR_IDENT", "GIT_COMMITTER_IDENT"):
            try:
                self._git("var", who)
            except HubpkgError:
                raise HubpkgError(
                    f"{folder}: expected git to know who commits, found no name or address; say it with: "
                    'git config --global user.name "Your Name" and git config --global user.email ADDRESS'
                ) from None

    def check(self, files: Mapping[str, bytes], user: str, *, replace: bool) -> str:
        """The tree that the branch is to have: HEAD's with ``files``, a card and what goes with it, by their paths.

        Args:
            files: from the hub's root; the card is the first.
            user: the card's user-id, whose cards they may take the place of.
            replace: whether they may do so.

        Raises:
            HubpkgError: another's card is there, or something else; or one's own, and ``replace`` is not given; or the
                branch is there, and is another.
        """
        path, tree = next(iter(files)), self._git("rev-parse", f"{self._head}^{{tree}}")
        found = {name: self._at(name) for name in files}
        if any(there is not None for there in found.values()):
            owner = _owner(found[path] or b"")
            if owner != user or (user == ANONYMOUS and found != files):
                raise HubpkgError(
                    f"{self.folder}: {path}: expected no card, or one of {user}'s, found another's, whose user-id is "
                    f"{owner or 'not told'}; hubpkg overwrites none: take another model-name, or another publisher"
                )
            owners = {name: _owner(data) for name, data in found.items() if data is not None}
            for name, other in owners.items():
                if other not in (None, user):
                    raise HubpkgError(
                        f"{self.folder}: {name}: expected no card, or one of {user}'s, found {other}'s; hubpkg "
                        "overwrites none: take another model-name, or another publisher"
                    )
            if found != files and not replace:
                raise HubpkgError(
                    f"{self.folder}: {path}: expected no card, found another one of {user}'s; for a new version beside "
                    "it set another model-version in model.yaml and build again; to put this one in its place give "
                    "--replace"
                )
        for name, data in files.items():
            blob = self._git("hash-object", "-w", "-t", "blob", "--stdin", given=data)
            tree = self._with(tree, name.split("/"), blob, name)
        self._check_branch(tree)
        return tree

    def holds(self, path: str) -> bool:
        """Whether the file ``path`` is in HEAD."""
        return self._at(path) is not None

    def _check_branch(self, tree: str) -> None:
        """Raise HubpkgError unless the branch can be made, or is there with ``tree``."""
        branches = self._branches()
        for other in branches:
            if self.branch.startswith(f"{other}/") or other.startswith(f"{self.branch}/"):
                raise HubpkgError(
                    f"{self.folder}: expected no branch {other}, beside which git can't have {self.branch}, found it; "
                    "name another with --branch"
                )
        there = branches.get(self.branch)
        if there is not None and self._git("rev-parse", f"{there}^{{tree}}") != tree:
            raise HubpkgError(
                f"{self.folder}: expected no branch {self.branch}, or one with just this card on {self._head[:12]}, "
                f"found another at {there[:12]}; name another with --branch, or remove that one with: "
                f"git branch -D {self.branch}"
            )

    def commit(self, tree: str, message: str) -> str | None:
        """Make the branch, with one commit whose tree is ``tree``, unless it is there; give the commit.

        None if HEAD has that tree already, and there is nothing to commit.

        Raises:
            HubpkgError: git fails; nothing has changed.
        """
        if self._git("rev-parse", f"{self._head}^{{tree}}") == tree:
            return None
        if (there := self._branches().get(self.branch)) is not None:
            return there
        commit = self._git("commit-tree", "-p", self._head, tree, given=message.encode())
        order = f"create refs/heads/{self.branch} {commit}\n"  # which fails if it is there by now
        self._git("update-ref", "--stdin", given=order.encode())
        return commit

    def _branches(self) -> dict[str, str]:
        """The commit of each branch, by its name."""
        lines = self._git("for-each-ref", "--format=%(objectname) %(refname:lstrip=2)", "refs/heads").splitlines()
        return {name: commit for commit, _, name in (line.partition(" ") for line in lines)}

    def _entries(self, tree: str) -> list[tuple[str, str, str]]:
        """Mode, object and name of what is in a tree."""
        lines = [line for line in self._git("ls-tree", "-z", tree).split("\0") if line]
        heads = [line.partition("\t")[0].split(" ") for line in lines]
        return [(head[0], head[2], line.partition("\t")[2]) for head, line in zip(heads, lines, strict=True)]

    def _with(self, tree: str | None, parts: Sequence[str], blob: str, path: str) -> str:
        """``tree``, or an empty one, with the blob at the path ``parts``."""
        name, *rest = parts
        kept, below = [], None
        for mode, found, entry in self._entries(tree) if tree else ():
            if entry != name:
                if entry.casefold() == name.casefold():
                    raise HubpkgError(
                        f"{self.folder}: {path}: expected no other name for {name}, found {entry}, which is the same "
                        "to some systems"
                    )
                kept.append((mode, found, entry))
            elif (mode == _FOLDER) is not bool(rest) or (not rest and not mode.startswith("100")):
                raise HubpkgError(
                    f"{self.folder}: {path}: expected {'a folder' if rest else 'a file'} {name}, found something else"
                )
            else:
                below = found
        new = (_FOLDER, self._with(below, rest, blob, path), name) if rest else (_FILE, blob, name)
        lines = [
            f"{mode} {'tree' if mode == _FOLDER else 'commit' if mode == '160000' else 'blob'} {found}\t{entry}\0"
            for mode, found, entry in (*kept, new)
        ]
        given = "".join(lines).encode("utf-8", "surrogateescape")
        return self._git("mktree", "-z", "--missing", given=given)  # a partial clone lacks other files

    def _at(self, path: str) -> bytes | None:
        """The file ``path`` in HEAD; None if nothing is there."""
        tree = self._head
        *folders, name = path.split("/")
        for part in (*folders, name):
            found = {entry: (mode, object_) for mode, object_, entry in self._entries(tree)}
            if part not in found or (part != name and found[part][0] != _FOLDER):
                return None  # what stands in its way is told when the tree is made
            tree = found[part][1]
        return self._run("cat-file", "blob", tree) if found[name][0].startswith("100") else None

    def _is_folder(self, name: str) -> bool:
        try:
            return self._git("cat-file", "-t", name) == "tree"
        except HubpkgError:
            return False

    def _git(self, *arguments: str, given: bytes = b"") -> str:
        return self._run(*arguments, given=given).decode("utf-8", "surrogateescape").strip("\n")

    def _run(self, *arguments: str, given: bytes = b"") -> bytes:
        try:
            done = subprocess.run(  # noqa: S603 - names that come from outside are arguments of their own
                ["git", *_SETTINGS, *arguments],  # noqa: S607 - the user's git
                cwd=self.folder,
                env=self._environment,
                input=given,
                capture_output=True,
                check=False,
            )
        except FileNotFoundError:
            raise HubpkgError("expected git, to commit the card, found none; install it") from None
        if done.returncode:
            lines = done.stderr.decode(errors="backslashreplace").strip().splitlines() or ["no more is known"]
            raise HubpkgError(f"{self.folder}: expected git {arguments[0]} to work, found: {lines[0]}")
        return done.stdout


def _owner(data: bytes) -> str | None:
    """The user-id of a card; None if it tells none."""
    try:
        fields = card.parse(data.decode(), "card").fields
        found = fields.get("user-id", fields.get("用户ID"))
    except (HubpkgError, UnicodeDecodeError, AttributeError, RecursionError):  # whatever lies there
        return None
    return found if isinstance(found, str) else None
