"""Rules of the family schema: which fields there are, and what they may hold."""

import datetime as dt
import difflib
import json
import re
from collections.abc import Container, Iterator
from functools import cache
from typing import Any

from hubpkg.lint.rules import ERROR, WARNING, Finding, Fix, quote, replace, rule
from hubpkg.lint.source import Card
from hubpkg.lint.values import Field, Value
from hubpkg.resources import shipped

_VERSIONS = ("model-version", "mindspore-version")
# YAML may read these as a number or a date; hubpkg and the hub take them as they are written.
_AS_WRITTEN = frozenset((*_VERSIONS, "update-time", "asset-sha256"))
_MAY_HOLD_COLON = frozenset(("repo-link", "asset", "evaluation"))
_DATE = re.compile(r"(\d{4})([-/.])(\d{1,2})\2(\d{1,2})")
_KEEPS = re.compile(r"[1-9]\.(?:0|\d?[1-9])\Z")  # most versions: as a number they are written likewise
_TYPES = {"boolean": "true or false", "number": "a number", "string": "text", "array": "a list"}
_FOUND = {bool: "true or false", int: "a number", float: "a number", str: "text", list: "a list", dict: "a mapping"}
_LONGEST_LICENCE = 200
_MAY_BE_OTHER = frozenset("-+.0123456789~yYnNtToOfF")  # first characters of what YAML may read as other than text
_MANY = 100  # of fields; no card has so many, and looking for the nearest name takes time

# Spellings that mean one licence and no other.
_LICENCES = {
    "apache20": "Apache-2.0",
    "apachelicense20": "Apache-2.0",
    "apachelicenseversion20": "Apache-2.0",
    "apache2": "Apache-2.0",
    "apachev2": "Apache-2.0",
    "apachev20": "Apache-2.0",
    "bsd2clause": "BSD-2-Clause",
    "bsd2": "BSD-2-Clause",
    "bsd3clause": "BSD-3-Clause",
    "bsd3": "BSD-3-Clause",
    "ccby40": "CC-BY-4.0",
    "ccbync40": "CC-BY-NC-4.0",
    "ccbysa40": "CC-BY-SA-4.0",
    "mit": "MIT",
    "mitlicense": "MIT",
    "mpl20": "MPL-2.0",
    "mulanpslv2": "MulanPSL-2.0",
    "mulanpsl20": "MulanPSL-2.0",
    "mulanpsl2": "MulanPSL-2.0",
}


@cache
def _schema() -> dict[str, Any]:
    file = shipped("schemas") / "card.schema.json"
    schema: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    return schema


@cache
def _types() -> dict[str, str]:
    return {name: declared["type"] for name, declared in _schema()["properties"].items()}


@cache
def _known() -> frozenset[str]:
    return frozenset(_schema()["properties"])


@cache
def _known_in_asset() -> frozenset[str]:
    return frozenset(_schema()["properties"]["asset"]["items"]["properties"])


@cache
def _required() -> frozenset[str]:
    return frozenset(_schema()["required"])


@rule("S001", "missing-field", ERROR)
def missing_field(card: Card) -> Iterator[Finding]:
    """A field that every card has to have is missing, or has no value.

    Why:
        The hub rejects the card, or, where it is ``model-name`` that is missing, its client can't load the model.

    Bad:
        license:

    Good:
        license: Apache-2.0
    """
    fields = card.fields
    if not fields:
        return  # front-matter-delimiters or yaml-invalid says so
    for name in sorted(_required() - fields.keys()):
        at = max(card.front.start - 1, 0)
        line = card.text.rfind("\n", 0, at) + 1
        yield Finding(line, at, f"expected the field '{name}', found it missing")
    for name, field in fields.items():
        value = field.value
        if not value.text.strip() and name in _required() and value.style in ("plain", "quoted", "block"):
            yield Finding(field.start, field.end, f"expected a value of '{name}', found none")


@rule("S002", "unknown-field", WARNING, fixable=True)
def unknown_field(card: Card) -> Iterator[Finding]:
    """A field that no card has, in the front matter or in an asset.

    One that is a known field but for capitals, spaces and underscores can be fixed.

    Why:
        Nobody reads it. Most often it is a known field that is misspelt, which is then missing.

    Bad:
        model_name: resnet50

    Good:
        model-name: resnet50
    """
    known = _known()
    if not card.fields.keys() <= known:
        for field in card.front.fields:
            if field.name not in known:
                yield _unknown(card, field, known, card.fields)
    inner = _known_in_asset()
    for entry in card.assets:
        for field in entry.fields:
            if field.name not in inner:
                yield _unknown(card, field, inner, [other.name for other in entry.fields[:_MANY]])


def _unknown(card: Card, field: Field, known: frozenset[str], present: Container[str]) -> Finding:
    folded = re.sub(r"[\s_]+", "-", field.key.strip().lower())
    if folded in known and folded not in present and card.text[field.start : field.end] == field.key:
        message = f"expected '{folded}', found {quote(field.key)}"
        return Finding(field.start, field.end, message, replace(field.start, field.end, folded))
    near = difflib.get_close_matches(folded, known, 1) if len(card.front.fields) < _MANY else []
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return Finding(field.start, field.end, f"expected a field that cards have, found {quote(field.key)}{hint}")


@rule("S003", "duplicate-key", ERROR)
def duplicate_key(card: Card) -> Iterator[Finding]:
    """A key stands twice.

    Why:
        Readers of YAML take the last one, or refuse the card; people believe the first one.

    Bad:
        license: MIT

        license: Apache-2.0

    Good:
        license: Apache-2.0
    """
    yield from _duplicates(card, card.front)
    for entry in card.assets:
        yield from _duplicates(card, entry)


def _duplicates(card: Card, holder: Value) -> Iterator[Finding]:
    fields = holder.fields
    if len({field.name for field in fields}) == len(fields):
        return
    seen: dict[str, Field] = {}
    for field in fields:
        if field.name in seen:
            line = card.position(seen[field.name].start).line
            yield Finding(
                field.start, field.end, f"expected each key once, found {quote(field.key)} on line {line} too"
            )
        seen.setdefault(field.name, field)


@rule("S004", "wrong-type", ERROR, fixable=True)
def wrong_type(card: Card) -> Iterator[Finding]:
    """A value is of another kind than its field: text for true or false, a list for text, a number for text.

    Text that YAML reads as something else can be fixed by quotes.

    Why:
        The hub rejects some of these; where it does not, ``summary: no`` is shown as false, ``author: 1_0`` as 10.

    Bad:
        fine-tunable: "True"

    Good:
        fine-tunable: True
    """
    types = _types()
    for name, field in card.fields.items():
        value = field.value
        wanted = types.get(name)
        if wanted is None or (value.style == "plain" and not value.text):
            continue
        if wanted == "string" and value.style == "plain":
            if value.text[0] not in _MAY_BE_OTHER:
                continue
            if name in _AS_WRITTEN or name == "repo-link" or type(resolved := value.resolved) is str:
                continue
            shown = f"{_found(resolved)}; put it in quotes"
            yield Finding(value.start, value.end, f"expected {name} to be text, found {shown}", _quoted(value))
            continue
        if _fits(value.resolved, wanted) or (name == "input-shape" and value.style == "list"):
            continue
        if card.yaml_error is not None and value.start <= card.yaml_error.offset <= value.end + 1:
            continue
        if card.chinese and card.yaml_error is not None:
            continue
        message = f"expected {name} to be {_TYPES[wanted]}, found {_found(value.resolved)}"
        yield Finding(value.start, value.end, message, _unquoted(value, wanted))


def _fits(resolved: Any, wanted: str) -> bool:
    if wanted == "boolean":
        return isinstance(resolved, bool)
    if wanted == "number":
        return isinstance(resolved, int | float) and not isinstance(resolved, bool)
    return isinstance(resolved, str if wanted == "string" else list)


def _found(resolved: Any) -> str:
    if isinstance(resolved, dt.date):
        return "a date"
    if resolved is None:
        return "nothing"
    return f"the text {quote(resolved)}" if isinstance(resolved, str) else _FOUND[type(resolved)]


def _quoted(value: Value) -> Fix | None:
    return (
        replace(value.start, value.end, f'"{value.text}"') if '"' not in value.text and "\\" not in value.text else None
    )


def _unquoted(value: Value, wanted: str) -> Fix | None:
    plain = Value(value.start, value.end, value.text)
    if wanted == "boolean" and value.style == "quoted" and value.text.lower() in ("true", "false"):
        return replace(value.start, value.end, value.text) if _fits(plain.resolved, wanted) else None
    return None


@rule("S005", "unknown-value", ERROR, fixable=True)
def unknown_value(card: Card) -> Iterator[Finding]:
    """A value is not one of those that its field may have.

    It is asked of ``module-type``, ``used-for``, ``train-backend``, ``infer-backend``, ``model-name`` and the versions;
    ``file-format`` has the rule asset-format-unloadable. Capitals can be fixed in fields whose values are a fixed list.

    Why:
        The hub rejects unlisted kinds, uses and backends, and its filters do not find the model.

    Bad:
        module-type: vision

    Good:
        module-type: cv
    """
    if card.chinese:
        return
    for name in ("module-type", "used-for", "train-backend", "infer-backend", "model-version", "mindspore-version"):
        field = card.fields.get(name)
        if field is None or field.value.style not in ("plain", "quoted") or not field.value.text:
            continue
        value = field.value
        if _pattern(name).search(value.text):
            continue
        message = f"expected {name} to be {_schema()['properties'][name]['description']}, found {quote(value.text)}"
        lower = value.text.lower()
        at = value.start + (value.style == "quoted")
        fits = name not in _VERSIONS and _pattern(name).search(lower)
        yield Finding(value.start, value.end, message, replace(at, at + len(lower), lower) if fits else None)


@cache
def _pattern(name: str) -> re.Pattern[str]:
    # In a schema's patterns, which are ECMA 262's, '$' is the end of the text; Python's '$' lets a newline follow.
    return re.compile(_schema()["properties"][name]["pattern"].replace("$", r"\Z"))


@rule("S006", "version-loses-digits", ERROR, fixable=True)
def version_loses_digits(card: Card) -> Iterator[Finding]:
    """A version is read as a number that is written otherwise.

    Why:
        YAML reads 1.10 as 1.1: the hub shows the card under another version, and sorts it before 1.9.

    Bad:
        mindspore-version: 1.10

    Good:
        mindspore-version: "1.10"
    """
    for name in _VERSIONS:
        field = card.fields.get(name)
        if field is None or field.value.style != "plain" or _KEEPS.match(field.value.text):
            continue
        value = field.value
        resolved = value.resolved
        if isinstance(resolved, int | float) and str(resolved) != value.text:
            message = f"expected a version that keeps its digits, found {value.text}, which YAML reads as {resolved}"
            yield Finding(value.start, value.end, f"{message}; put it in quotes", _quoted(value))


@rule("S007", "date-not-iso", WARNING, fixable=True)
def date_not_iso(card: Card) -> Iterator[Finding]:
    """``update-time`` is not a date as ISO 8601 writes it: four digits, two, two.

    Why:
        YAML reads ``2023-02-17`` as a date and ``2023-2-17`` as text, so that cards do not sort by it.

    Bad:
        update-time: 2023-2-17

    Good:
        update-time: 2023-02-17
    """
    field = card.fields.get("update-time")
    if field is None or not field.value.text or field.value.style not in ("plain", "quoted"):
        return
    value = field.value
    try:
        if len(value.text) == len("2023-02-17") and value.text[4] == "-" and dt.date.fromisoformat(value.text):
            return
    except ValueError:
        pass
    fix, hint = None, ""
    if match := _DATE.fullmatch(value.text):
        try:
            day = dt.date(int(match[1]), int(match[3]), int(match[4])).isoformat()
        except ValueError:
            hint = ", a day that no calendar has"
        else:
            at = value.start + (value.style == "quoted")
            fix = replace(at, at + len(value.text), day)
    yield Finding(value.start, value.end, f"expected a date such as 2023-02-17, found {quote(value.text)}{hint}", fix)


@rule("S008", "licence-not-spdx", WARNING, fixable=True)
def licence_not_spdx(card: Card) -> Iterator[Finding]:
    """``license`` is not an SPDX expression: an identifier of the SPDX list, or several with AND, OR and WITH.

    Spellings that mean one licence and no other can be fixed. A licence that is not listed is written
    ``LicenseRef-<name>``.

    Why:
        Tools that check what may be used together read identifiers, and not "Apache 2.0" in its many spellings.

    Bad:
        license: Apache2.0

    Good:
        license: Apache-2.0
    """
    field = card.fields.get("license")
    if field is None or not field.value.text or field.value.style not in ("plain", "quoted"):
        return
    value = field.value
    right = _canonical(value.text)
    if right == value.text:
        return
    if right is None:
        right = _LICENCES.get(re.sub(r"[\s,._()\-]+|^the", "", value.text.lower()))
    at = value.start + (value.style == "quoted")
    hint = f"; it is '{right}'" if right else ", or LicenseRef-<name> for one that is not listed"
    message = f"expected an SPDX licence identifier, found {quote(value.text)}{hint}"
    yield Finding(value.start, value.end, message, replace(at, at + len(value.text), right) if right else None)


@cache
def _canonical(text: str) -> str | None:
    from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

    if len(text) > _LONGEST_LICENCE:
        return None
    try:
        return str(canonicalize_license_expression(text))
    except InvalidLicenseExpression:
        return None


@rule("S009", "colon-in-value", ERROR)
def colon_in_value(card: Card) -> Iterator[Finding]:
    """A value other than ``repo-link``, ``asset`` and ``evaluation`` holds a colon.

    Why:
        The hub's validator rejects the card.

    Bad:
        summary: XCiT, a transformer: attention over channels

    Good:
        summary: XCiT, a transformer with attention over channels
    """
    for field in card.front.fields:
        value = field.value
        if ":" not in value.text or field.name in _MAY_HOLD_COLON:
            continue
        at = card.text.find(":", value.start, value.end)
        if at >= 0:
            yield Finding(at, at + 1, f"expected no ':' in the value of {quote(field.key)}, found one")
