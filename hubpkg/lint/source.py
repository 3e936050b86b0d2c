"""A card as its bytes say it: every value with its place, nothing changed, and read as far as it can be.

All places are offsets into ``Card.text``, in characters; ``Card.position`` gives line and column.
"""

import bisect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, pairwise
from typing import Any, Generic, NamedTuple, TypeVar

from hubpkg.lint import front
from hubpkg.lint.values import KEYS, Field, Value

LARGEST = 1 << 20  # bytes of a card that are read; the largest on the hub has 78,201

_NEAR = 1 << 14  # characters in which lines are counted each time that a place is asked for
_LINE = re.compile(r"\r\n?|\n")
_LONE_CR = re.compile(r"\r(?!\n)")
_BODY = re.compile(r"(?:^|(?<=\r))[^\s#]", re.MULTILINE)
_HEADING = re.compile(r"(?:^\ufeff?|(?<=\r))(#{1,6})[ \t]+([^\r\n]*?)[ \t]*(?=[\r\n]|\Z)", re.MULTILINE)
# These begin with the break before the line: searching for a character is far quicker than trying at each.
_FENCE_OR_HEADING = re.compile(
    r"\n(?=[ \t>#`~])(?:[ \t>]*(`{3,}|~{3,})([^\n]*)| {0,3}(#{1,6})(?:[ \t]+([^\n]*?))?[ \t]*(?=\n|\Z))"
)
_SETEXT = re.compile(r"[\n\r] {0,3}([^\s>#|`~+*\-<][^\r\n]*?)[ \t]*\r?\n {0,3}=+[ \t]*(?=[\r\n]|\Z)")
_CLOSING_HASHES = re.compile(r"(?:^|[ \t]+)#+$")
_SPAN = r"`(?<!``)(`{0,7}+)(?:(?!\n[ \t]*\n).)+?(?<!`)`\1(?!`)"
# '<!-->' is a whole comment to browsers. One that is not closed goes on to the end if it begins a line.
_COMMENT = r"<!--(?:-?>|.*?(?:--!?>|\Z))"
_SPAN_OR_COMMENT = {
    (True, True): re.compile(f"{_COMMENT}|{_SPAN}", re.DOTALL),
    (True, False): re.compile(_SPAN, re.DOTALL),
    (False, True): re.compile(_COMMENT, re.DOTALL),
}
_NOT_BREAK = re.compile(r"[^\r\n]+")
_SPACES_BUT_BREAKS = bytes(code if code in b"\r\n" else 32 for code in range(256))
# Nothing is tried twice: a line may be a megabyte of bars, of dashes or of spaces.
_TABLE = re.compile(
    r"^([^\n|]*+\|[^\n]*+)\n[ \t>]*+\|?+[ \t]*+:?+-++:?+[ \t]*+(?:\|[ \t]*+:?+-++:?+[ \t]*+)*+\|?+[ \t\r]*+$"
    r"((?:\n[^\n|]*+\|[^\n]*+)*+)",
    re.MULTILINE,
)
# An HTML table whose cells each stand for themselves; a card's are short.
_HTML_TABLE = re.compile(
    r"<table\b[^<>]*>(?P<rows>(?:(?!</?table\b|(?:row|col)span).){0,65536}?)</table>", re.IGNORECASE | re.DOTALL
)
_HTML_ROW = re.compile(r"<tr\b[^<>]*>(?P<row>.*?)(?=</tr>|<tr\b|\Z)", re.IGNORECASE | re.DOTALL)
_HTML_CELL = re.compile(r"<t[dh]\b[^<>]*>\s*+(?P<cell>.*?)(?=</?t[dhr]\b|\Z)", re.IGNORECASE | re.DOTALL)
_LINK = re.compile(
    r"(?<!\\)\[(?P<text>(?:[^\[\]\\]|\\.|!?\[[^\[\]]{0,500}\](?:\([^()\s]{0,1000}\))?){0,1000}+)\]"
    r"\([ \t]*(?:<(?P<angle>[^<>\n]*)>|(?P<url>[^\s()<>]*+(?:\([^\s()]*\)[^\s()<>]*+)*+))"
    r"(?:[ \t\r\n]+(?:\"[^\"]*\"|'[^']*'))?[ \t]*\)"
    r"|\[(?P<label>[^\[\]\r\n^][^\[\]\r\n]*)\]:[ \t]*<?(?P<defined>[^\s<>]+)>?"
)
_ANGLE = re.compile(
    r"<(?:(?P<auto>[a-zA-Z][a-zA-Z0-9+.\-]{1,31}:[^\s<>]*)>"
    r"|[a-zA-Z][^<>]*?\b(?P<attribute>href|src)[ \t]*=[ \t]*(?:\"(?P<double>[^\"\r\n]*)\"|'(?P<single>[^'\r\n]*)'))"
)
_BARE = re.compile(r"http(?:s?://[^\s<>|()\[\]\"'`，。；）]+)")


class Position(NamedTuple):
    """A place for people: line and column, both from 1, in characters."""

    line: int
    column: int


class Heading(NamedTuple):
    """A heading of the body: its level (1 to 6), its text without marks, and the span of that text."""

    level: int
    text: str
    start: int
    end: int


class Cell(NamedTuple):
    """A table's cell: its text without the space around it, and the span of that text."""

    text: str
    start: int
    end: int


class Table(NamedTuple):
    """A table of the body: its header's cells, and those of each row, as many as are written."""

    header: list[Cell]
    rows: list[list[Cell]]
    start: int


class Link(NamedTuple):
    """A link of the body outside code and comments.

    ``kind``: link, image, auto (``<https://...>``), href or src (HTML), definition (``[label]: url``), bare.
    ``start`` and ``end`` are the span of ``url``.
    """

    kind: str
    text: str
    url: str
    start: int
    end: int


class Fence(NamedTuple):
    """A fenced code block: its info string, and the span of its content; ``closed`` if its end is marked."""

    info: str
    start: int
    end: int
    closed: bool


_Value = TypeVar("_Value")


class _once(Generic[_Value]):  # noqa: N801 - it is used as a decorator
    """As ``functools.cached_property``, whose lock takes longer, up to Python 3.11, than what most of these find."""

    def __init__(self, function: Callable[[Any], _Value]) -> None:
        self.function = function
        self.name = function.__name__

    def __get__(self, card: Any, _owner: Any) -> _Value:
        value = card.__dict__[self.name] = self.function(card)
        return value


class Card:
    """A card's text and all that is read in it; the costly parts when first asked for.

    ``str(card.text).encode("utf-8", "surrogateescape")`` gives the file's bytes again, whatever they are.

    Attributes:
        path: what findings call the card; ``-`` for standard input.
        text: the whole file, line ends as they are; bytes that are not UTF-8 as lone surrogates (PEP 383).
        is_utf8: all bytes were UTF-8.
        truncated: the file has more than ``LARGEST`` bytes, and nothing of it is read.
        delimiters: the offsets of all lines that start with ``---``, as the hub counts them.
        front: the front matter as one mapping ``Value``: ``front.fields``, ``front.get(name)``. Its span is what lies
            between the delimiters.
        body_start: offset of the body, after the front matter's closing line.
        yaml_error: why YAML does not read the front matter as a mapping, or None.
    """

    def __init__(self, path: str, data: bytes) -> None:
        self.path = path
        self.truncated = len(data) > LARGEST
        self.is_utf8 = True
        try:
            self.text = "" if self.truncated else data.decode()
        except UnicodeDecodeError:
            self.is_utf8 = False
            self.text = data.decode("utf-8", "surrogateescape")
        self.delimiters = _delimiters(self.text)
        start, end, self.body_start = self._find_front()
        fields, self.yaml_error = front.read(self.text, start, end)
        self.front = Value(start, end, style="mapping", fields=fields)

    @property
    def data(self) -> bytes:
        """The file's bytes."""
        return encode(self.text)

    def _find_front(self) -> tuple[int, int, int]:
        """Offsets of the front matter's start and end, and of the body's start."""
        text, rules = self.text, self.delimiters
        if len(rules) > 1:
            return _next_line(text, rules[0]), rules[1], _next_line(text, rules[1])
        body = _BODY.search(text)
        first = body.start() if body is not None else len(text)
        if rules:
            # The one line either closes a front matter, or opens one that ends at the first heading.
            if any(front.key_of(line) for line in _LINE.split(text[first : rules[0]])):
                return first, rules[0], _next_line(text, rules[0])
            first = _next_line(text, rules[0])
        elif front.key_of(_LINE.split(text[first:], 1)[0]) is None:
            return 0, 0, 0
        heading = _HEADING.search(text, first)
        end = heading.start() if heading is not None else len(text)
        return first, end, end

    @_once
    def lines(self) -> list[str]:
        """The lines, without their breaks."""
        lines = _LINE.split(self.text) if "\r" in self.text else self.text.split("\n")
        return lines if lines[-1] else lines[:-1]

    @_once
    def starts(self) -> list[int]:
        """The offset of each line, and the text's length."""
        if "\r" in self.text:
            starts = [0, *(match.end() for match in _LINE.finditer(self.text))]
        else:
            starts = [at + index for index, at in enumerate(accumulate(map(len, self.lines), initial=0))]
        starts[len(self.lines) :] = [len(self.text)]
        return starts

    def position(self, offset: int) -> Position:
        """Line and column of the character at ``offset``."""
        text = self.text
        if offset < min(_NEAR, len(text)) and "\r" not in text:  # nearly always; to find all lines takes longer
            return Position(text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))
        line = bisect.bisect_right(self.starts, offset, 0, len(self.lines)) - 1
        return Position(max(line, 0) + 1, offset - self.starts[max(line, 0)] + 1)

    def line_end(self, offset: int) -> int:
        """The offset of the break that ends the line with the character at ``offset``, or of the text's end."""
        match = _LINE.search(self.text, offset)
        return match.start() if match is not None else len(self.text)

    def line_before(self, offset: int) -> str:
        """The line before that which begins at ``offset``, without its break; of the first one, ``""``."""
        index = bisect.bisect_left(self.starts, offset)
        return self.lines[index - 1] if index else ""

    @_once
    def fields(self) -> dict[str, Field]:
        """The front matter's fields by their English names; of several, the last, as YAML has it."""
        return {field.name: field for field in self.front.fields}

    def get(self, name: str) -> Field | None:
        """The front matter's field of that name."""
        return self.fields.get(name)

    def text_of(self, name: str) -> str:
        """The text of the scalar with that name, or ``""``."""
        found = self.fields.get(name)
        return found.value.text if found is not None else ""

    @_once
    def assets(self) -> list[Value]:
        """The entries of ``asset`` that are mappings: ``entry.get("asset-sha256")``, ``entry.start``."""
        found = self.fields.get("asset")
        if found is None:
            return []
        if found.value.style == "mapping":  # one entry, written without its dash
            return [found.value]
        return [item for item in found.value.items if item.style == "mapping"]

    @_once
    def name(self) -> str:
        """The file's name without ``.md``, and without ``_cn``: that of the English card."""
        return self.path.rpartition("/")[2].removesuffix(".md").removesuffix("_cn")

    @_once
    def chinese(self) -> bool:
        """It is the Chinese card of a pair: named ``*_cn.md``, or with Chinese keys."""
        return self.path.endswith("_cn.md") or any(field.key in KEYS for field in self.front.fields[:3])

    @_once
    def title(self) -> Heading | None:
        """The heading before the front matter."""
        match = _HEADING.search(self.text, 0, self.front.start)
        return Heading(len(match[1]), match[2], match.start(2), match.end(2)) if match is not None else None

    @_once
    def _blocks(self) -> tuple[list[Heading], list[Fence]]:
        headings: list[Heading] = []
        fences: list[Fence] = []
        fence: tuple[str, str, int] | None = None  # its mark, its info string, its content's start
        # The pattern begins with the break before the line, which the first line has not.
        text, shift = (self.text, 0) if self.body_start else (f"\n{self.text}", 1)
        if "\r" in text:
            text = text.replace("\r", "\n")
        for match in _FENCE_OR_HEADING.finditer(text, max(self.body_start - 1, 0)):
            mark = match[1]
            if mark:
                if fence is None:
                    if mark[0] != "`" or "`" not in match[2]:
                        fence = (mark, match[2].strip(), _next_line(self.text, match.end() - shift))
                elif mark[0] == fence[0][0] and len(mark) >= len(fence[0]) and not match[2].strip():
                    fences.append(Fence(fence[1], fence[2], max(fence[2], match.start() - shift), closed=True))
                    fence = None
            elif fence is None:
                shown = match[4] or ""
                if shown[-1:] == "#":
                    shown = _CLOSING_HASHES.sub("", shown)
                start = match.start(4) if match[4] is not None else match.end(3)
                start -= shift
                headings.append(Heading(len(match[3]), shown, start, start + len(shown)))
        if fence is not None:
            fences.append(Fence(fence[1], fence[2], len(self.text), closed=False))
        return headings, fences

    @property
    def fences(self) -> list[Fence]:
        """The body's fenced code blocks."""
        return self._blocks[1]

    @_once
    def headings(self) -> list[Heading]:
        """The body's headings."""
        headings = self._blocks[0]
        if "\n=" in self.text:
            underlined = (Heading(1, m[1], m.start(1), m.end(1)) for m in _SETEXT.finditer(self.prose, self.body_start))
            headings = sorted([*headings, *underlined], key=lambda heading: heading.start)
        return headings

    @_once
    def prose(self) -> str:
        """The text with all characters of code, comments and what stands before the body made spaces; offsets hold.

        A line that ends in CR alone ends in LF here.
        """
        at = self.body_start
        parts = [" " * (at - 1), "\n"] if at else []
        for fence in self.fences:
            parts += [self.text[at : fence.start], _blanked(self.text[fence.start : fence.end])]
            at = fence.end
        parts.append(self.text[at:])
        prose = "".join(parts)
        if "\r" in prose:
            prose = _LONE_CR.sub("\n", prose)
        pattern = _SPAN_OR_COMMENT.get(("`" in prose, "<!--" in prose))
        return prose if pattern is None else pattern.sub(_blank, prose)

    @_once
    def tables(self) -> list[Table]:
        """The body's tables."""
        text = self.text
        html = list(_html_tables(self.prose, self.body_start)) if "<table" in text or "<TABLE" in text else []
        if "-|" not in text and "- |" not in text and ":|" not in text and ": |" not in text:
            return html
        return html + [
            Table(
                _cells(text, match.start(1), match.end(1)),
                [_cells(text, a + 1, b) for a, b in _line_spans(self.prose, match.start(2), match.end(2))],
                match.start(1),
            )
            for match in _TABLE.finditer(self.prose, self.body_start)
        ]

    @_once
    def links(self) -> list[Link]:
        """The body's links, in order, those in link texts (images) included."""
        text, start = self.text, self.body_start
        if all(text.find(mark, start) < 0 for mark in ("http", "](", "<", "]:")):
            return []
        links = _links(self.prose, self.body_start, len(self.prose))
        return sorted([*links, *_bare_links(self.prose, self.body_start, links)], key=lambda link: link.start)


def encode(text: str) -> bytes:
    """The bytes that ``Card`` read as ``text``."""
    return text.encode("utf-8", "surrogateescape")


def _delimiters(text: str) -> list[int]:
    if "\r" in text:
        return [match.start() for match in re.finditer(r"(?:^|(?<=\r))---", text, re.MULTILINE)]
    found = [0] if text.startswith("---") else []
    at = text.find("\n---")
    while at >= 0:
        found.append(at + 1)
        at = text.find("\n---", at + 1)
    return found


def _next_line(text: str, offset: int) -> int:
    match = _LINE.search(text, offset)
    return match.end() if match is not None else len(text)


def _spaces(match: re.Match[str]) -> str:
    return " " * len(match[0])


def _blank(match: re.Match[str]) -> str:
    if match[0].startswith("<!--") and not match[0].endswith(">"):
        before = match.string[match.string.rfind("\n", 0, match.start()) + 1 : match.start()]
        if before.strip(" "):
            return match[0]
    return _blanked(match[0])


def _blanked(text: str) -> str:
    if text.isascii():  # as nearly all code is; much quicker
        return text.encode().translate(_SPACES_BUT_BREAKS).decode()
    return _NOT_BREAK.sub(_spaces, text)


def _line_spans(text: str, start: int, end: int) -> Iterable[tuple[int, int]]:
    """Of each line from ``start``, an offset of a line break, to ``end``: the offsets of the breaks around it."""
    breaks = [m.start() for m in re.finditer("\n", text[start:end])]
    return pairwise([*(start + at for at in breaks), end])


def _html_tables(prose: str, start: int) -> Iterator[Table]:
    for table in _HTML_TABLE.finditer(prose, start):
        rows = [
            [
                Cell(text := cell["cell"].rstrip(), cell.start("cell"), cell.start("cell") + len(text))
                for cell in _HTML_CELL.finditer(prose, *row.span("row"))
            ]
            for row in _HTML_ROW.finditer(prose, *table.span("rows"))
        ]
        if len(rows) > 1 and len({len(row) for row in rows}) == 1 and rows[0]:
            yield Table(rows[0], rows[1:], table.start())


def _cells(text: str, start: int, end: int) -> list[Cell]:
    row = text[start:end]
    shown = row.strip(" \t\r>")
    at = start + row.find(shown)
    if shown[:1] == "|":
        shown, at = shown[1:], at + 1
    if shown[-1:] == "|" and shown[-2:] != "\\|":
        shown = shown[:-1]
    if "\\|" in shown:
        pieces = [(m.start(), m[0]) for m in re.finditer(r"(?:^|(?<=\|))(?:[^|\\]|\\.?)*", shown)]
    else:
        pieces, offset = [], 0
        for piece in shown.split("|"):
            pieces.append((offset, piece))
            offset += len(piece) + 1
    cells = []
    for offset, piece in pieces:
        content = piece.strip()
        begin = at + offset + (piece.find(content) if content else 0)
        cells.append(Cell(content, begin, begin + len(content)))
    return cells


def _links(prose: str, start: int, end: int) -> list[Link]:
    links: list[Link] = []
    for match in _LINK.finditer(prose, start, end):
        if match["defined"] is not None:
            if not prose[prose.rfind("\n", 0, match.start()) + 1 : match.start()].strip():
                links.append(Link("definition", match["label"], match["defined"], *match.span("defined")))
            continue
        kind = "image" if prose[match.start() - 1] == "!" else "link"
        group = "angle" if match["angle"] is not None else "url"
        links.append(Link(kind, match["text"], match[group], *match.span(group)))
        if "](" in match["text"]:
            links += _links(prose, *match.span("text"))
    if "<" in prose:
        for match in _ANGLE.finditer(prose, start, end):
            group = "auto" if match["auto"] is not None else "double" if match["double"] is not None else "single"
            kind = match["attribute"] or "auto"
            links.append(Link(kind, "", match[group], *match.span(group)))
    return links


def _bare_links(prose: str, start: int, links: Sequence[Link]) -> Iterator[Link]:
    """URLs that stand in the text as they are, none of ``links`` around them."""
    taken = {link.start for link in links}
    for match in _BARE.finditer(prose, start):
        if match.start() not in taken:
            url = match[0].rstrip(".,;:!?*_")
            yield Link("bare", "", url, match.start(), match.start() + len(url))
