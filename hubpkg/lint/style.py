"""Rules of the family style: what readers and reviewers stumble over."""

import re
from collections.abc import Iterator

from hubpkg.lint.rules import ERROR, WARNING, Edit, Finding, Fix, replace, rule
from hubpkg.lint.source import Card

_COLONS = (":", "：")
_TRAILING = re.compile(r"[ \t]+(?=[\r\n]|\Z)")
_SPACE_BEFORE_BREAK = re.compile(r"\n(?<=[ \t]\n)")
_BREAKS = re.compile(r"\r\n?|\n")
_CARRIAGE = re.compile(r"\r\n?")
_END = re.compile(r"\s*\Z")


@rule("T001", "heading-colon", ERROR, fixable=True)
def heading_colon(card: Card) -> Iterator[Finding]:
    """A heading ends in a colon, or the title does.

    Why:
        The hub's validator rejects the card.

    Bad:
        ## Usage:

    Good:
        ## Usage
    """
    for heading in ([card.title] if card.title is not None else []) + card.headings:
        if heading.text[-1:] in _COLONS:
            start = heading.start + len(heading.text.rstrip(":： \t"))
            fix = replace(start, heading.end, "") if start > heading.start else None
            yield Finding(heading.end - 1, heading.end, "expected a heading that ends in no colon, found one", fix)


@rule("T002", "line-endings", WARNING, fixable=True)
def line_endings(card: Card) -> Iterator[Finding]:
    r"""Lines end in CR LF or CR, and not in LF alone. One finding tells them all.

    Why:
        When they change, every line of the difference looks changed, and shell commands copied from the card end
        in a character that the shell does not know.

    Bad:
        model-name: resnet50\r\n

    Good:
        model-name: resnet50\n
    """
    if "\r" not in card.text:
        return
    found = list(_CARRIAGE.finditer(card.text))
    mixed = "; other lines end in LF" if len(_BREAKS.findall(card.text)) > len(found) else ""
    fix = Fix(tuple(Edit(match.start(), match.end(), "\n") for match in found))
    kind = "CR LF" if found[0][0] == "\r\n" else "CR"
    yield Finding(*found[0].span(), f"expected lines that end in LF, found {len(found)} that end in {kind}{mixed}", fix)


@rule("T003", "trailing-space", WARNING, fixable=True)
def trailing_space(card: Card) -> Iterator[Finding]:
    """A line ends in spaces or tabs.

    Two spaces or more at the end of a line of text mean a line break in Markdown and are left alone, as is code.

    Why:
        It is not seen, differs from editor to editor, and makes differences in lines that nobody meant to change.

    Bad:
        license: Apache-2.0␠

    Good:
        license: Apache-2.0
    """
    text = card.text
    if "\r" not in text and text[-1:] not in (" ", "\t") and not _SPACE_BEFORE_BREAK.search(text):
        return
    fences = card.fences
    for match in _TRAILING.finditer(text):
        start, end = match.span()
        if start >= card.body_start:
            first = text[start - 1 : start] in ("", "\n", "\r")
            hard_break = match[0].startswith("  ") and not first and text[end:].strip()
            if hard_break or any(fence.start <= start < fence.end for fence in fences):
                continue
        yield Finding(start, end, "expected the line to end with its text, found space", replace(start, end, ""))


@rule("T004", "final-newline", WARNING, fixable=True)
def final_newline(card: Card) -> Iterator[Finding]:
    """The card does not end in exactly one line break.

    Why:
        Text that is appended joins the last line; tools show the last line as changed when they add the break.

    Bad:
        the last line, with no break after it

    Good:
        the last line, with a break after it
    """
    text = card.text
    if not text or (text[-1] == "\n" and text[-2:-1] not in ("\n", "\r", " ", "\t")):
        return
    if text[-2:] == "\r\n" and text[-3:-2] not in ("\n", "\r", " ", "\t"):
        return
    match = _END.search(text, len(text.rstrip()))
    if match is None or not match.start():
        return
    start = match.start()
    tail = text[start:]
    fix = replace(start, len(text), "\r\n" if "\r\n" in text else "\n")
    breaks = len(_BREAKS.findall(tail))
    if breaks == 1:  # then space follows it, or stands before it, which trailing-space tells
        if not tail.endswith(("\n", "\r")):
            yield Finding(start, len(text), "expected one line break at the end, found space after it", fix)
        return
    found = f"{breaks}" if breaks else "none"
    yield Finding(start, len(text), f"expected one line break at the end, found {found}", fix)


@rule("T005", "space-around-value", WARNING, fixable=True)
def space_around_value(card: Card) -> Iterator[Finding]:
    """More than one space between a key's colon and its value, or a space before the colon.

    Why:
        The hub's fields are searched and compared as lines of text, where the space counts.

    Bad:
        model-name:  resnet50

    Good:
        model-name: resnet50
    """
    front = card.text[card.front.start : card.front.end]
    if (":  " not in front and " :" not in front and "\t" not in front) or card.yaml_error is not None:
        return
    for holder in (card.front, *card.assets):
        for field in holder.fields:
            between = card.text[field.end : field.value.start]
            if between.strip() == ":" and between != ": " and "\n" not in between and field.value.text:
                fix = replace(field.end, field.value.start, ": ")
                yield Finding(
                    field.end, field.value.start, "expected ': ' between key and value, found more space", fix
                )
