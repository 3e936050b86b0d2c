"""Rules of the family hub: what MindSpore Hub's own validator, and so its client, rejects a card for.

They are run with ``--target hub`` alone, together with ``dataset-unlisted``, and were written from what the validator
was seen to do (mindspore-ai/hub, revision 29e408b). A card has no finding exactly when the validator accepts it, but
for the validator's bugs that docs/lint-hub.md lists. Links are not requested.
"""

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from hubpkg.lint import blocks, front, naming
from hubpkg.lint.asset import FORMATS
from hubpkg.lint.rules import ERROR, Finding, quote, rule
from hubpkg.lint.source import Card
from hubpkg.lint.values import Value

_REQUIRED = (
    *("backbone-name", "module-type", "fine-tunable", "model-version", "author", "update-time", "repo-link", "user-id"),
    *("used-for", "mindspore-version", "license", "summary"),
)
_MODULE_TYPES = ("gnn", "rl", "audio", "cv", "cvtmodel", "nlp", "recommend", "cross", "hpc", "mm", "other")
_USES = ("inference", "extract-feature", "transfer-learning")
_ASSET_FIELDS = ("asset-link", "asset-sha256", "file-format")
_MAY_HOLD_A_COLON = ("repo-link", "asset", "evaluation")
_DELIMITERS = 2
_LONGEST_READ_SLOWLY = 1 << 16  # characters
_CALENDAR = re.compile(
    r"\d{4}-\d\d-\d\d|\d{4}-\d\d?-\d\d?(?:[Tt]|[ \t]+)\d\d?:\d\d:\d\d(?:\.\d*)?(?:[ \t]*(?:Z|[-+]\d\d?(?::\d\d)?))?"
)
_ALIAS = re.compile(r"(?:^|[\s:,\[{])\*[^\s,\[\]{}]")
_SCHEME_AND_HOST = re.compile(r"https?://[\w.%\-]+")
_SCHEME = re.compile(r"[^/:]+:")
_TREE_AT = 2  # of a link's parts: owner, repository, "tree" or "blob", branch, folder
_PARTS = (2, 4, 5)  # how many the validator takes
_UNDERLINE = re.compile(r"[ \t>]*[=\-]+[ \t]*")
# A line that YAML reads as the card's parser does: no quotes, tags, anchors, lists in brackets, comments or block text.
_VALUE = r"(?:<?https?:[^\t\n:# ]*|[A-Za-z0-9(][^\t\n\r:#]*+)"
_USUAL = re.compile(
    rf"(?:[a-z][a-z\-]*+: *+(?<= ){_VALUE}|[a-z][a-z\-]*+: *+|- *+|(?:- ++| ++)[a-z][a-z0-9\-]*+: ++{_VALUE}|) *+\r?"
)


def _is_chinese(card: Card) -> bool:
    return card.path.endswith("_cn.md")


@lru_cache(maxsize=1)
def _header(card: Card) -> dict[Any, Any] | str:
    """The front matter as the validator reads it, or why it can't."""
    if len(card.delimiters) != _DELIMITERS:
        return "delimiters"
    read = card.text[card.front.start : card.front.end].replace("\r\n", "\n").replace("\r", "\n")
    # It reads 'evaluation: -' as 'evaluation: no', and changes each other dash of that line with it.
    lines = [line.replace("-", "no") if "evaluation: -" in line else line for line in read.split("\n")]
    source = "\n".join(lines)
    fields, error = card.front.fields, card.yaml_error
    if source != read:
        fields, error = front.read(source, 0, len(source))
    if error is None and all(map(_USUAL.fullmatch, lines)) and _only_assets_are_indented(lines):
        return {field.key: field.value.resolved for field in fields}
    import yaml

    try:
        # The validator's parser is PyYAML's own, which refuses some of what the C parser takes, and takes seconds for a
        # text that is no card's. Aliases could grow a small text without bound.
        if "&" in source and _ALIAS.search(source):
            return "an alias"
        loader = yaml.SafeLoader if len(source) <= _LONGEST_READ_SLOWLY else yaml.CSafeLoader
        loaded = yaml.load(source, loader)  # noqa: S506 - both are safe ones
    except (yaml.YAMLError, ValueError, RecursionError, OverflowError, TypeError) as error:
        return str(error).partition("\n")[0]
    return loaded if isinstance(loaded, dict) else "no mapping"


def _only_assets_are_indented(lines: Sequence[str]) -> bool:
    inside = False
    for line in lines:
        if line[:1] == " " and line.strip():
            if not inside:
                return False
        elif line[:1].isalpha():
            inside = line.rstrip() == "asset:"
    return True


def _fields(card: Card) -> dict[Any, Any]:
    header = _header(card)
    return header if isinstance(header, dict) and not _is_chinese(card) else {}


def _span(card: Card, name: str) -> tuple[int, int]:
    field = next((field for field in reversed(card.front.fields) if field.key == name), None)
    if field is None:
        return card.front.start, card.front.start
    value = field.value
    return (value.start, value.end) if value.end > value.start else (field.start, field.end)


@rule("H001", "hub-front-matter", ERROR, targets=("hub",))
def hub_front_matter(card: Card) -> Iterator[Finding]:
    """There are not exactly two lines that begin with ``---``, or YAML reads no mapping between them.

    Why:
        The validator counts such lines over the whole file, tables and rules of the body included.

    Bad:
        a front matter between two lines ---, and a table whose line begins with --- in the body

    Good:
        | --- | in the table, and *** for a rule
    """
    if _is_chinese(card):
        return
    header = _header(card)
    if header == "delimiters":
        start = card.delimiters[_DELIMITERS] if len(card.delimiters) > _DELIMITERS else 0
        yield Finding(start, start, f"expected two lines that begin with ---, found {len(card.delimiters)}")
    elif isinstance(header, str):
        start = card.yaml_error.offset if card.yaml_error is not None else card.front.start
        yield Finding(start, start, f"expected a front matter that YAML reads, found: {header}")
    elif not header:
        yield Finding(card.front.start, card.front.end, "expected a front matter, found an empty one")


@rule("H002", "hub-missing-field", ERROR, targets=("hub",))
def hub_missing_field(card: Card) -> Iterator[Finding]:
    """A key that the validator requires is missing. It does not ask for ``model-name``, without which loading fails.

    Why:
        The validator rejects the card.

    Bad:
        a front matter without license

    Good:
        license: Apache-2.0
    """
    fields = _fields(card)
    if fields:
        for name in _REQUIRED:
            if name not in fields:
                yield Finding(card.front.start, card.front.start, f"expected the key {name}, found it missing")


@rule("H003", "hub-value", ERROR, targets=("hub",))
def hub_value(card: Card) -> Iterator[Finding]:
    """A value is not one that the validator takes.

    Why:
        The validator rejects the card, or stops at it.

    Bad:
        fine-tunable: maybe
        used-for: classification

    Good:
        fine-tunable: True
        used-for: inference
    """
    fields = _fields(card)
    for name, expected in _values(fields):
        yield Finding(*_span(card, name), f"expected {expected} in {name}, found {quote(str(fields[name]))}")
    if fields:
        asset_fields = (field for entry in card.assets for field in entry.fields)
        for field in (*card.front.fields, *asset_fields):
            if _is_refused_date(field.value):
                yield Finding(field.value.start, field.value.end, "expected a date of the calendar")


def _is_refused_date(value: Value) -> bool:
    # The parser leaves a date such as 2023-02-30 as text; the validator's YAML stops at it.
    text = value.text if value.style == "plain" else ""
    return text[:1].isdigit() and bool(_CALENDAR.fullmatch(text)) and isinstance(value.resolved, str)


def _values(fields: dict[Any, Any]) -> Iterator[tuple[str, str]]:
    """The fields whose values are not taken, and what is."""
    kind = fields.get("module-type", "cv")
    if not isinstance(kind, str) or kind.partition("-")[0].lower() not in _MODULE_TYPES:
        yield "module-type", f"one of {', '.join(_MODULE_TYPES)}"
    if not isinstance(fields.get("fine-tunable", True), bool):
        yield "fine-tunable", "True or False"
    uses = fields.get("used-for", "inference")
    if not isinstance(uses, str) or not {use.lower() for use in uses.split("/")} <= set(_USES):
        yield "used-for", f"{', '.join(_USES)}, joined by '/'"
    dataset = fields.get("train-dataset")
    if dataset and not isinstance(dataset, str):
        yield "train-dataset", "text"
    if fields.get("featured-image", "no-image") != "no-image":
        yield "featured-image", "no-image, or a file in the hub's images folder,"
    if not isinstance(fields.get("accuracy", 0), int | float):
        yield "accuracy", "a number"
    if not isinstance(fields.get("allow-cache-ckpt", True), bool):
        yield "allow-cache-ckpt", "True or False"


@rule("H004", "hub-colon", ERROR, targets=("hub",))
def hub_colon(card: Card) -> Iterator[Finding]:
    """A value holds a colon. Only those of repo-link, asset and evaluation may.

    Why:
        The validator rejects the card.

    Bad:
        summary: 'XCiT: a network'

    Good:
        summary: XCiT, a network
    """
    for name, value in _fields(card).items():
        if name not in _MAY_HOLD_A_COLON and ":" in str(value):
            yield Finding(*_span(card, name), f"expected no ':' in {name}, found {quote(str(value))}")


@rule("H005", "hub-repo-link", ERROR, targets=("hub",))
def hub_repo_link(card: Card) -> Iterator[Finding]:
    """``repo-link`` can't be taken apart by the validator.

    Why:
        The validator rejects the card. It takes more than its client can load from; ``repo-link-shape`` says what
        that is.

    Bad:
        repo-link: <https://example.org/publisher/models>

    Good:
        repo-link: <https://github.com/publisher/models/tree/v1.0/resnet>
    """
    fields = _fields(card)
    link = fields.get("repo-link")
    if link is None or (isinstance(link, str) and _is_taken(link.strip("<>").rstrip("/"))):
        return
    yield Finding(
        *_span(card, "repo-link"),
        f"expected https://<host>.com/<owner>/<repo>/tree/<branch>/<folder>, found {quote(str(link))}",
    )


def _is_url(link: str) -> bool:
    if not _SCHEME.match(link.partition("#")[0]):
        return False
    try:
        urlsplit(link)
    except ValueError:  # such as an open bracket, or a host with characters that are no host's
        return False
    return True


def _is_taken(link: str) -> bool:
    if not _is_url(link):
        return False
    hosts = _SCHEME_AND_HOST.findall(link)
    if len(hosts) != 1 or not re.search(r"https?://.*.com", link):
        return False
    parts = link[len(hosts[0]) :].lstrip("/").split("/", 4)
    return len(parts) in _PARTS and (len(parts) == _TREE_AT or parts[_TREE_AT] in ("tree", "blob"))


@rule("H006", "hub-asset", ERROR, targets=("hub",))
def hub_asset(card: Card) -> Iterator[Finding]:
    """An asset lacks a key, or its format is not one that the validator knows.

    Why:
        The validator rejects the card. It looks at no digest.

    Bad:
        - file-format: pth
          asset-link: <https://example.com/tiny.pth>

    Good:
        - file-format: ckpt
          asset-link: <https://example.com/tiny-92c14388.ckpt>
          asset-sha256: 92c14388fdf4ea90811de5031652b2e58570a5abf7c3653b0e958fb0e30f3546
    """
    assets = _fields(card).get("asset")
    if not assets:
        return
    start, end = _span(card, "asset")
    if not isinstance(assets, list) or not all(isinstance(entry, dict) for entry in assets):
        yield Finding(start, end, "expected a list of assets, each with its keys")
        return
    for number, entry in enumerate(assets):
        if number < len(card.assets):
            start, end = card.assets[number].start, card.assets[number].end
        for name in _ASSET_FIELDS:
            if name not in entry:
                yield Finding(start, end, f"expected the key {name} in this asset, found it missing")
        link, form = entry.get("asset-link"), entry.get("file-format", "ckpt")
        if link is not None and not (isinstance(link, str) and _is_url(link.strip("<>"))):
            yield Finding(start, end, f"expected a link, found {quote(str(link))}")
        if not isinstance(form, str) or form.lower() not in FORMATS:
            yield Finding(start, end, f"expected one of {', '.join(FORMATS)}, found {quote(str(form))}")


@rule("H007", "hub-heading", ERROR, targets=("hub",))
def hub_heading(card: Card) -> Iterator[Finding]:
    """A heading ends in a colon.

    Why:
        The validator stops there, and checks no further card.

    Bad:
        ## Usage:

    Good:
        ## Usage
    """
    if _is_chinese(card) or len(card.delimiters) != _DELIMITERS:
        return
    lines = card.lines
    colons = [number for number, line in enumerate(lines) if line.rstrip(" \t#").endswith(":")]
    if not any(
        "#" in lines[number] or _UNDERLINE.fullmatch("".join(lines[number + 1 : number + 2])) for number in colons
    ):
        return
    opening, closing = (card.position(at).line for at in card.delimiters)
    for number, text in blocks.headings([*lines[: opening - 1], *lines[closing:]]):
        if text.endswith(":"):
            index = number if number < opening - 1 else number + closing - opening + 1
            at = card.starts[index] + lines[index].rindex(":")
            yield Finding(at, at + 1, "expected a heading without a colon at its end")
            return  # as the validator does


@rule("H008", "hub-english-card", ERROR, targets=("hub",), collection=True)
def hub_english_card(cards: Sequence[Card]) -> Iterator[tuple[Card, Finding]]:
    """The English card in whose place a Chinese one stands is missing, or is rejected.

    Why:
        The validator reads ``tiny.md`` when it is given ``tiny_cn.md``: where there is none it stops, and checks no
        further card.

    Bad:
        tiny_cn.md alone

    Good:
        tiny.md and tiny_cn.md
    """
    english = {card.path: card for card in cards if not _is_chinese(card)}
    for card in cards:
        if not _is_chinese(card):
            continue
        twin = english.get(card.path.removesuffix("_cn.md") + ".md")
        end = len(card.lines[0]) if card.lines else 0
        if twin is None:
            yield card, Finding(0, end, f"expected an English card {card.name}.md in the same folder, found none")
        elif any(True for check in _CHECKS for _ in check(twin)):
            yield card, Finding(0, end, f"expected an English card that the hub takes, found {twin.path} with findings")


_CHECKS = (
    *(hub_front_matter, hub_missing_field, hub_value, hub_colon, hub_repo_link, hub_asset, hub_heading),
    naming.dataset_unlisted,
)
