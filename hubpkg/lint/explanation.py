"""Rules explained: ``hubpkg explain``, and the page docs/rules.md, both from the rules' docstrings."""

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any

from hubpkg.errors import HubpkgError
from hubpkg.lint.rules import Rule, rules, select

_HEAD = """\
# Rules of `hubpkg lint`

This page is made from the rules' docstrings: `hubpkg explain --all > docs/rules.md`. How the command is used and
configured is told in [lint.md](lint.md). An error breaks the card for someone; a warning misleads, or reads badly. Some
findings of a rule marked *fixable* are mended by `--fix`. A rule of the target `hub` says what the validator or the
client of the hub refuses.
"""


def find(names: Sequence[str], *, every: bool) -> list[Rule]:
    """The rules that ``names`` mean, or every one.

    Raises:
        HubpkgError: a name means none, or none was given.
    """
    if not names and not every:
        raise HubpkgError("expected a rule's code or name, or --all, found neither")
    chosen = select(("ALL",) if every else names, "explain")
    return [rule for code, rule in rules().items() if code in chosen]


def page(names: Sequence[str], *, every: bool) -> str:
    """The explanations as Markdown; with ``every``, the whole page with its table of rules."""
    found = find(names, every=every)
    if not every:
        return "\n".join(_explain(rule, "#") for rule in found)
    parts = [_HEAD, "| code | rule | severity | target | fixable | finds |\n|---|---|---|---|---|---|"]
    parts[-1] += "".join(
        f"\n| {rule.code} | [{rule.name}](#{rule.code.lower()}-{rule.name}) | {rule.severity} "
        f"| {', '.join(rule.targets)} | {'yes' if rule.fixable else ''} | {_first_sentence(rule)} |"
        for rule in found
    )
    for family, members in groupby(found, key=lambda rule: rule.family):
        parts.append(f"\n## Family {family}\n")
        parts.append("\n".join(_explain(rule, "###") for rule in members).rstrip("\n"))
    return "\n".join(parts) + "\n"


def as_json(rule: Rule) -> dict[str, Any]:
    """What ``hubpkg explain --json`` prints of a rule."""
    keys = ("code", "name", "family", "severity", "targets", "collection", "fixable", "what", "why", "bad", "good")
    return {key: getattr(rule, key) for key in keys}


def _first_sentence(rule: Rule) -> str:
    paragraph = rule.what.partition("\n\n")[0].replace("\n", " ")
    return paragraph.partition(". ")[0].rstrip(".").replace("|", "\\|") + "."


def _explain(rule: Rule, mark: str) -> str:
    return "\n".join(_lines(rule, mark)) + "\n"


def _lines(rule: Rule, mark: str) -> Iterator[str]:
    yield f"{mark} {rule.code} {rule.name}"
    yield ""
    facts = [rule.severity, f"family {rule.family}", f"target {' and '.join(rule.targets)}"]
    yield f"*{', '.join([*facts, *(['fixable'] if rule.fixable else [])])}*"
    yield ""
    yield rule.what
    yield ""
    yield rule.why
    for title, example in (("Bad", rule.bad), ("Good", rule.good)):
        fence = "````" if "```" in example else "```"
        yield from ("", f"{title}:", "", f"{fence}markdown", example, fence)
