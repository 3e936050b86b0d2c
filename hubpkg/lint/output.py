"""Findings as text, JSON, SARIF 2.1.0 and GitHub annotations."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any
from unicodedata import east_asian_width

from hubpkg import __version__
from hubpkg.lint.engine import STANDARD_INPUT, Fixed, Report, count_by_rule
from hubpkg.lint.rules import ERROR, Rule

FORMATS = ("text", "json", "sarif", "github")
_SARIF_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_MANY = 50  # findings, from which on a summary names the rules
_MOST = 3  # rules that it names
_WIDEST = 120  # characters of a line that is shown
_BEFORE = 80  # of them, those before the place where a long line is cut


def as_text(reports: Iterable[Report]) -> Iterator[str]:
    """``path:line:column: CODE message [rule]``, the line, and a caret under the place."""
    for card, rule, finding, _ in reports:
        line, column = card.position(finding.start)
        yield f"{card.path}:{line}:{column}: {rule.code} {finding.message} [{rule.name}]"
        if line > len(card.lines):
            continue
        shown = card.lines[line - 1]
        at = min(column - 1, len(shown))
        width = max(1, min(finding.end, card.starts[line - 1] + len(shown)) - finding.start)
        if len(shown) > _WIDEST:
            cut = max(0, at - _BEFORE)
            shown, at = shown[cut : cut + _WIDEST], at - cut
        width = min(width, max(1, len(shown) - at))
        if not (shown.isascii() and shown.isprintable()):
            # Each character as it is shown; what would steer the terminal as an escape.
            cells = [c if c.isprintable() else repr(c)[1:-1] for c in shown]
            shown = "".join(cells)
            widths = [len(cell) + (len(cell) == 1 and east_asian_width(cell) in "FW") for cell in cells]
            at, width = sum(widths[:at]), max(1, sum(widths[at : at + width]))
        yield f"  {shown}"
        yield f"  {' ' * at}{'^' * width}"


def summary(reports: Sequence[Report], cards: int, known: int) -> Iterator[str]:
    """How many findings on how many cards, in a line; of many, in another one, the rules that found most of them."""
    fixable = sum(report.finding.fix is not None for report in reports)
    errors = sum(report.severity == ERROR for report in reports)
    kept = f"; {known} more in the baseline" if known else ""
    if not reports:
        yield f"{_count(cards, 'card') if cards else 'no card'}: nothing {'found' if cards else 'checked'}{kept}"
        return
    touched = len({report.card.path for report in reports})
    hint = f"; {fixable} can be fixed with --fix" if fixable else ""
    yield (
        f"{_count(cards, 'card')}: {_count(errors, 'error')} and {_count(len(reports) - errors, 'warning')} "
        f"on {touched} of them{hint}{kept}"
    )
    groups = list(count_by_rule(reports).values())
    if len(reports) >= _MANY and len(groups) > _MOST:
        shown = ", ".join(f"{len(group)} {group[0].rule.name}" for group in groups[:_MOST])
        rest = sum(map(len, groups[_MOST:]))
        yield f"most: {shown}; {rest} others: --statistics counts them by rule, --ignore leaves a rule out"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def as_json(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """The list that ``--format json`` prints."""
    places = (report.card.position(report.finding.start) for report in reports)
    return [
        {
            "path": card.path,
            "line": line,
            "column": column,
            "code": rule.code,
            "rule": rule.name,
            "severity": severity,
            "message": finding.message,
            "fixable": finding.fix is not None,
        }
        for (card, rule, finding, severity), (line, column) in zip(reports, places, strict=True)
    ]


def statistics(reports: Sequence[Report]) -> list[dict[str, Any]]:
    """How often each rule found something, most first."""
    return [
        {
            "code": code,
            "rule": group[0].rule.name,
            "severity": group[0].severity,
            "count": len(group),
            "fixable": sum(report.finding.fix is not None for report in group),
        }
        for code, group in count_by_rule(reports).items()
    ]


def statistics_as_text(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """A line for each rule: its count, its code, its name, and how many of the findings can be fixed."""
    width = max((len(str(row["count"])) for row in rows), default=0)
    for row in rows:
        fixable = f" ({row['fixable']} fixable)" if row["fixable"] else ""
        yield f"{row['count']:{width}}  {row['code']}  {row['severity']:7}  {row['rule']}{fixable}"


def as_github(reports: Iterable[Report]) -> Iterator[str]:
    """Annotations, as workflow commands of GitHub Actions."""
    for card, rule, finding, severity in reports:
        line, column = card.position(finding.start)
        end = card.position(max(finding.end, finding.start))
        columns = f",col={column},endColumn={max(end.column, column + 1)}" if end.line == line else ""
        properties = f"file={_property(card.path)},line={line},endLine={end.line}{columns}"
        title = _property(f"{rule.code} {rule.name}")
        yield f"::{severity} {properties},title={title}::{_data(finding.message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")


def as_sarif(reports: Sequence[Report], rules: Sequence[Rule]) -> dict[str, Any]:
    """A SARIF 2.1.0 log with one run. Columns count characters."""
    from hubpkg.lint import baseline

    indexes = {rule.code: index for index, rule in enumerate(rules)}
    return {
        "$schema": _SARIF_SCHEMA,
        "version": "2.1.0",
        "runs": [
            {
                "tool": {
                    "driver": {
                        "name": "hubpkg",
                        "semanticVersion": __version__,
                        "rules": [_sarif_rule(rule) for rule in rules],
                    }
                },
                "columnKind": "unicodeCodePoints",
                "results": [
                    _sarif_result(report, indexes[report.rule.code], fingerprint)
                    for report, fingerprint in zip(reports, baseline.fingerprints(reports), strict=True)
                ],
            }
        ],
    }


def _sarif_rule(rule: Rule) -> dict[str, Any]:
    return {
        "id": rule.code,
        "name": rule.name,
        "shortDescription": {"text": rule.what.partition("\n\n")[0].replace("\n", " ")},
        "fullDescription": {"text": rule.why},
        "help": {"text": f"Bad:\n{rule.bad}\n\nGood:\n{rule.good}"},
        "defaultConfiguration": {"level": rule.severity},
        "properties": {"family": rule.family},
    }


def _sarif_result(report: Report, index: int, fingerprint: str) -> dict[str, Any]:
    card, rule, finding, severity = report
    artifact = {"uri": _uri(card.path)}
    result: dict[str, Any] = {
        "ruleId": rule.code,
        "ruleIndex": index,
        "level": severity,
        "message": {"text": finding.message},
        "locations": [
            {"physicalLocation": {"artifactLocation": artifact, "region": _region(report, finding.start, finding.end)}}
        ],
        "partialFingerprints": {"hubpkg/v1": fingerprint},
    }
    if finding.fix is not None and card.path != STANDARD_INPUT:
        replacements = [
            {
                "deletedRegion": _region(report, edit.start, edit.end),
                # What is not UTF-8 in a card can't stand in JSON either.
                "insertedContent": {"text": edit.text.encode(errors="replace").decode()},
            }
            for edit in finding.fix.edits
        ]
        result["fixes"] = [{"artifactChanges": [{"artifactLocation": artifact, "replacements": replacements}]}]
    return result


def _uri(path: str) -> str:
    from urllib.parse import quote

    uri = quote(path.encode(errors="surrogateescape"))
    return f"file://{uri}" if uri.startswith("/") else uri


def _region(report: Report, start: int, end: int) -> dict[str, int]:
    first, last = report.card.position(start), report.card.position(max(start, end))
    return {
        "startLine": first.line,
        "startColumn": first.column,
        "endLine": last.line,
        "endColumn": last.column,
    }


def as_diff(fixed: Fixed) -> Iterator[str]:
    """The unified diff between a card and the fixed one; its lines with their ends."""
    import difflib

    path = fixed.before.path
    lines = [text.split("\n") for text in (fixed.before.text, fixed.after.text)]
    before, after = ([f"{line}\n" for line in part[:-1]] + [part[-1]] * (part[-1] != "") for part in lines)
    for line in difflib.unified_diff(before, after, path, path):
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def dump(document: Any) -> str:
    """``document`` as JSON; a list with an item a line, which is quicker than indenting."""
    if isinstance(document, list) and document:
        return "[\n" + ",\n".join(map(json.dumps, document)) + "\n]"
    return json.dumps(document, indent=2)
