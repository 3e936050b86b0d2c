"""Single rules of the families format, schema and style, and what all rules have to have."""

import ast
import dataclasses
import json
import re
from pathlib import Path

import pytest
from conftest import ROOT
from linting import check, fixed, good_card, line_of

from hubpkg import card as cards
from hubpkg.lint.rules import FAMILIES, rule, rules

NAMED = """
yaml-invalid front-matter-delimiters missing-field unknown-field duplicate-key wrong-type version-loses-digits
date-not-iso licence-not-spdx asset-sha256-length asset-sha256-format asset-missing-field asset-format-unloadable
asset-hash-not-in-name asset-link-not-in-body evaluation-syntax evaluation-duplicate-metric evaluation-range
metric-name-unknown evaluation-table-mismatch throughput-mismatch parameters-mismatch title-mismatch file-name-mismatch
uid-mismatch repo-link-shape repo-link-moving-branch entrypoint-missing dataset-unlisted colon-in-value body-delimiter
heading-colon dead-anchor relative-link unsafe-html line-endings trailing-space final-newline shared-digest
near-duplicate-name dead-link"""


def edit(key, new, seed=1):
    """A good card with another value of one key."""
    _, text = good_card(seed)
    return re.sub(rf"^({key}): .*$", lambda match: f"{match[1]}: {new}", text, count=1, flags=re.MULTILINE)


def test_the_rules_that_were_promised_are_there():
    assert set(NAMED.split()) <= {found.name for found in rules().values()}


@pytest.mark.parametrize("code", rules())
def test_each_rule_is_explained_and_has_a_code_of_its_family(code):
    found = rules()[code]
    assert code[0] == FAMILIES[found.family]
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)+", found.name)
    assert found.what.endswith(".")
    assert found.why.endswith((".", "!"))
    assert found.bad != found.good
    assert found.targets


@pytest.mark.parametrize(
    "docstring",
    [
        None,
        "What.",
        "What.\n\nWhy:\n    Why.\n\nBad:\n    bad",
        "What.\n\nWhy:\n    Why.\n\nGood:\n    a\n\nBad:\n    b",
    ],
)
def test_a_rule_without_an_explanation_is_refused(docstring):
    def check_nothing(_card):
        yield from ()

    check_nothing.__doc__ = docstring
    made = dataclasses.replace(rules()["F001"], check=check_nothing)
    with pytest.raises(ValueError, match="expected a docstring"):
        _ = made.what


@pytest.mark.parametrize(
    ("code", "name"), [("F001", "other-name"), ("F998", "yaml-invalid"), ("X001", "a"), ("F1", "a")]
)
def test_a_code_or_name_is_given_once(code, name):
    with pytest.raises(ValueError, match=name):
        rule(code, name, "error")(lambda _card: iter(()))


def test_the_cards_that_hubpkg_makes_are_good():
    contents = json.loads((ROOT / "tests" / "data" / "manifest.json").read_text(encoding="utf-8"))
    assert check(cards.render(contents), f"{contents['package']}.md") == []


@pytest.mark.parametrize(
    ("line", "fix"),
    [
        ("evaluation: -", 'evaluation: "-"'),
        ("license: Apache2.0", "license: Apache-2.0"),
        ("license: 'Apache License 2.0'", "license: 'Apache-2.0'"),
        ("license: apache-2.0", "license: Apache-2.0"),
        ("license: MulanPSL v2", "license: MulanPSL-2.0"),
        ("license: GPL", "license: GPL"),
        ("license: Tongyi Qianwen License", "license: Tongyi Qianwen License"),
        ("license: LicenseRef-Tongyi-Qianwen", "license: LicenseRef-Tongyi-Qianwen"),
        ("license: BSD 3-Clause", "license: BSD-3-Clause"),
        ("update-time: 2023-2-7", "update-time: 2023-02-07"),
        ("update-time: 2023/12/17", "update-time: 2023-12-17"),
        ("update-time: 2023-2-30", "update-time: 2023-2-30"),
        ("update-time: 17.2.2023", "update-time: 17.2.2023"),
        ("mindspore-version: 1.10", 'mindspore-version: "1.10"'),
        ("mindspore-version: 2.0", "mindspore-version: 2.0"),
        ("summary: no", 'summary: "no"'),
        ("author: 12", 'author: "12"'),
        ('fine-tunable: "True"', "fine-tunable: True"),
        ("module-type: CV", "module-type: cv"),
        ("user-id:   hub", "user-id: hub"),
    ],
)
def test_what_is_mechanical_is_fixed_and_what_is_not_is_left(line, fix):
    key, _, value = line.partition(": ")
    text = edit(key, value)
    assert line in text
    assert fixed(text) == text.replace(line, fix)


@pytest.mark.parametrize("value", ['"1.10"', "2.5", "1.9.0", "2", "'2.10'"])
def test_versions_that_keep_their_digits_are_fine(value):
    assert check(edit("mindspore-version", value), select=["version-loses-digits"]) == []


@pytest.mark.parametrize("digest", ["bd90776e", "", "01234567"])
def test_a_short_digest_is_not_padded(digest):
    _, text = good_card(2)
    text = re.sub(r"asset-sha256: .*", f"asset-sha256: {digest}", text)
    assert re.search(r"asset-sha256: *(.*)\n", fixed(text))[1].strip('"') == digest


def test_full_width_colons_are_made_ascii_when_yaml_reads_it_then():
    _, text = good_card(0)
    chinese = (
        text.replace("model-name: ", "模型名称：").replace("license: ", "许可证：").replace("asset:\n", "资源：\n")
    )
    mended = fixed(chinese, ["yaml-invalid"])
    assert mended == text.replace("model-name: ", "模型名称: ").replace("license: ", "许可证: ").replace(
        "asset:\n", "资源:\n"
    )
    broken = chinese.replace("summary: ", "summary: [")
    assert fixed(broken, ["yaml-invalid"]) == broken


def test_a_card_that_yaml_refuses_is_still_checked():
    text = edit("evaluation", "-").replace("mindspore-version: ", "mindspore-version: 1.10\nx: ", 1)
    found = check(text)
    assert {"yaml-invalid", "version-loses-digits", "unknown-field"} <= {name for name, *_ in found}


def test_an_empty_file_lacks_its_front_matter_and_no_more():
    assert {name for name, *_ in check("", select=["format", "schema", "style"])} == {"front-matter-delimiters"}


def test_a_readme_is_told_that_it_is_no_card():
    text = "# hubpkg\n\nA tool: it checks.\n\n## Use\n\nText.\n"
    assert {name for name, *_ in check(text, "README.md", ["format", "schema", "style"])} == {"front-matter-delimiters"}


def test_line_breaks_of_markdown_and_code_keep_their_space():
    text = (
        good_card(0)[1]
        .replace("Images go in,", "Images go in,  \nmore")
        .replace("python train.py", "python train.py  \n")
    )
    assert check(text, select=["trailing-space"]) == []


def test_a_thematic_break_in_the_body_is_written_otherwise_and_a_heading_is_not():
    text = good_card(0)[1]
    assert "\n***\n" in fixed(text.replace("## References", "---\n\n## References"), ["body-delimiter"])
    heading = text.replace("## References", "References\n---")
    assert fixed(heading, ["body-delimiter"]) == heading


def test_html_in_code_and_comments_is_no_danger():
    text = (
        good_card(0)[1]
        + '\n`<script>`\n\n<!-- <script> -->\n\n```html\n<script>\n```\n\n<p align="center">a</p> a < b\n'
    )
    assert check(text, select=["unsafe-html"]) == []


def test_unsafe_html_in_the_front_matter_is_found():
    text = edit("summary", "a <script>alert(1)</script>")
    assert check(text, select=["unsafe-html"]) == [("unsafe-html", line_of(text, "<script>"), 13)]


@pytest.mark.parametrize(
    "html",
    [
        "[a](javascript&#58;alert(1))", "[a](java&#115;cript:x)", "[a](&#x6A;avascript&colon;x)", "[a]: vbscript:x",
        "<a href=javascript:x>", '<a href="java\tscript:x">', '<a href="java&#10;script:x">', "<a HREF='javascript:x'>",
        '<a href=" &#1;javascript:x">', "<a title='>' onclick=x>", '<a title="<" onclick=x>', "<img/src=x/onerror=x>",
        "<!--><script>x</script>-->", "<!---><iframe>", "text <!-- <script>", "<form action=a>", "<SCRIPT>",
        "<math><mi xlink:href='data:text/html,x'>", "<textarea>", "<plaintext>", "<svg/onload=x>", "`<script>",
        '<a b="x> <script>x</script> "', "<details open ontoggle=x>", "[a](data:text/html,x)",
    ],
)  # fmt: skip
def test_html_that_hides_what_it_does_is_found(html):
    text = good_card(0)[1].replace("## Introduction", f"{html}\n\n## Introduction")
    assert line_of(text, html) in {line for _, line, _ in check(text, select=["unsafe-html"])}


def test_unsafe_html_in_the_title_is_found_and_told_once():
    text = good_card(0)[1].replace("# ", "# <img src=x onerror=x> ", 1)
    assert check(text, select=["unsafe-html"]) == [("unsafe-html", 1, 14)]


def test_crlf_is_told_once_and_fixed_whole():
    text = good_card(0)[1]
    crlf = text.replace("\n", "\r\n")
    assert [name for name, *_ in check(crlf, select=["format", "schema", "style"])] == ["line-endings"]
    assert fixed(crlf) == text


def test_an_unclosed_code_block_hides_no_other_fault():
    text = good_card(0)[1] + "\n```\n<script>\n"
    assert [name for name, *_ in check(text, select=["format"])] == ["code-block-unclosed"]


def test_no_rule_imports_what_is_heavy():
    heavy = {"jsonschema", "requests", "urllib3", "jinja2", "numpy", "mindspore", "rich"}
    for path in sorted((ROOT / "hubpkg" / "lint").glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            assert not {module.partition(".")[0] for module in modules} & heavy, Path(path).name


def test_a_byte_order_mark_hides_no_title():
    text = good_card(0)[1]
    assert check(f"\ufeff{text}", select=["format"]) == [("invisible-character", 1, 1)]


@pytest.mark.parametrize(
    "body",
    [
        "## C++ API\n\n[a](#c-api)", "## 3.1 Setup & Use\n\n[a](#31-setup--use)", "## `train.py`\n\n[a](#trainpy)",
        "## [Link](https://a.example/b) x\n\n[a](#link-x)", "## A\n\n## A\n\n[a](#a-1)", "## 安装\n\n[a](#安装)",
        '<h2 align="center">Some Thing</h2>\n\n[a](#some-thing)', "- ## In a list\n\n[a](#in-a-list)",
        "> ## In a quote\n\n[a](#in-a-quote)", "## _Emph_ it\n\n[a](#emph-it)", "## snake_case\n\n[a](#snake_case)",
        "Underlined\n===\n\n[a](#underlined)", '<a name="x"></a>\n\n[a](#x)', "\\[a](b)",
        "It is so.[^1]\n\n[^1]: note", "[1] (https://a.example/p)", "[x]: https://a.example\n\n[a][x]",
        "```yaml\na: 1\n ---\nb: 2\n```", "1. a\n   ```shell\n   x\n   ```\n2. b", "~~~\n```\n~~~", "`[a](b)`",
        "| a | b |\n|---|---|\n| x \\| y | z |", "a | b\n--|--\n1 | 2", "- a\n  - b\n    - c\n\n      code",
        "[x](https://a.example/b_(c))", "[![i](https://a.example/i.png)](https://a.example)", "x < y <z", "#1 is best",
        "<!-- [a](b) <script> -->", "`<script>`", "***", "$a_{b}$ and x<y", "**Note:**", "[a](#top)", "a  \nb",
    ],
)  # fmt: skip
def test_right_text_is_left_alone(body):
    name, text = good_card(3)
    assert check(text.replace("## Introduction", f"{body}\n\n## Introduction"), name) == []


def test_a_version_with_a_tag_is_text():
    assert check(edit("mindspore-version", "!!str 1.10"), good_card(1)[0], ["version-loses-digits"]) == []


def test_a_list_in_brackets_begins_with_its_bracket():
    [(rule, _, column)] = check(edit("evaluation", "[top1acc77.27, acc1]"), select=["schema"])
    assert (rule, column) == ("wrong-type", len("evaluation: ") + 1)
