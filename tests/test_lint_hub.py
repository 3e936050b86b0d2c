"""``--target hub``: what the hub's validator rejects, and nothing else."""

import json
import re
import time

import pytest
from conftest import CORPUS, ROOT
from linting import check, good_card, line_of

from hubpkg.lint import engine
from hubpkg.lint.configuration import Configuration
from hubpkg.lint.rules import Options, rules
from hubpkg.lint.source import Card, encode

VERDICTS = json.loads((ROOT / "tests" / "data" / "hub-verdicts.json").read_text(encoding="utf-8"))


def hub(text, name="tiny_mnist.md"):
    return check(text, name, target="hub")


def test_a_good_card_is_accepted():
    for seed in range(50):
        name, text = good_card(seed)
        assert hub(text, name) == []


@pytest.mark.parametrize(
    ("old", "new", "rule"),
    [
        ("\n---\n\n# ", "\n---\n\n---\n\n# ", "hub-front-matter"),
        ("\n---\n\n# ", "\n\n# ", "hub-front-matter"),
        ("summary: ", "summary: a: ", "hub-front-matter"),
        ("author: MindSpore team", "author:MindSpore team", "hub-front-matter"),
        ("update-time: 20", "update-time: 2023-02-30\n\nother: 20", "hub-value"),
        ("license: ", "licence: ", "hub-missing-field"),
        ("module-type: cv", "module-type: vision", "hub-value"),
        ("fine-tunable: ", "fine-tunable: not", "hub-value"),
        ("used-for: inference", "used-for: inferring", "hub-value"),
        ("author: ", "accuracy: high\n\nauthor: ", "hub-value"),
        ("author: ", "allow-cache-ckpt: 1\n\nauthor: ", "hub-value"),
        ("author: ", "featured-image: a.png\n\nauthor: ", "hub-value"),
        ("train-dataset: mnist", "train-dataset: [mnist]", "hub-value"),
        ("summary: ", "summary: 'a: b' # ", "hub-colon"),
        ("update-time: ", "update-time: 2023-02-03 10:00:00 # ", "hub-colon"),
        ("repo-link: <https://github.com", "repo-link: <https://github.org", "hub-repo-link"),
        ("/tree/", "/commits/", "hub-repo-link"),
        ("file-format: ckpt", "file-format: pth", "hub-asset"),
        ("asset-sha256: ", "sha256: ", "hub-asset"),
        ("asset-link: <https:", "asset-link: <ht#tps:", "hub-asset"),
        ("asset-link: <https://", "asset-link: <https://[", "hub-asset"),
        ("repo-link: <https://", "repo-link: <https://[", "hub-repo-link"),
        ("asset:\n", "asset: yes\n\nother:\n", "hub-asset"),
        ("train-dataset: mnist", "train-dataset: digits", "dataset-unlisted"),
        ("train-dataset: mnist", "train-dataset: >-\n  digits", "dataset-unlisted"),
        ("train-dataset: mnist", "train-dataset: mnist_digits", "dataset-unlisted"),
        ("## Quick Start", "## Quick Start:", "hub-heading"),
        ("## Quick Start", "> ## Quick Start:", "hub-heading"),
        ("## Quick Start", "##Quick Start: ##", "hub-heading"),
        ("## Quick Start", "Quick Start:\n===", "hub-heading"),
        ("## Quick Start", "## Quick Start:\t", "hub-heading"),
        ("## Quick Start", "<br>\n## Quick Start:", "hub-heading"),
        ("## Quick Start", "text\n<!--\n## Quick Start:\n-->\n", "hub-heading"),
        ("## Quick Start", "text ```\n## Quick Start:\n```", "hub-heading"),
        ("\n\n---\n", ":\n\n---\n", "hub-heading"),  # the title
    ],
)
def test_what_the_validator_rejects(old, new, rule):
    name, text = next((name, text) for name, text in map(good_card, range(99)) if "_mnist" in name and old in text)
    changed = text.replace(old, new, 1)
    assert changed != text
    assert rule in {found for found, _, _ in hub(changed, name)}


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("evaluation: ", "evaluation: - # "),
        ("model-name: ", "name: "),
        ("module-type: cv", "module-type: CV-a-b"),
        ("train-dataset: mnist", "train-dataset: mnist_cifar10"),
        ("train-dataset: mnist", "train-dataset:"),
        ("used-for: inference", "used-for: Inference/extract-feature"),
        ("repo-link: ", "repo-link: # "),
        ("asset-sha256: ", "asset-sha256: 12345678 # "),
        ("## Quick Start", "```\n## Quick Start:\n```"),
        ("## Quick Start", "    ## Quick Start:"),
        ("## Quick Start", "<div>\n## Quick Start:\n</div>"),
        ("## Quick Start", "* a\n\n  ## Quick Start:"),
        ("## Quick Start", "- # Quick Start:"),
        ("## Quick Start", "1. a\n## Quick Start:"),
        ("## Quick Start", "<!--\n## Quick Start:\n-->\n"),
        ("update-time: ", "update-time: '2023-02-30' # "),
        ("update-time: ", "update-time: 2023-02-30 or so # "),
    ],
)
def test_what_it_accepts_though_others_would_not(old, new):
    name, text = next((name, text) for name, text in map(good_card, range(99)) if "_mnist" in name and old in text)
    changed = text.replace(old, new, 1)
    assert changed != text
    assert hub(changed, name) == []


def test_a_claim_of_nothing_hides_no_other_fault():
    name, text = next(card for card in map(good_card, range(99)) if "\n- file-format" in card[1])
    text = re.sub(r"evaluation: .*", "evaluation: -", text)
    assert hub(text, name) == []
    assert hub(text.replace("\n", "\r"), name) == []
    wrong = text.replace("\n  asset-link", "\n    asset-link")
    assert {rule for rule, _, _ in hub(wrong, name)} == {"hub-front-matter"}


def test_the_place_of_a_heading_is_that_of_its_colon():
    name, text = good_card(1)
    changed = text.replace("## Performance\n", "## Per: formance:  ##\n")
    line = line_of(text, "## Performance")
    assert hub(changed, name) == [("hub-heading", line, len("## Per: formance:"))]
    assert hub(f"{text}\n> a\n> \tb:\n> ===\n", name) == [("hub-heading", text.count("\n") + 3, 5)]
    title, _, rest = text.partition("\n")
    assert hub(f"{title}:\n{rest}", name) == [("hub-heading", 1, len(title) + 1)]


def test_headings_are_looked_for_in_bounded_time():
    name, text = good_card(1)
    for part in ("- a:\n", "> a:\n", "```\n#a:\n", "<div>\n#a:\n", "- " * 99 + "#:\n", "~~~~\na |\n", "a:\n===\n"):
        start = time.process_time()
        hub(text + part * (300_000 // len(part)), name)
        assert time.process_time() - start < 10


def test_an_alias_is_not_followed():
    name, text = good_card(1)
    start = text.index("author: ")
    bomb = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 'x'}]\n\n" for n in range(30))
    assert "hub-front-matter" in {rule for rule, _, _ in hub(text[:start] + bomb + text[start:], name)}


def test_in_the_place_of_a_chinese_card_its_english_one_is_judged():
    name, text = good_card(2)
    chinese = name.removesuffix(".md") + "_cn.md"

    def found(*cards):
        given = [Card(f"a/{path}", encode(content)) for path, content in cards]
        reports = engine.check(given, rules().values(), Options(target="hub"))
        return [(card.path, rule.name) for card, rule, _ in reports]

    assert found((chinese, "no card")) == [(f"a/{chinese}", "hub-english-card")]
    assert found((name, text), (chinese, "no card")) == []
    rejected = found((name, text.replace("license: ", "licence: ")), (chinese, text))
    assert rejected == [(f"a/{name}", "hub-missing-field"), (f"a/{chinese}", "hub-english-card")]


@pytest.mark.corpus
def test_agrees_with_the_validator_on_each_card():
    paths = engine.find([str(CORPUS)], Configuration())
    cards = [engine.read(path) for path in paths]
    reports = engine.lint(cards, Configuration(target="hub"), Options(target="hub"))
    found = {report.card.path.removeprefix(f"{CORPUS}/") for report in reports}
    assert len(cards) == VERDICTS["cards"]
    assert sorted(found) == sorted(VERDICTS["reject"] + VERDICTS["stop"])


@pytest.mark.corpus
@pytest.mark.parametrize("bug", VERDICTS["bugs"])
def test_the_cards_that_a_bug_touches_are_counted_in_the_docs(bug):
    cards = VERDICTS["bugs"][bug]
    assert all((CORPUS / card).is_file() for card in cards)
    page = (ROOT / "docs" / "lint-hub.md").read_text(encoding="utf-8")
    [row] = [line for line in page.splitlines() if f"(`{bug}`)" in line]
    assert f"| {len(cards)} |" in row
