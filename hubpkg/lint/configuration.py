"""Which rules are checked where: ``[tool.hubpkg.lint]`` of pyproject.toml, or hubpkg.toml, and the command line."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, cast

from hubpkg.errors import HubpkgError
from hubpkg.lint import rules as registry
from hubpkg.lint.rules import TARGETS, Rule, Severity, Target

_LISTS = ("select", "ignore", "exclude")
_KEYS = (*_LISTS, "per-file-ignores", "severity", "target", "baseline")


@dataclass(frozen=True)
class Configuration:
    """What is checked.

    Attributes:
        select: codes, names, families or beginnings of codes of the rules that are checked; empty: all.
        ignore: the same of those that are not.
        exclude: patterns of files that are left out where a folder is walked.
        per_file_ignores: patterns of files, and what is ignored in them.
        severities: by code, where it is not the rule's own.
        target: who has to accept the cards.
        baseline: the file with the findings that are known, or None.
        folder: what the patterns are relative to.
        source: the file that says so, for errors.
    """

    select: tuple[str, ...] = ()
    ignore: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    per_file_ignores: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    severities: Mapping[str, Severity] = field(default_factory=dict)
    target: Target = "hubpkg"
    baseline: Path | None = None
    folder: Path = field(default_factory=Path.cwd)
    source: str = "the command line"

    @cached_property
    def rules(self) -> list[Rule]:
        """The rules that are checked.

        Raises:
            HubpkgError: something that is selected or ignored is no rule.
        """
        chosen = registry.select(self.select or ("ALL",), f"{self.source}: select")
        chosen -= registry.select(self.ignore, f"{self.source}: ignore")
        return [rule for code, rule in registry.rules().items() if code in chosen]

    @cached_property
    def _ignores(self) -> list[tuple[str, set[str]]]:
        return [
            (pattern, registry.select(names, f"{self.source}: per-file-ignores"))
            for pattern, names in self.per_file_ignores.items()
        ]

    def ignored_in(self, path: str) -> set[str]:
        """The codes that are ignored in the file at ``path``."""
        ignored: set[str] = set()
        for pattern, codes in self._ignores:
            if self._fits(path, pattern):
                ignored |= codes
        return ignored

    def is_excluded(self, path: str) -> bool:
        """Whether the file at ``path`` is left out where a folder is walked."""
        return any(self._fits(path, pattern) for pattern in self.exclude)

    def _fits(self, path: str, pattern: str) -> bool:
        """Whether the pattern, in which ``*`` takes ``/`` too, fits the path, from the folder on, or the name."""
        file = Path(path)
        whole = (self.folder / file) if not file.is_absolute() else file
        within = Path.cwd() / file if not file.is_absolute() else whole
        relative = within.relative_to(self.folder).as_posix() if within.is_relative_to(self.folder) else str(within)
        return fnmatchcase(relative, pattern) or fnmatchcase(file.name, pattern)


def find(start: Path) -> Path | None:
    """The nearest hubpkg.toml, or pyproject.toml with a table ``[tool.hubpkg.lint]``, in ``start`` or above it."""
    for folder in (start, *start.parents):
        own, shared = folder / "hubpkg.toml", folder / "pyproject.toml"
        if own.is_file():
            return own
        if shared.is_file() and _table(shared) is not None:
            return shared
    return None


def load(file: Path) -> Configuration:
    """The configuration in ``file``.

    Raises:
        HubpkgError: it is no TOML, or holds a key or value that is not expected.
    """
    table = _table(file) or {}
    unknown = sorted(table.keys() - set(_KEYS))
    if unknown:
        raise HubpkgError(f"{file}: expected the keys {', '.join(_KEYS)}, found {unknown[0]!r}")
    given: dict[str, Any] = {key: _strings(table[key], f"{file}: {key}") for key in _LISTS if key in table}
    ignores = _mapping(table, "per-file-ignores", file)
    severities = _mapping(table, "severity", file)
    for name, severity in severities.items():
        if severity not in (registry.ERROR, registry.WARNING):
            raise HubpkgError(f"{file}: severity: {name}: expected error or warning, found {severity!r}")
    target = table.get("target", "hubpkg")
    if target not in TARGETS:
        raise HubpkgError(f"{file}: target: expected {' or '.join(TARGETS)}, found {target!r}")
    baseline = table.get("baseline")
    if not isinstance(baseline, str | None):
        raise HubpkgError(f"{file}: baseline: expected a file's path, found {baseline!r}")
    return Configuration(
        **given,
        per_file_ignores={
            pattern: _strings(names, f"{file}: per-file-ignores: {pattern}") for pattern, names in ignores.items()
        },
        severities={
            code: cast("Severity", severity)
            for name, severity in severities.items()
            for code in registry.select([name], f"{file}: severity")
        },
        target=target,
        baseline=file.parent / baseline if baseline is not None else None,
        folder=file.parent,
        source=str(file),
    )


def _table(file: Path) -> Any:
    try:
        text = file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise HubpkgError(f"{file}: expected a readable TOML file, found: {error}") from None
    if file.name == "pyproject.toml" and "hubpkg" not in text:
        return None  # most files of this name have no such table, and need no parsing
    import tomllib

    try:
        table: Any = tomllib.loads(text)
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise HubpkgError(f"{file}: expected TOML, found: {error}") from None
    for key in ("tool", "hubpkg", "lint") if file.name == "pyproject.toml" else ():
        table = table.get(key)
        if table is None:
            return None
        if not isinstance(table, dict):
            raise HubpkgError(f"{file}: tool.hubpkg.lint: expected a table, found {table!r}")
    return table


def _mapping(table: Mapping[str, Any], key: str, file: Path) -> dict[str, Any]:
    found = table.get(key, {})
    if not isinstance(found, dict):
        raise HubpkgError(f"{file}: {key}: expected a table, found {found!r}")
    return found


def _strings(value: Any, where: str) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
        raise HubpkgError(f"{where}: expected a list of texts, found {value!r}")
    return tuple(cast("Iterable[str]", value))
