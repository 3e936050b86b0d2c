"""The front matter by the events of PyYAML's C parser, for what goes beyond the usual lines.

Events are read one at a time and aliases are never followed, so that no small text grows into much.
"""

import re
from typing import Any

import yaml

from hubpkg.lint.values import KEYS, Field, Value

_DEEPEST = 32  # levels; a card has three
_NOT_IN_YAML = re.compile("[^\\t\\n\\r\\x20-\\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_BREAK = re.compile("\r\n?|[\n\x85\u2028\u2029]")  # YAML breaks lines at more characters than '\n'
# Problems that are told at the place where the thing began, and what they are for people.
_BEGAN_BEFORE = {
    "could not find expected ':'": "a line that is no 'key: value'",
    "found unexpected end of stream": "a quote that is not closed",
}
_QUOTES = ("'", '"')
_BLOCKS = ("|", ">")
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class RefusedError(Exception):
    """YAML reads the text as no mapping.

    Attributes:
        offset: of the place in the text.
        message: why, in a few words.
    """

    def __init__(self, offset: int, message: str) -> None:
        super().__init__(message)
        self.offset = offset
        self.message = message


def read(text: str, base: int) -> list[Field]:
    """The fields of the mapping that YAML reads in ``text``, whose first character has the offset ``base``.

    Raises:
        RefusedError: YAML refuses the text, or reads no mapping in it, or too many levels.
    """
    if unusual := _NOT_IN_YAML.search(text):
        byte = unusual[0].encode("utf-8", "surrogateescape") if unusual[0].isprintable() is False else b""
        found = f"U+{ord(unusual[0]):04X}" if len(byte) != 1 or byte < b"\x80" else f"the byte {byte.hex()}"
        raise RefusedError(unusual.start(), f"{found}, which YAML does not allow")
    builder = _Builder(text, base)
    try:
        return builder.build()
    except yaml.MarkedYAMLError as error:
        problem = str(error.problem or error.context)
        # Where it gives up is a line or the whole text later than where such a thing begins.
        marks = (error.problem_mark, error.context_mark)
        mark = next(filter(None, reversed(marks) if problem in _BEGAN_BEFORE else marks), None)
        message = _BEGAN_BEFORE.get(problem, problem)
        raise RefusedError(builder.offset(mark) if mark else 0, message) from None
    except yaml.YAMLError as error:
        raise RefusedError(0, str(error).partition("\n")[0]) from None
    except (ValueError, OverflowError) as error:  # an escape such as "\UFFFFFFFF"
        raise RefusedError(0, f"an escape that is no character: {error}") from None


class _Builder:
    """Makes values of events."""

    def __init__(self, text: str, base: int) -> None:
        self._text, self._base = text, base
        self._starts = [0, *(match.end() for match in _BREAK.finditer(text))]
        self._open: list[Value] = []  # the lists and mappings that the parser is in
        self._keys: list[Value | None] = []  # of each of them, the key that waits for its value
        self._root: Value | None = None

    def offset(self, mark: Any) -> int:
        """The offset in the text of a mark of PyYAML."""
        line = min(int(mark.line), len(self._starts) - 1)
        return min(self._starts[line] + int(mark.column), len(self._text))

    def build(self) -> list[Field]:
        """The root's fields."""
        parser = _Loader(self._text)
        documents = 0
        while not isinstance(event := parser.get_event(), yaml.StreamEndEvent):
            if isinstance(event, yaml.NodeEvent):
                self._add(event)
            elif isinstance(event, yaml.CollectionEndEvent):
                self._close(event)
            elif isinstance(event, yaml.DocumentStartEvent):
                documents += 1
                if documents > 1:
                    raise RefusedError(self.offset(event.start_mark), "a second document")
        root = self._root
        if root is None or root.style != "mapping":
            raise RefusedError(root.start - self._base if root else 0, "no mapping of keys to values")
        return root.fields

    def _add(self, event: Any) -> None:
        value = Value(self._base + self.offset(event.start_mark), self._base + self.offset(event.end_mark))
        if isinstance(event, yaml.ScalarEvent):
            value.text = event.value
            # With a tag it is what the tag says, and begins with it.
            block = event.style in _BLOCKS or event.tag is not None
            value.style = "block" if block else "quoted" if event.style in _QUOTES else "plain"
            value.end = value.start + len(self._text[value.start - self._base : value.end - self._base].rstrip())
        elif isinstance(event, yaml.SequenceStartEvent):
            value.style, value.items = "list", []
        elif isinstance(event, yaml.MappingStartEvent):
            value.style, value.fields = "mapping", []
        else:
            value.style = "alias"
        self._put(value)
        if value.style in ("list", "mapping"):
            if len(self._open) == _DEEPEST:
                raise RefusedError(value.start - self._base, f"more than {_DEEPEST} levels")
            self._open.append(value)
            self._keys.append(None)

    def _put(self, value: Value) -> None:
        if not self._open:
            self._root = value
            return
        parent, key = self._open[-1], self._keys[-1]
        if parent.style == "list":
            parent.items.append(value)
        elif key is not None:
            self._keys[-1] = None
            parent.fields.append(Field(key.text, KEYS.get(key.text, key.text), key.start, key.end, value))
        elif value.style in ("list", "mapping", "alias"):
            raise RefusedError(value.start - self._base, "a key that is not text")
        else:
            self._keys[-1] = value

    def _close(self, event: Any) -> None:
        closed = self._open.pop()
        self._keys.pop()
        end = self.offset(event.end_mark)
        last = closed.items[-1:] or [field.value for field in closed.fields[-1:]]
        flow = self._text[end - 1 : end] in ("]", "}") and event.start_mark.index != event.end_mark.index
        # A block's end is marked where the next thing begins.
        closed.end = self._base + end if flow or not last else last[0].end
