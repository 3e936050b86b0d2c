"""The front matter, read as far as it can be.

That of nearly all cards is a small part of YAML: ``key: value`` lines, blank lines, and one list of entries. That part
is read here, line by line, because PyYAML would take most of the time that a collection takes. What goes beyond it is
given to PyYAML's C parser: when that accepts it, its events are the reading; when it refuses, the place and the reason
are told, and the line-based reading stands, so that the rules go on.
"""

import re
from collections.abc import Iterator
from contextlib import suppress
from typing import NamedTuple

from hubpkg.lint.values import KEYS, NAMES, Field, Value, resolve

# Indent, bullet, key with the space after it, colon, gap, value; of a line without the space at its end.
_PAIR = re.compile(r"([ \t]*+)(-[ \t]++)?([^\s:：#\-'\"\[{&*!|>%@`][^:：]*+)([:：])(\s*+)(.*)", re.DOTALL)
_WORD = re.compile(r"[^\W\d_][\w \-]*\Z")
_DASH = re.compile(r"( *)-[ \t]*$")
_SIMPLE_LIST = re.compile(r"\[[\w. ]+(?:, ?[\w. ]+)*\]$")
_PLAIN = bytes((10, 13, *range(32, 127)))  # characters that YAML gives no meaning beyond the line's form
_CLOSING = {'"': '"', "'": "'", "[": "]", "{": "}"}
_NOT_A_DOCUMENT = "did not find expected <document start>"
# What YAML says of a line because the one before it was read as the beginning of its key.
_AFTER_A_LINE = frozenset(("mapping values are not allowed in this context", "did not find expected key"))
_INDICATORS = frozenset("-?:,[]{}#&*!|>'\"%@`")


class YamlError(NamedTuple):
    """Why YAML gives no mapping, and the offset of the place."""

    offset: int
    message: str


def read(text: str, start: int, end: int) -> tuple[list[Field], YamlError | None]:
    """The fields between two offsets of ``text``, and why YAML does not read them as a mapping, if it does not."""
    fields, simple = _Reader().read(text, start, end)
    source = text[start:end]
    if simple and fields and source.isascii() and not source.encode().translate(None, _PLAIN):
        return fields, None
    if not source.strip():
        return fields, None
    from hubpkg.lint import events  # most cards do without PyYAML

    try:
        return events.read(source, start), None
    except events.RefusedError as error:
        refused = _culprit(text, start, fields, YamlError(start + error.offset, error.message))
    dashes = {field.value.start for field in fields if field.value.text == "-" and field.value.style == "plain"}
    if not dashes:
        return fields, refused
    # 'evaluation: -' is frequent, and the rest of such a card is YAML: read it with another character there.
    source = "".join("x" if start + at in dashes else character for at, character in enumerate(source))
    with suppress(events.RefusedError):
        fields = events.read(source, start)
        for value in (field.value for field in fields):
            value.text = "-" if value.start in dashes else value.text
    return fields, refused


def _culprit(text: str, start: int, fields: list[Field], error: YamlError) -> YamlError:
    """The error where people made it, which may be some lines before the place at which YAML gives up."""
    entries = (entry for field in fields for entry in (field.value, *field.value.items))
    inner = [field.value for entry in entries for field in entry.fields]
    for value in sorted((*(field.value for field in fields), *inner), key=lambda value: value.start):
        if value.start <= error.offset and (opening := _left_open(value)):
            return YamlError(value.start, f"{opening} that is not closed")
    begin = max(text.rfind("\n", start, error.offset), text.rfind("\r", start, error.offset), start - 1) + 1
    before = [(at, line) for at, line in _lines(text[start:begin]) if line.strip() and line.lstrip()[0] != "#"]
    if not before:
        return error
    if error.message == _NOT_A_DOCUMENT:
        first, line = before[0]
        return YamlError(start + first + len(line) - len(line.lstrip()), "an indent that the next keys have not")
    at, line = before[-1]
    is_first = ": " not in text[begin : error.offset]
    pair = _PAIR.match(line)
    no_pair = (pair is None or pair[4] != ":") and not _DASH.match(line)
    if error.message in _AFTER_A_LINE and is_first and no_pair:
        return YamlError(start + at + len(line) - len(line.lstrip()), "a line that is no 'key: value'")
    return error


def _left_open(value: Value) -> str:
    """The quote or bracket that a value begins with and does not close, in words."""
    first = value.text[:1]
    if value.style != "plain" or first not in _CLOSING:
        return ""
    if first in "[{":
        return f"a bracket '{first}'" if value.text.count(first) > value.text.count(_CLOSING[first]) else ""
    rest = value.text[1:].replace("\\\\", "").replace('\\"', "") if first == '"' else value.text[1:].replace("''", "")
    return f"a quote {first}" if first not in rest else ""


def key_of(line: str) -> str | None:
    """The hub's English name of the key in ``line``, or None if it holds no such key."""
    match = _PAIR.match(line)
    key = match[3].rstrip() if match is not None else ""
    return key if key in NAMES else KEYS.get(key)


def _lines(text: str) -> Iterator[tuple[int, str]]:
    """The lines that are not empty, with their offsets."""
    at = 0
    for line in text.replace("\r", "\n").split("\n"):
        if line:
            yield at, line
        at += len(line) + 1


def _is_plain(raw: str) -> bool:
    """Whether a value is surely text on one line to YAML, or a number or the like, and has no space around it."""
    return (
        raw[0] not in _INDICATORS
        and raw[0] > " "
        and raw[-1] > " "
        and raw[-1] != ":"
        and ": " not in raw
        and "#" not in raw
    )


class _Reader:
    """Reads lines as fields as far as they can be, and knows whether YAML surely reads them so.

    A line that is no ``key: value``, list dash, comment or blank belongs to the value before it.
    """

    def __init__(self) -> None:
        self.fields: list[Field] = []
        self.simple = True
        self.parent: Field | None = None  # the top-level key that the lines below it belong to
        self.entry: Value | None = None  # the list's entry that they belong to
        self.own: list[Field] = []  # that entry's fields
        self.dash = -1  # where the list's dashes stand
        self.column = -1  # where the entry's keys stand

    def read(self, text: str, start: int, end: int) -> tuple[list[Field], bool]:
        """Read the lines from ``start`` to ``end``."""
        for at, line in _lines(text[start:end]):
            key, _, raw = line.partition(": ")
            # The usual line needs no regular expression.
            if raw and (name := key.lstrip(" ")) in NAMES and _is_plain(raw):
                column, stop = len(key) - len(name), start + at + len(line)
                place = start + at + column
                found = Field(name, name, place, place + len(name), Value(stop - len(raw), stop, raw))
                if self._put_usual(found, column):
                    continue
            if not line.isspace():
                self._read_line(line, start + at)
        for found in self.fields:
            value = found.value
            if value.items:
                if text[value.start : value.start + 1] != "[":
                    value.start, value.end = value.items[0].start, value.items[-1].end
                self.simple = self.simple and (
                    value.text != "" or all(item.style != "mapping" or item.fields for item in value.items)
                )
            elif value.style == "mapping" and value.fields:
                value.start, value.end = value.fields[0].start, value.fields[-1].value.end
        return self.fields, self.simple

    def _put_usual(self, found: Field, column: int) -> bool:
        """Put a field where it stands as nearly all do; say if it does."""
        if not column:
            self.parent = found
            self.fields.append(found)
            self.entry, self.dash, self.column = None, -1, -1
        elif self.entry is None or (column != self.column if self.column >= 0 else column <= self.dash):
            return False
        else:
            self.column = column
            self.own.append(found)
            self.entry.end = found.value.end
        return True

    def _read_line(self, line: str, start: int) -> None:
        match = _PAIR.match(line.rstrip())
        if match is None:
            self._read_other(line, start)
            return
        indent, bullet, key, colon, gap, raw = match.groups()
        key = key.rstrip()
        at = match.start(3)
        name = key if key in NAMES else KEYS.get(key)
        if name is None and (colon != ":" or (raw and not gap)):
            self._read_other(line, start)  # text with a colon in it, such as a URL on a line of its own
            return
        spaced = colon == ":" and (not raw or (bool(gap) and gap.isascii())) and "\t" not in line[:at]
        self.simple = (
            self.simple and spaced and (key in NAMES or (_WORD.match(key) is not None and resolve(key) == key))
        )
        if not raw:
            value = Value(start + match.end(4), start + match.end(4))
        elif raw[0] in _INDICATORS or ": " in raw or " #" in raw or raw[-1] == ":" or "\t" in raw:
            value, plain = _special(raw, start + match.start(6))
            self.simple = self.simple and plain
        else:
            value = Value(start + match.start(6), start + match.end(6), raw)
        found = Field(key, name or key, start + at, start + at + len(key), value)
        if bullet is not None:
            self._open_entry(start, len(indent))
            self._put(found, at)
        elif at and self.parent is not None and (self.entry is not None or not self.parent.value.text):
            self._put(found, at)
        else:
            self.simple = self.simple and not at
            self.fields.append(found)
            self.parent, self.entry, self.dash, self.column = found, None, -1, -1

    def _read_other(self, line: str, start: int) -> None:
        if bare := _DASH.match(line):
            self._open_entry(start, len(bare[1]))
            return
        self.simple = False
        shown = line.strip()
        if shown[0] == "#" or self.parent is None:
            return
        inner = self.entry is not None and bool(self.own)
        if len(line) - len(line.lstrip()) <= (self.column if inner else 0):
            return  # YAML takes it for no part of the value before it
        value = self.own[-1].value if inner else self.parent.value
        if value.style in ("plain", "block"):
            value.text = f"{value.text} {shown}".lstrip()
        at = start + line.find(shown)
        value.start = at if value.start == value.end else value.start
        value.end = max(value.end, at + len(shown))

    def _open_entry(self, start: int, dash: int) -> None:
        """A dash: a new entry of the list that belongs to the last top-level key."""
        if self.parent is None:
            self.simple = False
            self.parent = Field("", "", start, start, Value(start, start))
        value = self.parent.value
        if value.text or value.style not in ("plain", "list") or self.dash not in (-1, dash):
            self.simple = False
        self.dash, self.column = dash, -1
        self.own = []
        self.entry = Value(start + dash, start + dash + 1, style="mapping", fields=self.own)
        if value.style != "list":
            value.style, value.items = "list", []
            self.simple = self.simple and not value.text
        value.items.append(self.entry)

    def _put(self, found: Field, column: int) -> None:
        """A key of an entry, in that column."""
        if self.entry is None:  # a mapping where a list is usual
            self.simple = False
            value = self.parent.value if self.parent is not None else found.value
            self.own = []
            self.entry, value.style, value.fields = value, "mapping", self.own
        if self.column < 0:
            self.column = column
            self.simple = self.simple and column > self.dash
        elif column != self.column:
            self.simple = False
        self.own.append(found)
        self.entry.end = found.value.end


def _special(raw: str, start: int) -> tuple[Value, bool]:
    """A value that starts with, or holds, what YAML gives a meaning; and if YAML surely reads it so."""
    first = raw[0]
    if first == "[" and _SIMPLE_LIST.match(raw):
        items = [
            Value(start + m.start(), start + m.end(), m[0])
            for m in re.finditer(r"[^\s,\[\]](?:[^,\[\]]*[^\s,\[\]])?", raw)
        ]
        return Value(start, start + len(raw), style="list", items=items), True
    if (
        first in "'\""
        and (end := raw.find(first, 1)) > 0
        and (len(raw) == end + 1 or raw[end + 1 :].lstrip()[:1] == "#")
    ):
        # Escapes and doubled quotes are PyYAML's to read.
        return Value(start, start + end + 1, raw[1:end], "quoted"), len(raw) == end + 1 and "\\" not in raw
    if " #" in raw:
        raw = raw[: raw.index(" #")].rstrip()
        return Value(start, start + len(raw), raw), False
    if first in "|>" and raw[1:].strip("+-0123456789 ") == "":
        return Value(start, start + len(raw), "", "block"), False
    return Value(start, start + len(raw), raw), False
