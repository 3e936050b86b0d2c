"""Good cards, each with one thing made wrong: its rule finds it, on the right line. Format, schema and style."""

import random
import re

import pytest
from linting import check, fixed, good_card, line_of, names

from hubpkg.lint.source import Card

SEEDS = range(24)
FRONT_KEYS = ("model-name", "backbone-name", "module-type", "author", "user-id", "used-for", "license", "summary")
REQUIRED = (*FRONT_KEYS, "fine-tunable", "model-version", "update-time", "repo-link", "mindspore-version")
FENCE = "```\ntext\n```\n"


def chance_of(rule, seed):
    """The same choices each time."""
    return random.Random(f"{rule} {seed}")  # noqa: S311 - nothing is secret here


def value(text, key, new):
    """The text with another value of ``key``, and the line that it is on."""
    changed, count = re.subn(rf"^([- ]*{key}: ).*$", lambda match: match[1] + new, text, count=1, flags=re.MULTILINE)
    assert count == 1, key
    return changed, line_of(text, f"{key}: ")


def before(text, part, new):
    """The text with ``new`` before ``part``, and the line that it is on."""
    line = line_of(text, part)
    return text.replace(part, new + part, 1), line


def yaml_invalid(text, chance):
    key = chance.choice(FRONT_KEYS)
    kind = chance.randrange(6)
    if kind == 0:
        return value(text, "evaluation", "-")
    if kind == 1:
        return value(text, "author", "MindSpore: team: hub")
    if kind == 2:
        return value(text, key, chance.choice(["'quoted", '"quoted', "[a, b", "{a: b", "*a b", "'a' b", "@a", "- a"]))
    if kind == 3:
        return text.replace(f"{key}: ", f"{key}:", 1), line_of(text, f"{key}: ")
    if kind == 4:
        junk = chance.choice(["text", "some text", "key:value", "key：value", "<br>", "1. a", "]", "| a | b |"])
        return before(text, f"{key}: ", f"{junk}\n\n")
    return text.replace(f"{key}: ", f"{key}：", 1), line_of(text, f"{key}: ")


def front_matter_delimiters(text, chance):
    kind = chance.randrange(4)
    if kind == 0:
        return text.replace("---\n", "", 2), 1
    if kind == 1:
        return text.replace("---\n", "", 1), line_of(text, "---\n\n# ") - 1
    if kind == 2:
        return text.replace("---\n", "-----\n", 1), 3
    return before(text, "---\n", "More text.\n\n")


def body_delimiter(text, chance):
    return before(
        text,
        chance.choice(["## Introduction", "## Performance", "## References"]),
        chance.choice(["---\n\n", "----\n\n"]),
    )


def title_missing(text, chance):
    return chance.choice([text.partition("\n")[2], f"#{text}"]), 1


def not_utf8(text, chance):
    word = chance.choice(["Images", "reference" if "reference" in text else "paper", "paper"])
    data = text.encode().replace(word.encode(), chance.choice([b"\xe9", b"\xff\xfe", b"\xed\xa0\x80"]), 1)
    return data, line_of(text, word)


def invisible_character(text, chance):
    if not chance.randrange(4):
        return f"\ufeff{text}", 1
    return before(text, chance.choice(["Images", "paper", "Training"]), chance.choice("\u200b\x02\u202e\x7f"))


def card_too_large(text, chance):
    return text + "a" * ((1 << 20) + chance.randrange(9)), 1


def unsafe_html(text, chance):
    html = [
        "<script>x</script>",
        "<iframe src='a'>",
        '<img src="a" onerror="x">',
        '<a href="javascript:x">a</a>',
        "[a](vbscript:x)",
        "<STYLE>",
    ]
    return before(
        text,
        chance.choice(["Images go in", "A paper" if "\nA paper" in text else "Images go in"]),
        f"{chance.choice(html)} ",
    )


def code_block_unclosed(text, chance):
    if chance.randrange(2):
        return text.replace("```\n\n## References", "\n## References"), line_of(text, "```shell")
    return f"{text}\n~~~python\nprint()\n", text.count("\n") + 2


def heading_without_space(text, chance):
    heading = chance.choice(["## Introduction", "## Performance", "### Training", "## References"])
    return text.replace(heading, heading.replace(" ", ""), 1), line_of(text, heading)


def link_syntax(text, chance):
    if chance.randrange(2):
        return before(text, "Images go in", "(the paper)[https://arxiv.org/abs/2106.09681] ")
    return text.replace("](https://arxiv", "] (https://arxiv", 1), line_of(text, "](https://arxiv")


def table_cells(text, chance):
    [row] = re.findall(r"^\|.*\[weights\].*$", text, re.MULTILINE)
    wrong = (
        row.replace("|", "| x |", 1) if chance.randrange(2) else row.replace("|", "", 1).partition("|")[2].join("||")
    )
    wrong = wrong if wrong.count("|") != row.count("|") else f"{row} 1 |"
    return text.replace(row, wrong), line_of(text, row)


def missing_field(text, chance):
    key = chance.choice(REQUIRED)
    if chance.randrange(2):
        changed, line = value(text, key, "")
        return changed.replace(f"\n{key}: \n", f"\n{key}:\n"), line
    return re.sub(rf"^{key}: .*\n\n", "", text, count=1, flags=re.MULTILINE), 3


def unknown_field(text, chance):
    if chance.randrange(2):
        return before(text, "license: ", f"{chance.choice(['licence', 'modelname', 'x'])}: a\n\n")
    key = chance.choice(FRONT_KEYS[:2])
    return text.replace(f"{key}: ", f"{key.replace('-', '_')}: ", 1), line_of(text, f"{key}: ")


def duplicate_key(text, chance):
    other = chance.choice([key for key in FRONT_KEYS[2:] if key != "model-name"])
    line = line_of(text, "\nsummary: ") + 3
    return text.replace("\n\n---\n\n# ", f"\n\n{other}: a\n\n---\n\n# ", 1), line


def wrong_type(text, chance):
    key, new = chance.choice(
        [
            ("fine-tunable", '"True"'),
            ("fine-tunable", "maybe"),
            ("author", "12"),
            ("summary", "no"),
            ("user-id", "[a, b]"),
            ("backbone-name", "1.5"),
            ("license", "2020-01-01"),
            ("asset", "none"),
            ("summary", "{a: b}"),
        ]
    )
    if key == "asset":
        changed = re.sub(r"^asset:\n\n(?:[- ].*\n)+", "asset: none\n", text, count=1, flags=re.MULTILINE)
        return changed, line_of(text, "asset:")
    return value(text, key, new)


def unknown_value(text, chance):
    return value(text, *chance.choice([
        ("module-type", "vision"), ("module-type", "CV"), ("module-type", "cv-a-b"), ("used-for", "training"),
        ("used-for", "inference, transfer-learning"), ("model-version", "v2"), ("mindspore-version", "newest"),
    ]))  # fmt: skip


def version_loses_digits(text, chance):
    key = chance.choice(["model-version", "mindspore-version"])
    return value(text, key, chance.choice(["1.10", "2.10", "010", "1.20", "2.00", "0x10", "1.700"]))


def date_not_iso(text, chance):
    return value(
        text, "update-time", chance.choice(["2023-2-17", "2023/02/17", "17.02.2023", "2023-02-30", "20230217", "today"])
    )


def licence_not_spdx(text, chance):
    return value(
        text,
        "license",
        chance.choice(["Apache2.0", "Apache 2.0", "apache-2.0", "BSD", "MIT License", "GPL", "MIT or GPL"]),
    )


def colon_in_value(text, chance):
    return value(text, chance.choice(["summary", "author", "user-id"]), chance.choice(["a:b", '"a: b"', "https://a.b"]))


def heading_colon(text, chance):
    title = text.partition("\n")[0]
    heading = chance.choice([title, "## Introduction", "## Performance", "### Training", "## References"])
    return text.replace(heading, heading + chance.choice([":", "：", " :"]), 1), line_of(text, heading)


def line_endings(text, chance):
    kind = chance.choice(["\r\n", "\r"])
    if chance.randrange(2):
        return text.replace("\n", kind), 1
    return text.replace("## Performance\n", f"## Performance{kind}", 1), line_of(text, "## Performance")


def trailing_space(text, chance):
    part = chance.choice([f"{key}: " for key in FRONT_KEYS] + ["## Performance", "Images go in"])
    line = line_of(text, part)
    lines = text.split("\n")
    lines[line - 1] += " " if "##" in part or "Images" in part else chance.choice([" ", "  ", "\t"])
    return "\n".join(lines), line


def final_newline(text, chance):
    last = text.count("\n")
    return text.rstrip("\n") + chance.choice(["", "\n\n", "\n\n\n", "\n "]), last


def space_around_value(text, chance):
    key = chance.choice([*FRONT_KEYS, "file-format"])
    return text.replace(f"{key}: ", f"{key}{chance.choice([':  ', ' : ', ':   ', ' :  '])}", 1), line_of(
        text, f"{key}: "
    )


MUTATIONS = {
    name.replace("_", "-"): function
    for name, function in list(globals().items())
    if callable(function) and name.replace("_", "-") in {*names("format"), *names("schema"), *names("style")}
}


def test_each_rule_of_these_families_has_mutations():
    assert set(MUTATIONS) == {*names("format"), *names("schema"), *names("style")}


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_found_on_a_good_card(seed):
    name, text = good_card(seed)
    assert check(text, name) == []
    assert check(text, name, target="hub") == []
    assert fixed(text, name=name) == text


@pytest.mark.parametrize("rule", MUTATIONS)
def test_each_mutation_is_found_on_its_line(rule):
    for seed in SEEDS:
        name, text = good_card(seed)
        mutated, line = MUTATIONS[rule](text, chance_of(rule, seed))
        assert mutated != text
        found = {where for which, where, _ in check(mutated, name) if which == rule}
        assert line in found, (seed, line, found, mutated)


@pytest.mark.parametrize("key", FRONT_KEYS)
def test_a_key_with_no_space_or_a_full_width_colon_is_mended(key):
    name, text = good_card(7)
    assert fixed(text.replace(f"{key}: ", f"{key}:", 1), ["yaml-invalid"], name) == text
    for colon in ("：", ":\u00a0", ":\u3000"):
        assert fixed(text.replace(f"{key}: ", f"{key}{colon}", 1), ["yaml-invalid"], name) == text


@pytest.mark.parametrize("junk", ["text", "some text", "key:value", "author:\u00a0x", "<br>", "]"])
def test_a_line_that_is_no_yaml_changes_no_other_value(junk):
    name, text = good_card(7)
    text = text.replace("\nauthor: ", f"\n{junk}\n\nauthor: ", 1)
    rules = {rule for rule, *_ in check(text, name)}
    assert rules <= {"yaml-invalid", "duplicate-key"}


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_utf_16_is_told_once(encoding):
    name, text = good_card(7)
    data = "\ufeff".encode(encoding) + text.encode(encoding) if encoding == "utf-16-be" else text.encode(encoding)
    found = [(line, column) for rule, line, column in check(data, name) if rule in {"not-utf8", "invisible-character"}]
    assert found == [(1, 1)]


def test_a_lone_dash_is_mended_in_an_evaluation_alone():
    name, text = good_card(7)
    for key, fixable in (("evaluation", True), ("author", False), ("fine-tunable", False)):
        changed, line = value(text, key, "-")
        assert ("yaml-invalid", line, len(key) + 3) in check(changed, name)
        assert (fixed(changed, ["yaml-invalid"], name) != changed) is fixable


@pytest.mark.parametrize("usual", [("evaluation", "-"), ("author", None)])
def test_a_usual_fault_hides_no_other_one(usual):
    name, text = good_card(7)
    key, new = usual
    text = value(text, key, new)[0] if new else text.replace(f"{key}: ", f"{key}：", 1)
    lines = {line_of(text, key), line_of(text, "summary: ")}
    text = value(text, "summary", "a: b: c")[0]
    assert {line for rule, line, _ in check(text, name) if rule == "yaml-invalid"} == lines
    assert fixed(text, ["yaml-invalid"], name) == text


def test_beside_a_claim_of_nothing_all_is_read_as_yaml_does():
    name, text = good_card(7)
    text = value(text, "evaluation", "-")[0].replace("license: ", "? license\n: ", 1)
    card = Card(name, text.encode())
    assert card.text_of("evaluation") == "-"
    assert card.text_of("license") == Card(name, good_card(7)[1].encode()).text_of("license")


@pytest.mark.parametrize("rule", sorted(MUTATIONS.keys() - {"card-too-large"}))  # of which nothing is read
def test_fixing_a_mutation_settles_it_or_leaves_it_alone(rule):
    for seed in SEEDS:
        name, text = good_card(seed)
        mutated, _ = MUTATIONS[rule](text, chance_of(rule, seed))
        if isinstance(mutated, bytes):
            mutated = mutated.decode("utf-8", "surrogateescape")
        once = fixed(mutated, name=name)
        assert fixed(once, name=name) == once
        assert {which for which, *_ in check(once, name)} <= {which for which, *_ in check(mutated, name)}
