"""Which lines of a card the hub's validator takes for headings, by the blocks that its Markdown parser makes.

That parser is mistune 0.8.4, which is older than CommonMark and differs from it: a heading needs no space after its
marks, and ends a paragraph; a code block that is not closed is none; a list goes on until a blank line that no indented
line and no further item follows, and holds no headings but underlined ones.
"""

import re
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_TAB = 4  # columns, and the indent that makes code
_DEEPEST = 6  # lists in lists, quotes in quotes
_FARTHEST = 400  # lines in which the end of an HTML element or comment is looked for

_RULE = re.compile(r" {0,3}[-*_](?: *[-*_]){2,} *")
_FENCE = re.compile(r" *(`{3,}|~{3,}) *[^`\s]* *")
_HEADING = re.compile(r" *#{1,6} *([^ ].*)")
_UNDERLINE = re.compile(r" *[=-]+ *")
_QUOTE = re.compile(r" *>.+")
_ITEM = re.compile(r"( *)([*+-]?(?:\d+\.)?)(?<![ ]) .")
_BULLET = re.compile(r"( *)(?:[*+-]|\d+\.) +")
_DEFINITION = re.compile(r" *\[[^\^\]]+\]: *[^\s>]+.*|\[\^[^\]]+\]:.*")
_INLINE = (
    "a em strong small s cite q dfn abbr data time code var samp kbd sub sup i b u mark ruby rt rp bdi bdo span br wbr "
    "ins del img font"
)
_TAG = rf"(?!(?:{_INLINE.replace(' ', '|')})\b)\w+\b(?!:/|[^\w\s@]*@)"
_ELEMENT = re.compile(rf" *<(?:(?P<comment>!--)|(?P<tag>{_TAG})[^<>]*>)")
_OPENS_ELEMENT = re.compile(f"<{_TAG}")
_TABLE = re.compile(r" *\|.+")
_TABLE_RULE = re.compile(r" *\| *[-:]+[-| :]*")
_BARE_TABLE = re.compile(r" *\S.*\|.*")
_BARE_TABLE_RULE = re.compile(r" *[-:]+ *\|[-| :]*")
_ROW = re.compile(r" *\|")
_BARE_ROW = re.compile(r".*\|")
_CODE = re.compile(" {4}|$")
_TEXT = re.compile(".")
_BLANK = re.compile("$")


class _Line(NamedTuple):
    number: int
    text: str


def headings(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """The headings in ``lines``: of each the index of its line, and its text."""
    shown = [_Line(number, line.expandtabs(_TAB)) for number, line in enumerate(lines)]
    return _Blocks([line if line.text.strip(" ") else _Line(line.number, "") for line in shown]).headings()


class _Blocks:
    """The blocks in some lines; ``listed``: they are an item's, in which fewer kinds of blocks are known."""

    def __init__(self, lines: Sequence[_Line], depth: int = 0, *, listed: bool = False) -> None:
        self._lines = lines
        self._depth = depth
        self._listed = listed
        self._unclosed: set[str] = set()  # marks of code blocks that no line closes

    def headings(self) -> Iterator[tuple[int, str]]:
        at = 0
        while at < len(self._lines):
            number, text = self._lines[at]
            if end := self._opaque(at):
                at = end
            elif heading := not self._listed and _HEADING.fullmatch(text):
                yield number, heading[1].rstrip(" ").rstrip("#").rstrip(" ") or "#"
                at += 1
            elif end := not self._listed and self._table(at, _BARE_TABLE, _BARE_TABLE_RULE, _BARE_ROW):
                at = end
            elif self._underlined(at):
                yield number, text
                at += 2
            elif end := self._quote(at):
                yield from self._inner([line._replace(text=_unquoted(line.text)) for line in self._lines[at:end]])
                at = end
            elif end := self._list(at):
                for item in _items(self._lines[at:end]):
                    yield from self._inner(item, listed=True)
                at = end
            else:
                at = self._plain(at)

    def _inner(self, lines: Sequence[_Line], *, listed: bool = False) -> Iterator[tuple[int, str]]:
        if self._depth < _DEEPEST:
            yield from _Blocks(lines, self._depth + 1, listed=listed).headings()

    def _text(self, at: int) -> str:
        return self._lines[at].text if at < len(self._lines) else ""

    def _while(self, at: int, pattern: re.Pattern[str]) -> int:
        while at < len(self._lines) and pattern.match(self._lines[at].text):
            at += 1
        return at

    # Of each kind of block: the index after the one that begins at ``at``, or 0 if none does.

    def _opaque(self, at: int) -> int:
        text = self._text(at)
        if not text or (_RULE.fullmatch(text) and not (self._listed and self._underlined(at))):
            return at + 1
        return self._code(at) or self._fence(at)

    def _plain(self, at: int) -> int:
        if end := self._element(at):
            return end
        if self._listed or _DEFINITION.fullmatch(self._text(at)):
            return at + 1
        return self._table(at, _TABLE, _TABLE_RULE, _ROW) or self._paragraph(at)

    def _code(self, at: int) -> int:
        if not self._text(at).startswith(" " * _TAB):
            return 0
        return self._while(at, _CODE)

    def _fence(self, at: int) -> int:
        match = _FENCE.fullmatch(self._text(at))
        if match is None or match[1] in self._unclosed:
            return 0
        for end in range(at + 1, len(self._lines)):
            line = self._lines[end].text.rstrip(" ")
            # The mark may stand at the end of any line, but something has to be before it.
            if line.endswith(match[1]) and (end > at + 1 or len(line) > len(match[1])):
                return end + 1
        self._unclosed.add(match[1])
        return 0

    def _table(self, at: int, header: re.Pattern[str], rule: re.Pattern[str], row: re.Pattern[str]) -> int:
        if header.fullmatch(self._text(at)) and at + 2 < len(self._lines) and rule.fullmatch(self._text(at + 1)):
            return self._while(at + 2, row)
        return 0

    def _underlined(self, at: int) -> bool:
        return bool(self._text(at)) and bool(_UNDERLINE.fullmatch(self._text(at + 1)))

    def _quote(self, at: int) -> int:
        end = 0
        while _QUOTE.fullmatch(self._text(at)):
            end = self._while(self._while(at, _TEXT), _BLANK)
            at = end
        return end

    def _list(self, at: int) -> int:
        first = _ITEM.match(self._text(at))
        if first is None or not first[2]:
            return 0
        indent = first[1]
        another = re.compile(indent + (r"\d+\. " if first[2][0] in "*+-" else r"[*+-] "))
        for end in range(at + 1, len(self._lines)):
            line, blank = self._lines[end].text, not self._lines[end - 1].text
            if not line:
                continue
            rule = line.removeprefix(indent)
            if (rule[0] != " " and _RULE.fullmatch(rule)) or _DEFINITION.fullmatch(line) or another.match(line):
                return end
            if blank and line[0] != " " and not re.match(rf"{indent}(?:[*+-]|\d+\.) ", line):
                return end
        return len(self._lines)

    def _element(self, at: int) -> int:
        opening = _ELEMENT.match(self._text(at))
        if opening is None:
            return 0
        closing = "-->" if opening["comment"] else f"</{opening['tag']}>"
        for end in range(at, min(at + _FARTHEST, len(self._lines))):
            line = self._lines[end].text[opening.end() if end == at else 0 :].rstrip(" ")
            # One whose end is followed by more text is a paragraph.
            if line.endswith(closing) and not self._text(end + 1):
                return end + 1
        alone = not opening["comment"] and not self._text(at)[opening.end() :].strip(" ") and not self._text(at + 1)
        return at + 1 if alone else 0

    def _paragraph(self, at: int) -> int:
        at += 1
        while text := self._text(at):
            if (
                _HEADING.fullmatch(text)
                or _RULE.fullmatch(text)
                or self._underlined(at)
                or _QUOTE.fullmatch(text)
                or _DEFINITION.fullmatch(text)
                or _OPENS_ELEMENT.match(text)
                or ((item := _ITEM.match(text)) is not None and item[2])
                or self._fence(at)
            ):
                break
            at += 1
        return at


def _unquoted(text: str) -> str:
    return re.sub(r"^ *> ?", "", text)


def _items(lines: Sequence[_Line]) -> Iterator[list[_Line]]:
    """The items of a list, without their bullets and their indent."""
    at = 0
    while at < len(lines):
        bullet = _BULLET.match(lines[at].text)
        if bullet is None:  # '*1. a' begins a list, and no item
            at += 1
            continue
        another = re.compile(rf"{bullet[1]}(?:[*+-]|\d+\.) ")
        end = at + 1
        while end < len(lines) and not another.match(lines[end].text):
            end += 1
        outdent = re.compile(f" {{0,{bullet.end()}}}")
        item = [line._replace(text=outdent.sub("", line.text, count=1)) for line in lines[at + 1 : end]]
        yield [lines[at]._replace(text=lines[at].text[bullet.end() :]), *item]
        at = end
