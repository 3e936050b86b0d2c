"""Each rule's explanation holds: its bad example is found by it, and its good one is not."""

import re

import pytest
from linting import check, good_card

from hubpkg.lint.rules import rules
from hubpkg.lint.values import NAMES

IN_ASSET = ("file-format", "asset-link", "asset-sha256")
# Examples told in words, or that need other files: the rules' own tests have them as cards.
IN_WORDS = frozenset(
    (
        *("card-too-large", "shared-digest", "shared-digest-evaluation", "asset-digest-mismatch", "twin-mismatch"),
        *("entrypoint-missing", "dead-link", "near-duplicate-name", "final-newline", "hub-front-matter"),
        *("hub-missing-field", "hub-english-card"),
    )
)
WHOLE = ("front-matter-delimiters", "title-missing")  # the example is a card's beginning
ESCAPES = {"\\r": "\r", "\\n": "", "\\xe9": "\udce9", "\\u200b": "\u200b", "␠": " "}


def _card(example):
    """A file's name and text with the example's lines where a card has such lines."""
    for written, meant in ESCAPES.items():
        example = example.replace(written, meant)
    name = re.match(r"(\w+\.md): ", example)
    title, front, asset, body = "# tiny", {}, [], []
    repeated = []
    for line in example.replace(name[0], "").split("\n") if name else example.split("\n"):
        key = re.match(r"(?:- |  )?([a-z_-]+[a-z0-9]*):", line)
        if line.startswith("# "):
            title = line
        elif key and key[1] in IN_ASSET:
            asset.append(line.removeprefix("- ").strip())
        elif key and (key[1] in NAMES or key[1] == "model_name"):
            repeated += [line] if key[1] in front else []
            front.setdefault(key[1], line)
        elif line.startswith(("python train.py --config", "context.", "mshub.")):
            body += ["", "```shell", line, "```"]
        else:
            body += _table_line(line, body, front)
    if asset:
        front["asset"] = "\n".join(["asset:", "-", *(f"    {line}" for line in asset)])
    if "model_name" not in front:
        front.setdefault("model-name", "model-name: tiny")
    lines = [title, "", "---", *(f"\n{line}" for line in (*front.values(), *repeated)), "", "---", "", *body, ""]
    return name[1] if name else "tiny.md", "\n".join(lines)


def _table_line(line, body, front):
    """The line; of a table that is only hinted at, with its header or the line below it."""
    if not line.startswith("| ") or (body and body[-1].startswith("|")):
        return [line]
    model = re.match(r"\| (\w+) +\| \[", line)
    if model is None:
        return [line] if "-" in line else [line, "|---|" + "---|" * (line.count("|") - 2)]
    front.setdefault("model-name", f"model-name: {model[1]}")
    return ["| model | file |", "| --- | --- |", line]


@pytest.mark.parametrize("name", [rule.name for rule in rules().values() if rule.name not in IN_WORDS])
def test_the_bad_example_is_found_and_the_good_one_is_not(name):
    rule = next(rule for rule in rules().values() if rule.name == name)
    for example, expected in ((rule.bad, {name}), (rule.good, set())):
        if name in WHOLE:
            path, text = "tiny.md", f"{example}\n\n---\n" if "---" in example else example
        elif name == "missing-field":  # the others have to be there
            path, good = good_card(0)
            text = re.sub(r"^license: .*$", example, good, count=1, flags=re.MULTILINE)
        else:
            path, text = _card(example)
        data = text.encode("utf-8", "surrogateescape")
        assert {found for found, *_ in check(data, path, [name], target=rule.targets[0])} == expected, text
