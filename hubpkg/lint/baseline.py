"""The findings that an old collection is known to have, so that only new ones are reported.

A finding is known again by its file, its rule and the text of its line, not by the line's number.
"""

import hashlib
import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from hubpkg.errors import HubpkgError
from hubpkg.lint.engine import Report

_VERSION = 1
_DIGITS = 16  # of a fingerprint: more than enough within a file


def fingerprints(reports: Iterable[Report]) -> list[str]:
    """What each finding is known by within its file: a digest of its rule's code and its line's text."""
    known: dict[tuple[str, int, str], str] = {}  # a long line may have many findings
    found = []
    for card, rule, finding, _ in reports:
        line = card.position(finding.start).line
        key = (card.path, line, rule.code)
        if key not in known:
            text = card.lines[line - 1].strip() if line <= len(card.lines) else ""
            known[key] = hashlib.sha256(f"{rule.code}\0{text}".encode("utf-8", "surrogateescape")).hexdigest()[:_DIGITS]
        found.append(known[key])
    return found


def write(file: Path, reports: Sequence[Report]) -> None:
    """Write the findings to ``file``, by path, rule and line."""
    counts = Counter(_keys(file, reports))
    findings: dict[str, dict[str, int]] = {}
    for (path, known), count in sorted(counts.items()):
        findings.setdefault(path, {})[known] = count
    file.write_text(json.dumps({"version": _VERSION, "findings": findings}, indent=1) + "\n", encoding="utf-8")


def new(file: Path, reports: Sequence[Report]) -> list[Report]:
    """Those of ``reports`` that are not in ``file``.

    Raises:
        HubpkgError: there is no such file, or it is no baseline.
    """
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
        left = Counter(
            {
                (path, known): int(count)
                for path, findings in document["findings"].items()
                for known, count in findings.items()
            }
        )
        version = document["version"]
    except FileNotFoundError:
        raise HubpkgError(f"{file}: expected a baseline, found none; write one with --update-baseline") from None
    except OSError as error:
        raise HubpkgError(f"{file}: expected a readable baseline, found: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise HubpkgError(
            f"{file}: expected a baseline, found something else; write one with --update-baseline"
        ) from None
    if version != _VERSION:
        raise HubpkgError(f"{file}: expected a baseline of version {_VERSION}, found {version!r}")
    fresh = []
    for report, key in zip(reports, _keys(file, reports), strict=True):
        if left[key] > 0:
            left[key] -= 1
        else:
            fresh.append(report)
    return fresh


def _keys(file: Path, reports: Sequence[Report]) -> list[tuple[str, str]]:
    folder = file.absolute().parent
    paths = {path: Path(os.path.relpath(path, folder)).as_posix() for path in {report.card.path for report in reports}}
    return [
        (paths[report.card.path], f"{report.rule.code} {fingerprint}")
        for report, fingerprint in zip(reports, fingerprints(reports), strict=True)
    ]
