"""``hubpkg lint``: rules over cards, with no framework and no network."""

from hubpkg.lint.rules import Edit, Finding, Fix, Options, Rule
from hubpkg.lint.source import Card

__all__ = ["Card", "Edit", "Finding", "Fix", "Options", "Rule"]
