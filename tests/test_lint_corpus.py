"""The rules over the hub's cards: how often each finds something, as recorded, and told truly in the docs."""

import json
import re
from collections import Counter

import pytest
from conftest import CORPUS, ROOT

from hubpkg.lint import engine
from hubpkg.lint.configuration import Configuration
from hubpkg.lint.rules import Options, rules

COUNTS = json.loads((ROOT / "tests" / "data" / "lint-counts.json").read_text(encoding="utf-8"))


@pytest.mark.corpus
def test_each_rule_finds_as_much_as_recorded():
    paths = engine.find([str(CORPUS)], Configuration())
    reports = engine.lint([engine.read(path) for path in paths], Configuration(), Options())
    found = Counter(report.rule.name for report in reports)
    assert {name: found[name] for name in COUNTS} == COUNTS
    assert found.keys() <= COUNTS.keys()


def test_the_docs_have_each_rule_with_its_count():
    page = (ROOT / "docs" / "lint-corpus.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ([a-z0-9-]+) \| ([\d,]+) \| ([\d,]+) \| (\d+) \| (\d+) \|", page, re.MULTILINE)
    assert {name: int(count.replace(",", "")) for name, count, *_ in rows} == COUNTS
    assert [name for name, *_ in rows] == [rule.name for rule in rules().values() if "hubpkg" in rule.targets]
    for _, count, cards, looked, false in rows:
        assert int(looked) >= min(10, int(count.replace(",", "")))
        assert int(false) <= int(looked)
        assert int(cards.replace(",", "")) <= int(count.replace(",", ""))
