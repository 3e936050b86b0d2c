"""A package in place of itself: with more files, or saying something else; as a whole or not at all."""

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hubpkg import assembly, manifest, package
from hubpkg import report as reports


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
        contents: its manifest; of files and digests it may have the old ones.
        report: told, in one line each, what is done.
        added: files by their names in the package.
        removed: names of files that it has no more.

    Raises:
        HubpkgError: it would not verify; the package is as it was.
    """
    pages = {reports.path_of(each): each for each in (folder, folder.resolve())}
    folder = folder.resolve()  # a link's place is not the package's
    before = (folder / manifest.NAME).read_bytes()
    with package.output(folder.parent, folder.name, report) as partial:
        shutil.copytree(folder, partial)
        for name in removed:
            (partial / name).unlink()
        for name, file in (added or {}).items():
            shutil.copyfile(file, partial / name)
        assembly.finish(partial, {key: value for key, value in contents.items() if key != "digests"})
        package.put_in_place(partial, folder, report)
    if (folder / manifest.NAME).read_bytes() == before:
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
