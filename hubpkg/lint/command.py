"""``hubpkg lint`` as the command line has it: its options, its output, its exit status."""

import argparse
import gc
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from hubpkg.errors import HubpkgError
from hubpkg.lint import configuration, engine
from hubpkg.lint.configuration import Configuration
from hubpkg.lint.engine import STANDARD_INPUT, Report
from hubpkg.lint.rules import Options
from hubpkg.lint.source import LARGEST, Card, encode

_FINE, _FINDING, _UNUSABLE = 0, 1, 2


def lint(options: argparse.Namespace, say: Callable[[str], None]) -> int:
    """Do what the command line says; give the exit status.

    A path that can't be read is told by ``say``, and the others are still checked.

    Raises:
        HubpkgError: the command line or the configuration can't be used.
    """
    gc.disable()  # cards hold no cycles: all that the collector would do is to look through them again and again
    settings = _configure(options)
    extra = Options(settings.target, options.checkout, options.assets, options.online)
    for folder in (options.checkout, options.assets):
        if folder is not None and not folder.is_dir():
            raise HubpkgError(f"{folder}: expected a folder, found {'a file' if folder.exists() else 'none'}")
    # What is selected wrongly is said before anything is read.
    if settings.rules and not any(settings.target in rule.targets for rule in settings.rules):
        raise HubpkgError(f"expected rules of the target {settings.target} to be selected, found none; see --target")
    cards, unreadable = _read(engine.find(options.paths, settings), say)
    changed = 0
    if options.diff or options.fix:
        fixed = [fix for fix in engine.fix(cards, settings, extra) if fix.count]
        changed = len(fixed)
        if options.diff:
            from hubpkg.lint import output

            _write(line for fix in fixed for line in output.as_diff(fix))
            return _UNUSABLE if unreadable else _FINDING if changed else _FINE
        cards = _apply(cards, fixed, say)
    reports = engine.lint(cards, settings, extra)
    known = 0
    if settings.baseline is not None:
        from hubpkg.lint import baseline

        if options.update_baseline:
            baseline.write(settings.baseline, reports)
        fresh = baseline.new(settings.baseline, reports)
        known, reports = len(reports) - len(fresh), fresh
    if cards or not unreadable or options.json or options.format != "text":
        _print(options, settings, reports, (len(cards), known))
    return _UNUSABLE if unreadable else _FINDING if reports else _FINE


def _configure(options: argparse.Namespace) -> Configuration:
    file = options.config or configuration.find(Path.cwd())
    settings = configuration.load(file) if file is not None else Configuration()
    given = {
        name: tuple(part for text in getattr(options, name) for part in text.split(","))
        for name in ("select", "ignore")
    }
    settings = replace(
        settings,
        select=given["select"] or settings.select,
        ignore=(*settings.ignore, *given["ignore"]),
        target=options.target or settings.target,
        baseline=options.baseline or settings.baseline,
    )
    if options.update_baseline and settings.baseline is None:
        raise HubpkgError("--update-baseline: expected --baseline FILE with it, found none")
    return settings


def _read(paths: Sequence[str], say: Callable[[str], None]) -> tuple[list[Card], int]:
    """The cards at ``paths``, and how many of them can't be read."""
    standard_input = sys.stdin.buffer.read(LARGEST + 1) if STANDARD_INPUT in paths else b""
    cards, unreadable = [], 0
    for path in paths:
        try:
            cards.append(engine.read(path, standard_input))
        except HubpkgError as error:
            say(f"hubpkg: error: {error}")
            unreadable += 1
    return cards, unreadable


def _apply(cards: Sequence[Card], fixed: Sequence[engine.Fixed], say: Callable[[str], None]) -> list[Card]:
    """Write what was fixed, of standard input to standard output; give the cards as they are then."""
    after = {fix.before.path: fix.after for fix in fixed}
    for fix in fixed:
        if fix.before.path != STANDARD_INPUT:
            engine.write(fix)
    for card in cards:
        if card.path == STANDARD_INPUT:
            _write([after.get(STANDARD_INPUT, card).text])
    if fixed:
        count = sum(fix.count for fix in fixed)
        say(f"hubpkg: fixed {count} finding{'s' * (count != 1)} in {len(fixed)} card{'s' * (len(fixed) != 1)}")
    return [after.get(card.path, card) for card in cards]


def _print(
    options: argparse.Namespace, settings: Configuration, reports: Sequence[Report], counts: tuple[int, int]
) -> None:
    from hubpkg.lint import output

    form = "json" if options.json else options.format
    # With --fix, standard output is the fixed card's where standard input was the card.
    stream = sys.stderr if options.fix and STANDARD_INPUT in options.paths else sys.stdout
    if options.statistics:
        rows = output.statistics(reports)
        lines: Iterable[str] = [output.dump(rows)] if form == "json" else output.statistics_as_text(rows)
    elif form == "json":
        lines = [output.dump(output.as_json(reports))]
    elif form == "sarif":
        lines = [output.dump(output.as_sarif(reports, settings.rules))]
    elif form == "github":
        lines = output.as_github(reports)
    else:
        lines = [*output.as_text(reports), *output.summary(reports, *counts)]
    stream.write("".join(f"{line}\n" for line in lines))  # at once: it may be unbuffered


def _write(texts: Iterable[str]) -> None:
    """Write texts to standard output with the very bytes that they were read from."""
    sys.stdout.flush()
    for text in texts:
        sys.stdout.buffer.write(encode(text))
    sys.stdout.buffer.flush()
