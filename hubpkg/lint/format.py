"""Rules of the family format: bytes, delimiters, YAML, and Markdown or HTML that does not read as it was meant."""

import re
from collections.abc import Iterator

from hubpkg.lint.rules import ERROR, WARNING, Edit, Finding, Fix, quote, replace, rule
from hubpkg.lint.source import LARGEST, Card, encode
from hubpkg.lint.values import KEYS, NAMES

_NOT_UTF8 = re.compile("[\udc80-\udcff]+")
# Control characters, and those that are not seen: zero-width ones, and those that turn the direction of text.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200b\u200e\u200f\u2028\u2029\u202a-\u202e\u2060-\u2069]|(?<!^)\ufeff"
)
_PLAIN = bytes((9, 10, 13, *range(32, 127)))
_FULLWIDTH = re.compile(r"^[ \-]*([^\s:：#][^:：\n]*)(：)[ \t]*", re.MULTILINE)
# No space after the colon, or one that is none to YAML.
_NO_GAP = re.compile(r"^ *(?:- +)?([a-z0-9\-]+):([^\S \t\r\n]*)(?=[^\s:])", re.MULTILINE)
_EXACT_DELIMITER = re.compile(r"---[ \t]*\Z")
_UNSAFE = re.compile(
    r"<(?:[ \t\r\n]*(?P<tag>(?i:script|iframe|object|embed|applet|form|input|button|select|textarea|style|link|meta"
    r"|base|frame|frameset|svg|template|noscript|plaintext|xmp|portal|isindex))(?=[\s/>]|\Z)"
    r"|[a-zA-Z][^<>]*?[\s/\"'](?P<event>[oO][nN][a-zA-Z]{3,})[ \t\r\n]*=)"
)
# A tag with all its attributes, in whose quotes '<' and '>' may stand; and one of them.
_TAG = re.compile(r"<[a-zA-Z][^\s/<>=]*+(?:[^<>\"'=]|=\s*+(?:\"[^\"]*+\"|'[^']*+')?|[\"'])*+")
_ATTRIBUTE = re.compile(
    r"[\s/\"'](?P<name>[^\s=\"'/<>]++)\s*+=\s*+(?:\"(?P<double>[^\"]*+)\"|'(?P<single>[^']*+)'|(?P<bare>[^\s\"'<>]++))"
)
_EVENT = re.compile(r"on[a-z]{3,}", re.IGNORECASE)
_MAYBE_SCHEME = re.compile(r":(?:(?<=(?i:script:))|(?<=(?i:data:)))|&[#a-zA-Z]")
# Browsers take no account of control characters and space here.
_NO_ACCOUNT = re.compile(r"[\x00-\x20]+")
_LONGEST_SCHEME = 1000  # characters of a URL in which its scheme is looked for
_SCHEME = re.compile(r"(javascript|vbscript|data):(?!image/(?:png|gif|jpe?g|webp)[;,])", re.IGNORECASE)
_RULE_LINE = re.compile(r"-{3,}[ \t]*\Z")
_NO_SPACE = re.compile(r"##(?<!###)#{0,4}(?=[^\s#!{\d\\])")
_INDENT = 4  # characters before a heading: at most three spaces, and the break
_REVERSED = re.compile(r"(?<![\]\w`])\(([^()\[\]\r\n]{1,80})\)\[((?:https?://|\./|\.\./|#)[^\[\]\s]+)\]")
_BRACKETS = re.compile(r"\[(?<=\)\[)")  # ')[', searched for by its rarer character
# '[1] (https://...)' is how a list of references may be written.
_GAP = re.compile(r"(\[(?!\^?\d+\])[^\[\]\r\n]{1,200}\])([ \t]+)\((?:https?://)[^()\s]+\)")


@rule("F001", "yaml-invalid", ERROR, fixable=True)
def yaml_invalid(card: Card) -> Iterator[Finding]:
    """The front matter is not YAML, or is no mapping of keys to values.

    The other rules go on with the lines that can be read. Three kinds can be fixed: full-width colons after keys, keys
    with no space after their colon, and an evaluation that is a lone dash.

    Why:
        The hub's validator stops at the first such card, and its client can't load the model: neither sees one field.

    Bad:
        evaluation: -

    Good:
        evaluation: top1acc77.27 | top5acc93.56
    """
    if card.yaml_error is None:
        return
    found = _usual_fault(card)
    if found is None:
        yield _told(card, *card.yaml_error)
        return
    left = _left_by(card, found) if found.fix is not None else None
    yield found if left is None else found._replace(fix=None)
    if left is not None:
        yield _told(card, *left)


def _usual_fault(card: Card) -> Finding | None:
    """What is written otherwise than YAML wants it, if it can be fixed, and its fix."""
    offset, _ = card.yaml_error or (0, "")
    front = card.text[card.front.start : card.front.end]
    colons = [
        Edit(card.front.start + match.start(2), card.front.start + match.end(), ": ")
        for match in _FULLWIDTH.finditer(front)
        if match[1].rstrip() in KEYS or match[1].rstrip() in KEYS.values()
    ]
    if colons:
        edits = tuple(edit if not _ends_line(card, edit.end) else edit._replace(text=":") for edit in colons)
        message = f"expected ': ' after a key, found the full-width colon '：' ({len(colons)} times)"
        return Finding(colons[0].start, colons[0].start + 1, message, Fix(edits))
    joined = [match.span(2) for match in _NO_GAP.finditer(front) if match[1] in NAMES]
    if joined:
        edits = tuple(Edit(card.front.start + start, card.front.start + end, " ") for start, end in joined)
        message = f"expected ': ' after a key, found no space after the colon ({len(joined)} times)"
        return Finding(edits[0].start - 1, edits[0].start, message, Fix(edits))
    dashes = [field.value for field in card.front.fields if field.value.text == "-" and field.value.style == "plain"]
    if dashes and any(value.start <= offset <= value.end for value in dashes):
        message = "expected a value, found '-', with which YAML begins a list; leave the key out, or put it in quotes"
        fix = Fix(tuple(Edit(value.start, value.end, '"-"') for value in dashes))
        # Of another key it would be a wrong value still, and what is right is nobody's to guess.
        guessed = dashes != [field.value for field in card.front.fields if field.name == "evaluation"]
        return Finding(dashes[0].start, dashes[0].end, message, None if guessed else fix)
    return None


def _left_by(card: Card, found: Finding) -> tuple[int, str] | None:
    """What YAML still refuses when a finding is fixed, at its place in the card as it is."""
    text = card.text
    edits = found.fix.edits if found.fix is not None else ()
    for edit in reversed(edits):
        text = text[: edit.start] + edit.text + text[edit.end :]
    left = Card(card.path, encode(text)).yaml_error
    if left is None:
        return None
    offset = left.offset
    for edit in edits:
        if edit.start < offset:
            offset = max(edit.start, offset - len(edit.text) + edit.end - edit.start)
    return offset, left.message


def _told(card: Card, offset: int, reason: str) -> Finding:
    if card.text[offset : offset + 1] == ":":
        before = card.text[max(card.text.rfind("\n", 0, offset), card.text.rfind("\r", 0, offset)) + 1 : offset]
        second = "a second ': ' in a line; put the value in quotes"
        reason = second if ": " in before else "a key where none can stand; look at its indent and at the lines before"
    return Finding(offset, min(offset + 1, len(card.text)), f"expected YAML, found: {reason}")


def _ends_line(card: Card, offset: int) -> bool:
    return card.text[offset : offset + 1] in ("", "\n", "\r")


@rule("F002", "front-matter-delimiters", ERROR, fixable=True)
def front_matter_delimiters(card: Card) -> Iterator[Finding]:
    """The front matter does not stand between two lines ``---``.

    Found as well: text other than the title before the first of them, and a delimiter with more in its line.

    Why:
        The hub takes what lies between the first two lines that begin with ``---``, and rejects a card without.

    Bad:
        # resnet50

        model-name: resnet50

    Good:
        # resnet50

        ---

        model-name: resnet50
    """
    if card.truncated:
        return
    count = len(card.delimiters)
    if count < 2:  # noqa: PLR2004 - an opening and a closing line
        found = "one" if count else "none"
        at = card.delimiters[0] if count else 0
        yield Finding(at, at + 3 * count, f"expected the front matter between two lines '---', found {found}")
        return
    for at in card.delimiters[:2]:
        line = card.text[at : card.line_end(at)]
        if not _EXACT_DELIMITER.match(line):
            only = line.rstrip() == "-" * len(line.rstrip())
            fix = replace(at, at + len(line), "---") if only else None
            yield Finding(at, at + len(line), f"expected the line '---', found {quote(line)}", fix)
    before = card.text[: card.delimiters[0]].lstrip("\ufeff")
    rest = re.sub(r"\A\s*#(?!#)[^\r\n]*", "", before)
    if rest.strip():
        at = len(card.text[: card.delimiters[0]]) - len(rest.lstrip())
        yield Finding(at, card.line_end(at), "expected nothing but the title before the front matter, found text")


@rule("F003", "body-delimiter", ERROR, fixable=True)
def body_delimiter(card: Card) -> Iterator[Finding]:
    """A line of the body begins with ``---``.

    Why:
        The hub counts such lines over the whole file and rejects a card that has not exactly two, even where they stand
        in a table or a code block.

    Bad:
        --- | ---

    Good:
        | --- | --- |
    """
    if len(card.delimiters) < 3:  # noqa: PLR2004 - two are the front matter's
        return
    fences = card.fences
    for at in card.delimiters[2:]:
        end = card.line_end(at)
        line = card.text[at:end]
        fix = None
        inside = any(fence.start <= at < fence.end for fence in fences)
        # After a blank line it is a thematic break, which may be written otherwise; else it makes a heading.
        if not inside and _RULE_LINE.match(line) and not card.line_before(at).strip():
            fix = replace(at, at + len(line.rstrip()), "***")
        yield Finding(at, end, f"expected '---' at the front matter alone, found {quote(line)}", fix)


@rule("F004", "title-missing", ERROR)
def title_missing(card: Card) -> Iterator[Finding]:
    """No heading of level one stands before the front matter.

    Why:
        The hub shows that line as the card's title.

    Bad:
        ---

        model-name: resnet50

    Good:
        # resnet50

        ---

        model-name: resnet50
    """
    if len(card.delimiters) > 1 and (card.title is None or card.title.level != 1):
        yield Finding(0, card.line_end(0), "expected a title such as '# resnet50' before the front matter, found none")


@rule("F005", "not-utf8", ERROR)
def not_utf8(card: Card) -> Iterator[Finding]:
    r"""Bytes that are not UTF-8.

    Why:
        The hub reads cards as UTF-8 and stops at the first other byte.

    Bad:
        author: Andr\xe9

    Good:
        author: André
    """
    if card.is_utf8:
        return
    if _is_utf16(card):
        yield Finding(0, 2, "expected UTF-8, found UTF-16; save the card as UTF-8")
        return
    for match in _one_a_line(card, _NOT_UTF8):
        shown = " ".join(f"{ord(c) - 0xDC00:02x}" for c in match[0][:8])
        yield Finding(match.start(), match.end(), f"expected UTF-8, found the bytes {shown}")


def _is_utf16(card: Card) -> bool:
    return card.text[:2] in ("\udcff\udcfe", "\udcfe\udcff")


def _one_a_line(card: Card, pattern: re.Pattern[str]) -> Iterator[re.Match[str]]:
    at = 0
    while match := pattern.search(card.text, at):
        yield match
        at = card.line_end(match.end())


@rule("F006", "invisible-character", WARNING, fixable=True)
def invisible_character(card: Card) -> Iterator[Finding]:
    r"""A control character, a zero-width character, one that turns the direction of text, or a byte order mark.

    A byte order mark at the beginning can be fixed. The first of each line is told.

    Why:
        It is not seen, and yet parts a word, a link or a command that is copied; YAML refuses some of them.

    Bad:
        python train.py\u200b

    Good:
        python train.py
    """
    if _is_utf16(card):
        return  # half of it is, and not-utf8 says why
    unusual = card.data.translate(None, _PLAIN).decode("utf-8", "surrogateescape")
    if not _INVISIBLE.search(unusual) and "\ufeff" not in unusual:
        return
    if card.text[:1] == "\ufeff":
        yield Finding(0, 1, "expected no byte order mark, found one", replace(0, 1, ""))
    for match in _one_a_line(card, _INVISIBLE):
        yield Finding(match.start(), match.end(), f"expected text that is seen, found U+{ord(match[0]):04X}")


@rule("F007", "card-too-large", ERROR)
def card_too_large(card: Card) -> Iterator[Finding]:
    """The file is larger than 1 MiB.

    Nothing else of it is checked.

    Why:
        No card needs that much; the largest on the hub has 78 kB. It is another file, or one that was damaged.

    Bad:
        a checkpoint that was named resnet50.md

    Good:
        resnet50.md with some kB of text
    """
    if card.truncated:
        yield Finding(0, 0, f"expected a card of at most {LARGEST} bytes, found more")


@rule("F008", "unsafe-html", ERROR)
def unsafe_html(card: Card) -> Iterator[Finding]:
    """HTML or a link that runs code or takes over the page.

    These are elements such as ``script``, ``iframe``, ``object``, ``form`` and ``style``, event attributes such as
    ``onclick``, and links with the schemes ``javascript``, ``vbscript`` and ``data`` (images aside). Code blocks and
    comments are not looked at.

    Why:
        A page that shows the card as it is runs what it holds in the reader's browser; one that does not shows nothing.

    Bad:
        <img src="x.png" onerror="alert(1)">

    Good:
        <img src="x.png" alt="XCiT">
    """
    text = card.text
    if text.find("<", card.body_start) >= 0:
        yield from _unsafe(card.prose, card.body_start, len(text))
    if text.count("<", 0, card.front.end) > text.count("<http", 0, card.front.end):
        yield from _unsafe(text, 0, card.front.start)
        for field in card.front.fields:
            if "<" in field.value.text:
                yield from _unsafe(text, field.value.start, field.value.end)
    if _MAYBE_SCHEME.search(text, card.body_start):
        for link in card.links:
            if link.kind not in ("href", "src") and (scheme := _unsafe_scheme(link.url)):
                yield Finding(link.start, link.end, _LEADS_NOWHERE.format(quote(scheme)))


_LEADS_NOWHERE = "expected a link that leads somewhere, found the scheme {}"


def _unsafe(text: str, start: int, end: int) -> Iterator[Finding]:
    """What acts in the HTML between two offsets, told once where both ways to read a tag find it."""
    events = set()
    for match in _UNSAFE.finditer(text, start, end):
        if match["tag"]:
            yield Finding(*match.span("tag"), f"expected no element that acts, found <{match['tag'].lower()}>")
        else:
            events.add(match.start("event"))
            yield Finding(*match.span("event"), f"expected no event attribute, found {quote(match['event'].lower())}")
    for tag in _TAG.finditer(text, start, end):
        if "=" not in tag[0]:
            continue
        for match in _ATTRIBUTE.finditer(text, *tag.span()):
            place, name = match.span("name"), match["name"]
            if _EVENT.fullmatch(name):
                if place[0] not in events:
                    yield Finding(*place, f"expected no event attribute, found {quote(name.lower())}")
                continue
            group = match.lastgroup or "bare"
            if scheme := _unsafe_scheme(match[group]):
                yield Finding(*match.span(group), _LEADS_NOWHERE.format(quote(scheme)))


def _unsafe_scheme(url: str) -> str:
    """The scheme of a URL that runs code, whatever it is hidden by; or ``""``."""
    if "&" in url:
        import html

        url = html.unescape(url)
    match = _SCHEME.match(_NO_ACCOUNT.sub("", url[:_LONGEST_SCHEME])) if ":" in url else None
    return match[1].lower() if match is not None else ""


@rule("F009", "code-block-unclosed", ERROR)
def code_block_unclosed(card: Card) -> Iterator[Finding]:
    """A fenced code block has no end.

    Why:
        All that follows it is shown as code.

    Bad:
        ```shell
        python train.py

        ## Evaluation

    Good:
        ```shell
        python train.py
        ```

        ## Evaluation
    """
    fences = card.fences
    if fences and not fences[-1].closed:
        fence = fences[-1]
        at = card.text.rfind("\n", 0, max(fence.start - 1, 0)) + 1
        yield Finding(at, card.line_end(at), "expected the code block to be closed, found the end of the card")


@rule("F010", "heading-without-space", ERROR, fixable=True)
def heading_without_space(card: Card) -> Iterator[Finding]:
    """A heading lacks the space after its number signs.

    Why:
        It is shown as text with number signs, and no link can lead to it.

    Bad:
        ##Usage

    Good:
        ## Usage
    """
    # '#1' and '#include' are no headings; two signs and more hardly mean anything else.
    if not _NO_SPACE.search(card.text, card.body_start):
        return
    for match in _NO_SPACE.finditer(card.prose, card.body_start):
        start, end = match.span()
        before = card.text[max(start - _INDENT, 0) : start].rpartition("\n")[2].rpartition("\r")[2]
        if before.isspace() or start == card.body_start or card.text[start - 1] in "\r\n":
            yield Finding(start, end, f"expected a space after {quote(match[0])}, found none", replace(end, end, " "))


@rule("F011", "link-syntax", ERROR, fixable=True)
def link_syntax(card: Card) -> Iterator[Finding]:
    """Brackets that were meant as a link and are none: in the wrong order, or with a space between them.

    Why:
        The reader sees the brackets and can't follow the link.

    Bad:
        see (the paper)[https://arxiv.org/abs/2106.09681]

    Good:
        see [the paper](https://arxiv.org/abs/2106.09681)
    """
    text = card.text
    if _BRACKETS.search(text, card.body_start):
        for match in _REVERSED.finditer(card.prose, card.body_start):
            fix = replace(*match.span(), f"[{match[1]}]({match[2]})")
            yield Finding(*match.span(), "expected '[text](link)', found '(text)[link]'", fix)
    if _GAP.search(text, card.body_start):
        for match in _GAP.finditer(card.prose, card.body_start):
            fix = replace(*match.span(2), "")
            yield Finding(*match.span(), "expected '[text](link)', found a space between the brackets", fix)


@rule("F012", "table-cells", WARNING)
def table_cells(card: Card) -> Iterator[Finding]:
    """A row of a table has more or fewer cells than its header.

    Why:
        Cells beyond the header's are not shown; where some lack, the figures after them stand in the wrong columns.

    Bad:
        | model | acc@top1 |
        | :---: | :------: |
        | xcit  | 77.1 | 93.6 |

    Good:
        | model | acc@top1 | acc@top5 |
        | :---: | :------: | :------: |
        | xcit  | 77.1     | 93.6     |
    """
    for table in card.tables:
        width = len(table.header)
        for row in table.rows:
            if len(row) != width:
                message = f"expected {width} cells, as in the header, found {len(row)}"
                yield Finding(row[0].start, row[-1].end, message)
