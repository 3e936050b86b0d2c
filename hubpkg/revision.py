"""A package in place of itself: with more files, or saying something else; as a whole or not at all."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hubpkg import assembly, manifest, package
from hubpkg import report as reports
from hubpkg.errors import HubpkgError


def revise(
    folder: Path,
    contents: Mapping[str, Any],
    report: Callable[[str], None],
    added: Mapping[str, Path] | None = None,
    removed: frozenset[str] = frozenset(),
) -> None:
    """Let the package in ``folder``, which verifies, say what ``contents`` does.

    Args:
        folder: the package's.
        contents: its manifest; of files it may have the old ones, and its digests are those that it was read with.
        report: told, in one line each, what is done.
        added: files by their names in the package.
        removed: names of files that it has no more.

    Raises:
        HubpkgError: it would not verify, or another process has changed it since it was read; it is as it was.
    """
    pages = {reports.path_of(each): each for each in (folder, folder.resolve())}
    folder = folder.resolve()  # a link's place is not the package's
    with package.output(folder.parent, folder.name, report) as partial:
        before = (folder / manifest.NAME).read_bytes()
        there = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        for name, file in {**there, **(added or {})}.items():
            if name not in removed:
                (partial / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, partial / name)
        assembly.finish(partial, {key: value for key, value in contents.items() if key != "digests"})
        after = (partial / manifest.NAME).read_bytes()
        if after != before and manifest.parse(before, manifest.NAME)["digests"] != contents["digests"]:
            raise HubpkgError(
                f"{folder}: expected the package as it was when this began, found it changed by another hubpkg; run "
                "the command again"
            )
        package.put_in_place(partial, folder, report)
    if after == before:
        return
    for page, place in pages.items():
        if page.exists():
            report(f"{page}: shows the package as it was before; make it again: hubpkg report {place}")


def recover(folder: Path, report: Callable[[str], None]) -> None:
    """Put the package back that was being replaced when hubpkg was killed, if it was."""
    folder = folder.absolute()
    if not folder.exists() and folder.with_name(f".{folder.name}.replaced").exists():
        with package.output(folder.parent, folder.name, report):
            report(f"{folder}: put back, as it was before hubpkg was killed")
