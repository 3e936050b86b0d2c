"""What a rule is: a function with a code, a name, a family, a severity and a docstring in four parts.

A rule of one card is a generator over findings::

    @rule("F009", "body-delimiter", WARNING)
    def body_delimiter(card: Card) -> Iterator[Finding]:
        \"\"\"One sentence that says what is found. More sentences may follow.

        Why:
            What goes wrong with it, and for whom.

        Bad:
            the text that is found

        Good:
            the text that is not
        \"\"\"
        yield Finding(start, end, "expected ..., found ...", replace(start, end, "new text"))

A rule over a whole collection says ``collection=True``, takes all cards, and yields ``(card, finding)`` pairs.
"""

import importlib
import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

from hubpkg.errors import HubpkgError
from hubpkg.lint.source import Card

Severity = Literal["error", "warning"]
Target = Literal["hub", "hubpkg"]
ERROR: Severity = "error"
WARNING: Severity = "warning"
TARGETS: tuple[Target, ...] = ("hub", "hubpkg")

# The families, each a module, in the order of the docs, and the letter that their codes begin with.
FAMILIES = {
    "format": "F",
    "schema": "S",
    "asset": "A",
    "evaluation": "E",
    "consistency": "C",
    "link": "L",
    "naming": "N",
    "style": "T",
    "hub": "H",
}

_LETTERS = {letter: family for family, letter in FAMILIES.items()}


class Edit(NamedTuple):
    """Put ``text`` in place of what lies from offset ``start`` to ``end``."""

    start: int
    end: int
    text: str


class Fix(NamedTuple):
    """Edits that belong together: all are made, or none."""

    edits: tuple[Edit, ...]


def replace(start: int, end: int, text: str) -> Fix:
    """The fix that puts ``text`` in place of one span."""
    return Fix((Edit(start, end, text),))


class Finding(NamedTuple):
    """What a rule found: the span, a sentence for people, and the fix if there is a safe one.

    The message says what was expected and what was found; ``quote`` helps. The place is said beside it.
    """

    start: int
    end: int
    message: str
    fix: Fix | None = None


@dataclass(frozen=True)
class Options:
    """What rules may know beside the card.

    Attributes:
        target: who has to accept the card: the hub's own client and validator, or hubpkg.
        checkout: the folder that repo-link's folder is looked for in, for ``entrypoint-missing``.
        assets: the folder that holds the asset's files, to compute digests from.
        online: links may be requested.
    """

    target: Target = "hubpkg"
    checkout: Path | None = None
    assets: Path | None = None
    online: bool = False


@dataclass(frozen=True)
class Rule:
    """A rule, as registered.

    Attributes:
        code: the family's letter and three digits; never given to another rule.
        name: what people write.
        family: what it is about.
        severity: error: the card breaks for someone; warning: it misleads or reads badly.
        targets: whom the rule is checked for.
        collection: it takes all cards instead of one.
        fixable: some of its findings have a fix.
        check: the function.
        takes_options: it takes the ``Options`` as its second argument.
    """

    code: str
    name: str
    family: str
    severity: Severity
    targets: tuple[Target, ...]
    collection: bool
    fixable: bool
    check: Callable[..., Any]
    takes_options: bool

    @property
    def what(self) -> str:
        """What it finds, the docstring's first part; a sentence, or more."""
        return self._parts[0]

    @property
    def why(self) -> str:
        """What goes wrong with what it finds."""
        return self._parts[1]

    @property
    def bad(self) -> str:
        """An example that it finds."""
        return self._parts[2]

    @property
    def good(self) -> str:
        """That example put right."""
        return self._parts[3]

    @cached_property
    def _parts(self) -> list[str]:
        parts = re.split(r"^(Why|Bad|Good):\n", inspect.cleandoc(self.check.__doc__ or "") + "\n", flags=re.MULTILINE)
        if parts[1::2] != ["Why", "Bad", "Good"] or not all(part.strip() for part in parts[::2]):
            raise ValueError(f"{self.name}: expected a docstring with what it finds, Why:, Bad: and Good:")
        return [parts[0].strip(), *(inspect.cleandoc("\n" + part.rstrip()) for part in parts[2::2])]


_RULES: dict[str, Rule] = {}

CardCheck = Callable[..., Iterator[Finding]]
CollectionCheck = Callable[[Sequence[Card]], Iterator[tuple[Card, Finding]]]


def rule(  # noqa: PLR0913 - each is a fact of the rule
    code: str,
    name: str,
    severity: Severity,
    *,
    targets: tuple[Target, ...] = ("hubpkg",),
    collection: bool = False,
    fixable: bool = False,
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Register the decorated function as a rule.

    A rule takes ``(card)``, or ``(cards)`` with ``collection``; one with a second parameter gets the ``Options`` too.

    Raises:
        ValueError: the code or name is taken, or not of the family's kind.
    """

    def register(check: Callable[..., Any]) -> Callable[..., Any]:
        family = _LETTERS.get(code[:1])
        if family is None or not re.fullmatch(r"[A-Z]\d{3}", code):
            raise ValueError(f"{name}: expected a family's letter and three digits, found {code}")
        if any(code == other.code or name == other.name for other in _RULES.values()):
            raise ValueError(f"{code} {name}: the code or the name is taken")
        _RULES[code] = Rule(
            code,
            name,
            family,
            severity,
            targets,
            collection,
            fixable,
            check,
            check.__code__.co_argcount > 1,
        )
        return check

    return register


@cache
def rules() -> dict[str, Rule]:
    """All rules by their codes, in the order of families and codes."""
    for module in (*FAMILIES, "online"):
        if (Path(__file__).parent / f"{module}.py").is_file():
            importlib.import_module(f"hubpkg.lint.{module}")
    letters = list(FAMILIES.values())
    return dict(sorted(_RULES.items(), key=lambda item: (letters.index(item[0][0]), item[0])))


def select(names: Iterable[str], source: str) -> set[str]:
    """The codes that ``names`` mean: codes, names, families, the beginnings of codes, or ``ALL``.

    Raises:
        HubpkgError: one of them means no rule; ``source`` says where it was written.
    """
    chosen: set[str] = set()
    for name in names:
        found = {
            code
            for code, rule in rules().items()
            if name in ("ALL", rule.name, rule.family) or (name and code.startswith(name))
        }
        if not found:
            raise HubpkgError(
                f"{source}: expected a rule's code or name, a family or ALL, found {name!r}; "
                "list them with: hubpkg explain --all"
            )
        chosen |= found
    return chosen


def quote(text: str, longest: int = 60) -> str:
    """``text`` as it is quoted in a message: in quotes, cut when long, and with nothing that steers a terminal."""
    shown = text if len(text) <= longest else f"{text[: longest - 3]}..."
    return "'" + "".join(c if c.isprintable() else repr(c)[1:-1] for c in shown) + "'"
