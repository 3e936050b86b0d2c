"""Paths -> cards -> findings, and the fixes made: what ``hubpkg lint`` does, without printing."""

import marshal
import os
import stat
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import NamedTuple

from hubpkg import replacement
from hubpkg.errors import HubpkgError
from hubpkg.lint.configuration import Configuration
from hubpkg.lint.rules import Edit, Finding, Fix, Options, Rule, Severity
from hubpkg.lint.source import LARGEST, Card, encode

STANDARD_INPUT = "-"
NO_CARDS = frozenset(("readme.md", "readme_cn.md"))  # the hub's validator passes over them too
_WORTH_A_PROCESS = 300  # cards; for fewer, a second process costs more than it saves
_MOST = 1000  # findings of a rule on a card that are told; a text made for it could have a million
_ROUNDS = 10  # of fixing; a fix seldom makes way for another one


class Report(NamedTuple):
    """A finding with what is needed to print it.

    Attributes:
        card: where it was found.
        rule: the rule that found it.
        finding: what it found.
        severity: the rule's, or the configuration's.
    """

    card: Card
    rule: Rule
    finding: Finding
    severity: Severity


@dataclass(frozen=True)
class Fixed:
    """A card before and after fixing."""

    before: Card
    after: Card
    count: int


def find(paths: Sequence[str], configuration: Configuration) -> list[str]:
    """The cards that ``paths`` mean: files as they are named; in folders all ``*.md`` but READMEs and what is excluded.

    A symbolic link to a folder is followed when it is named, and not inside of a folder, where it may be a loop.
    """
    found: dict[str, None] = {}
    for path in paths:
        if path == STANDARD_INPUT or not Path(path).is_dir():
            found[path] = None
            continue
        for folder, folders, files in os.walk(path):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(files):
                if not name.endswith(".md") or name.lower() in NO_CARDS:
                    continue
                if not configuration.is_excluded(file := os.path.join(folder, name)):  # noqa: PTH118 - much quicker
                    found[file] = None
    return list(found)


def read(path: str, standard_input: bytes = b"") -> Card:
    """The card at ``path``, whatever its bytes are; of a large file, no more than is needed to see that it is one.

    Raises:
        HubpkgError: there is no regular file that can be read.
    """
    if path == STANDARD_INPUT:
        return Card(path, standard_input)
    try:
        # To open a pipe could take for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            status = os.fstat(descriptor)
            mode = status.st_mode
            if not stat.S_ISREG(mode):
                kind = "a pipe" if stat.S_ISFIFO(mode) else "a folder" if stat.S_ISDIR(mode) else "something else"
                raise HubpkgError(f"{path}: expected a file, found {kind}; to read a pipe, name it '-'")
            # Its size and no more: to make room for the largest of all takes longer than to read most.
            return Card(path, os.read(descriptor, min(status.st_size, LARGEST) + 1))
        finally:
            os.close(descriptor)
    except OSError as error:
        raise HubpkgError(f"{path}: expected a readable card, found: {error.strerror}") from None
    except ValueError:
        raise HubpkgError(f"{path!r}: expected a card's path, found a text that can be none") from None


def check(
    cards: Sequence[Card], rules: Iterable[Rule], options: Options, most: int | None = None
) -> Iterator[tuple[Card, Rule, Finding]]:
    """The findings of ``rules`` on ``cards``, in no order; of each rule on a card, the first ``most``, or all."""
    wanted = [rule for rule in rules if options.target in rule.targets]
    whole = [rule for rule in wanted if rule.collection]
    # A bound function each, so that the inner loop, which runs for each rule on each card, does nothing but call it.
    single = [
        (rule, partial(_with, rule.check, options) if rule.takes_options else rule.check)
        for rule in wanted
        if not rule.collection
    ]
    for card in cards:
        for rule, function in single:
            for finding in islice(function(card), most):
                yield card, rule, finding
    for rule in whole:
        pairs = rule.check(cards, options) if rule.takes_options else rule.check(cards)
        for card, finding in pairs:
            yield card, rule, finding


def _with(function: Callable[[Card, Options], Iterator[Finding]], options: Options, card: Card) -> Iterator[Finding]:
    return function(card, options)


def _check_in_two(
    cards: Sequence[Card], rules: Sequence[Rule], options: Options
) -> Iterator[tuple[Card, Rule, Finding]]:
    """As :func:`check`; of many cards the second half in a process of its own, where there is a second core."""
    if len(cards) < _WORTH_A_PROCESS or os.cpu_count() == 1:
        yield from check(cards, rules, options, _MOST)
        return
    single = [rule for rule in rules if not rule.collection]
    half = len(cards) // 2
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            places = {id(card): index for index, card in enumerate(cards)}
            found = [
                (
                    places[id(card)],
                    rule.code,
                    (*finding[:-1], finding.fix and [tuple(edit) for edit in finding.fix.edits]),
                )
                for card, rule, finding in check(cards[half:], single, options, _MOST)
            ]
            with open(writer, "wb") as pipe:  # noqa: PTH123 - a descriptor has no path
                marshal.dump(found, pipe)
            status = 0
        finally:
            os._exit(status)
    os.close(writer)
    yield from check(cards[:half], single, options, _MOST)
    yield from check(cards, [rule for rule in rules if rule.collection], options)
    with open(reader, "rb") as pipe:  # noqa: PTH123 - as above
        data = pipe.read()
    if os.waitpid(child, 0)[1]:  # whatever it met, it is met again, and told
        yield from check(cards[half:], single, options, _MOST)
        return
    codes = {rule.code: rule for rule in rules}
    for index, code, finding in marshal.loads(data):  # noqa: S302 - our own process wrote it
        start, end, message, edits = finding
        fix = Fix(tuple(Edit(*edit) for edit in edits)) if edits else None
        yield cards[index], codes[code], Finding(start, end, message, fix)


def lint(cards: Sequence[Card], configuration: Configuration, options: Options) -> list[Report]:
    """The findings on ``cards`` that the configuration lets stand, by path and place."""
    english = list(_missing_twins(cards))
    ignored = {card.path: configuration.ignored_in(card.path) for card in cards}
    reports = [
        Report(card, rule, finding, configuration.severities.get(rule.code, rule.severity))
        for card, rule, finding in _check_in_two([*cards, *english], configuration.rules, options)
        if card.path in ignored and rule.code not in ignored[card.path]
    ]
    reports.sort(key=lambda report: (report.card.path, report.finding.start, report.finding.end, report.rule.code))
    return reports


def _missing_twins(cards: Sequence[Card]) -> Iterator[Card]:
    """The English twins that lie beside Chinese cards and are not among ``cards``; nothing on them is reported."""
    paths = {card.path for card in cards}
    for path in sorted(paths):
        if path.endswith("_cn.md") and (english := f"{path.removesuffix('_cn.md')}.md") not in paths:
            with suppress(HubpkgError):
                yield read(english)


def apply(text: str, findings: Iterable[Finding]) -> tuple[str, int]:
    """``text`` with the findings' fixes made, and how many; of fixes that touch, the first in the text."""
    taken: list[Edit] = []
    count, end = 0, -1
    for fix in sorted({finding.fix for finding in findings if finding.fix is not None}):
        edits = sorted(fix.edits)
        if edits[0].start <= end:
            continue
        taken += edits
        end = edits[-1].end
        count += 1
    parts, at = [], 0
    for edit in taken:
        parts += [text[at : edit.start], edit.text]
        at = edit.end
    return "".join([*parts, text[at:]]), count


def fix(cards: Sequence[Card], configuration: Configuration, options: Options) -> list[Fixed]:
    """All cards with what can be fixed in each fixed, again until nothing more is."""
    rules = [rule for rule in configuration.rules if rule.fixable and not rule.collection]
    done = []
    for before in cards:
        ignored = configuration.ignored_in(before.path)
        after, count = before, 0
        for _ in range(_ROUNDS):
            findings = [finding for _, rule, finding in check([after], rules, options) if rule.code not in ignored]
            text, made = apply(after.text, findings)
            if text == after.text:
                break
            count += made
            after = Card(before.path, encode(text))
        done.append(Fixed(before, after, count))
    return done


def write(fixed: Fixed) -> None:
    """Put the fixed card in its file's place, all at once and with its mode.

    Raises:
        HubpkgError: the file was changed since it was read.
        OSError: it can't be written.
    """
    path = Path(fixed.before.path).resolve()  # of a symbolic link, the file
    if path.read_bytes() != fixed.before.data:
        raise HubpkgError(f"{fixed.before.path}: expected it as it was read, found it changed; run the command again")
    with replacement.of(path) as partial, partial.open("xb") as file:
        os.fchmod(file.fileno(), stat.S_IMODE(path.stat().st_mode))
        file.write(fixed.after.data)
        file.flush()
        os.fsync(file.fileno())


def count_by_rule(reports: Iterable[Report]) -> dict[str, list[Report]]:
    """The findings of each rule's code, those with most first."""
    groups: dict[str, list[Report]] = defaultdict(list)
    for report in reports:
        groups[report.rule.code].append(report)
    return dict(sorted(groups.items(), key=lambda item: (-len(item[1]), item[0])))
