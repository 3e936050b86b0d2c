"""Cards are read with the place of every value, every byte kept, and as far as they can be read."""

import datetime as dt
import re
import time

import pytest
import yaml
from conftest import CORPUS
from hypothesis import example, given, settings
from hypothesis import strategies as st
from linting import check, good_card

from hubpkg.lint.source import LARGEST, Card
from hubpkg.lint.values import Value, resolve

CHINESE = """# XCiT

---

模型名称：xcit

模块类型：cv

可微调： True

资源：

- 文件格式：.ckpt
  资源链接： <https://example.com/xcit.ckpt>
  资源SHA256校验码： 01234567

---

## 简介
"""


def front(text):
    return Card("a.md", f"# a\n\n---\n{text}\n---\n".encode())


def yaml_of(text):
    """What PyYAML reads in a text: a mapping, or None."""
    try:
        data = yaml.load(text, yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, TypeError, AttributeError, IndexError, KeyError):
        return None
    return data if isinstance(data, dict) else None


@pytest.mark.corpus
def test_all_cards_of_the_corpus_keep_their_bytes_and_are_read_as_yaml_reads_them():
    count = refused = 0
    for path in sorted(CORPUS.rglob("*.md")):
        data = path.read_bytes()
        card = Card(str(path), data)
        assert card.data == data
        expected = yaml_of(card.text[card.front.start : card.front.end])
        assert (card.yaml_error is None) == (expected is not None), path
        if expected is not None:
            assert card.front.resolved == expected, path
        else:
            refused += 1
            assert card.text_of("model-name"), path
            assert card.text_of("license"), path
        for holder in (card.front, *card.assets):
            for field in holder.fields:
                assert card.text[field.start : field.end] == field.key
                if field.value.text:
                    assert card.text[field.value.start : field.value.end] == field.value.text, path
        count += 1
    assert count == 2042
    assert refused == 84


def test_a_value_has_its_place_and_its_text():
    name, text = good_card(3)
    card = Card(name, text.encode())
    value = card.fields["license"].value
    assert card.text[value.start : value.end] == value.text
    line = text.splitlines()[card.position(value.start).line - 1]
    assert line.index(value.text) == card.position(value.start).column - 1
    digest = card.assets[0].get("asset-sha256").value
    assert card.text[digest.start : digest.end] == digest.text
    link = card.assets[0].get("asset-link").value
    assert card.text[link.link_start :].startswith(link.link)
    assert link.link.startswith("https://")


@pytest.mark.parametrize("digest", ["01234567", "12345678", "1e234567", "0x123456", "1_000", "12:34:56", "0o17", ".5"])
def test_a_digest_is_never_a_number(digest):
    card = front(f"asset:\n\n-\n    asset-sha256: {digest}\n")
    assert card.assets[0].text_of("asset-sha256") == digest


@pytest.mark.parametrize(
    "line",
    [
        "summary: 'it''s'",
        'summary: "a\\tb"',
        "summary: a # b",
        "summary: [a, [b]]",
        "summary: {a: b}",
        "summary: !!str 1",
    ],
)
def test_what_is_more_than_a_line_of_text_is_read_as_yaml_reads_it(line):
    card = front(f"model-name: a\n{line}\n")
    assert card.yaml_error is None
    assert card.fields["summary"].value.resolved in (yaml_of(line)["summary"], "1", 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1.10", 1.1),
        ("2.0", 2.0),
        ("010", 8),
        ("0x1F", 31),
        ("1_000", 1000),
        ("yes", True),
        ("OFF", False),
        ("~", None),
        ("", None),
        ("2023-02-17", dt.date(2023, 2, 17)),
        ("2023-2-17", "2023-2-17"),
        ("2023-02-30", "2023-02-30"),
        ("12:30", "12:30"),
        ("0b101", 5),
        ("1e5", "1e5"),
        (".inf", float("inf")),
        ("9" * 5000, "9" * 5000),
        ("_", "_"),
    ],
)
def test_a_plain_scalar_is_resolved_as_yaml_does(text, value):
    assert resolve(text) == value


def test_a_chinese_card_has_english_names():
    card = Card("xcit_cn.md", CHINESE.encode())
    assert card.chinese
    assert card.name == "xcit"
    assert card.text_of("model-name") == "xcit"
    assert card.fields["fine-tunable"].value.resolved is True
    assert card.fields["model-name"].key == "模型名称"
    [asset] = card.assets
    assert asset.text_of("file-format") == ".ckpt"
    assert asset.get("asset-link").value.link == "https://example.com/xcit.ckpt"
    assert asset.text_of("asset-sha256") == "01234567"
    assert card.yaml_error is not None


@pytest.mark.parametrize(
    ("bad", "line"),
    [
        ("evaluation: -", 9),
        ("accuracy: resnet50: 81.27", 9),
        ("summary: [a", 11),
        ("summary: 'a", 11),
        ("\tsummary: a", 9),
    ],
)
def test_what_yaml_refuses_has_its_place_and_the_rest_is_read(bad, line):
    card = Card("a.md", f"# a\n\n---\n\nmodel-name: a\n\nauthor: b\n\n{bad}\n\nlicense: MIT\n\n---\n".encode())
    assert card.yaml_error is not None
    assert abs(card.position(card.yaml_error.offset).line - line) <= 2
    assert (card.text_of("model-name"), card.text_of("author"), card.text_of("license")) == ("a", "b", "MIT")


@pytest.mark.parametrize(
    "text",
    [
        "# a\n\nmodel-name: a\n\nlicense: MIT\n\n# body\n",
        "# a\n\n---\n\nmodel-name: a\n\nlicense: MIT\n\n# body\n",
        "# a\n\nmodel-name: a\n\nlicense: MIT\n\n---\n\n# body\n",
        "\ufeff# a\n\n---\nmodel-name: a\nlicense: MIT\n---\n# body\n",
        "# a\r\n\r\n---\r\nmodel-name: a\r\nlicense: MIT\r\n---\r\n# body\r\n",
        "# a\r\r---\rmodel-name: a\rlicense: MIT\r---\r# body\r",
    ],
)
def test_fields_and_body_are_found_without_delimiters_and_with_any_line_ends(text):
    card = Card("a.md", text.encode())
    assert (card.text_of("model-name"), card.text_of("license")) == ("a", "MIT")
    assert [heading.text for heading in card.headings] == ["body"]
    assert card.data == text.encode()


def test_a_text_without_front_matter_has_no_fields():
    card = Card("README.md", b"# hubpkg\n\nA tool: it checks.\n\n## Use\n")
    assert not card.fields
    assert [heading.text for heading in card.headings] == ["hubpkg", "Use"]


BODY = """# a

---
model-name: a
---

# XCiT ##

## Use [it](https://example.com/a_(b)) now
Setext
======

| a | b |
| - | :-: |
| 1 | x \\| y |
| `2|3` |

a | b
--|--
1 | 2

```shell
# not a heading
[no](link)
```

~~~
```
~~~

[text](<with space> "title") ![image](x.png) [![badge](b.svg)](https://example.com/c)
<https://example.com/auto> https://example.com/bare. `[code](no)` <!-- [comment](no) -->
<a href="#references">1</a> <img src='figure.png'>

[label]: https://example.com/defined
"""


def test_the_body_has_headings_tables_links_and_code_blocks():
    card = Card("a.md", BODY.encode())
    assert [(h.level, h.text) for h in card.headings] == [
        (1, "XCiT"),
        (2, "Use [it](https://example.com/a_(b)) now"),
        (1, "Setext"),
    ]
    assert [[cell.text for cell in table.header] for table in card.tables] == [["a", "b"], ["a", "b"]]
    assert [cell.text for cell in card.tables[0].rows[0]] == ["1", "x \\| y"]
    assert [(fence.info, fence.closed) for fence in card.fences] == [("shell", True), ("", True)]
    assert [(link.kind, link.url) for link in card.links] == [
        ("link", "https://example.com/a_(b)"),
        ("link", "with space"),
        ("image", "x.png"),
        ("image", "b.svg"),
        ("link", "https://example.com/c"),
        ("auto", "https://example.com/auto"),
        ("bare", "https://example.com/bare"),
        ("href", "#references"),
        ("src", "figure.png"),
        ("definition", "https://example.com/defined"),
    ]
    for table in card.tables:
        for row in [table.header, *table.rows]:
            assert all(card.text[cell.start : cell.end] == cell.text for cell in row)
    assert all(card.text[link.start : link.end] == link.url for link in card.links)
    assert all(card.text[heading.start : heading.end] == heading.text for heading in card.headings)


def test_positions_are_those_of_the_text():
    card = Card("a.md", b"ab\r\ncd\ref\n")
    assert [tuple(card.position(at)) for at in range(9)] == [
        (1, 1), (1, 2), (1, 3), (1, 4), (2, 1), (2, 2), (2, 3), (3, 1), (3, 2),
    ]  # fmt: skip
    assert card.lines == ["ab", "cd", "ef"]
    assert tuple(Card("a.md", b"").position(0)) == (1, 1)


def read_all(card):
    """Ask for everything that is read."""
    return (
        card.lines,
        card.starts,
        card.title,
        card.assets,
        card.headings,
        card.fences,
        card.prose,
        card.tables,
        card.links,
    )


def check_offsets(card):
    """All places lie in the text, and are what they say."""
    text = card.text
    assert len(card.prose) == len(text)
    assert card.starts[-1] == len(text)
    assert 0 <= card.front.start <= card.front.end <= card.body_start <= len(text) or not card.front.end
    waiting = [card.front]
    while waiting:
        value = waiting.pop()
        assert 0 <= value.start <= value.end <= len(text), value.style
        waiting += [*value.items, *(field.value for field in value.fields)]
        assert all(0 <= field.start <= field.end <= len(text) for field in value.fields)
    for place in (
        *card.headings,
        *card.fences,
        *card.links,
        *(c for t in card.tables for r in (t.header, *t.rows) for c in r),
    ):
        assert 0 <= place.start <= place.end <= len(text)
    if card.yaml_error:
        assert 0 <= card.yaml_error.offset <= len(text)


PIECES = st.sampled_from(
    [
        "---",
        "\n",
        "\r\n",
        "\r",
        " ",
        "  ",
        "    ",
        "\t",
        "- ",
        "-",
        ":",
        ": ",
        "：",
        "#",
        "# ",
        "a",
        "model-name",
        "asset",
        "asset-sha256",
        "license",
        "资源",
        "模型名称：",
        "[",
        "]",
        "{",
        "}",
        ",",
        "'",
        '"',
        "|",
        ">",
        "&a ",
        "*a",
        "!!str ",
        "<https://example.com>",
        "1.10",
        "01",
        "yes",
        "null",
        "2023-02-30",
        "```",
        "~~~",
        "`",
        "| a | b |",
        "|---|",
        "[a](b)",
        "![",
        "](",
        "(",
        ")",
        "<!--",
        "-->",
        "\\",
        "\x00",
        "\x85",
        "\u2028",
        "\ufeff",
        "\udc80",
        "é",
        "=",
        "==",
        "%",
        "@",
        "?",
        "<<",
        "<a href=",
        "<script>",
        "...",
        "\n---\n",
        "\n- a: b\n",
        "https://",
        "é",
    ]
)


@settings(max_examples=400)
@given(
    st.one_of(
        st.binary(max_size=300),
        st.lists(PIECES, max_size=60).map(lambda parts: "".join(parts).encode("utf-8", "surrogateescape")),
    )
)
@example(b"\xed\xa0\x80")
@example(b"---\n-\n---")
@example(b"---\nasset:\n- a: b\n  - c\n---")
def test_any_bytes_are_kept_and_read(data):
    card = Card("a.md", data)
    assert card.data == data
    read_all(card)
    check_offsets(card)


KEYS = st.sampled_from(["model-name", "license", "summary", "asset", "author", "x", "used-for"])
SCALARS = st.one_of(
    st.sampled_from(
        [
            "a",
            "a b",
            "1.10",
            "010",
            "0x1",
            "yes",
            "no",
            "~",
            "2023-02-17",
            "a: b",
            "a #b",
            "a#b",
            "-",
            "- a",
            "a:",
            "'q'",
            '"q"',
            "'q' x",
            "[1, 2]",
            "[a, [b]]",
            "[1,2 ]",
            "{a: b}",
            "<https://a.b/c>",
            "&x a",
            "*x",
            "!!int 3",
            "|",
            ">",
            "%a",
            "@a",
            "`a`",
            "a\tb",
            "",
            "é",
            "?",
            "? a",
            ",a",
            "1e3",
            "1.5e+3",
            ".5",
            "=",
            "<<",
            '"a\\n"',
            "'a''b'",
            "a: ",
            "[a",
            "]",
            "\u3000a",
            "a\u200b",
        ]
    ),
    st.text(alphabet=st.characters(codec="utf-8", categories=["L", "N", "P", "S", "Zs"]), max_size=8).map(str.strip),
)
LINES = st.one_of(
    st.builds("{}: {}".format, KEYS, SCALARS),
    st.builds("    {}: {}".format, KEYS, SCALARS),
    st.builds("  {}: {}".format, KEYS, SCALARS),
    st.builds("- {}: {}".format, KEYS, SCALARS),
    st.builds("  - {}".format, SCALARS),
    st.builds("{}:".format, KEYS),
    st.sampled_from(
        [
            "",
            "-",
            "- ",
            "  -",
            "# comment",
            "  more text",
            "more text",
            "key:value",
            "'quoted': a",
            "1: 2",
            "asset :",
            " a: b",
        ]
    ),
)


def plain(value):
    """Whether hubpkg means to read a value as PyYAML does: text keys, no time of day, no number to the base 60."""
    if isinstance(value, dict):
        return all(isinstance(key, str) and plain(item) for key, item in value.items())
    if isinstance(value, list):
        return all(map(plain, value))
    return not isinstance(value, dt.datetime)


@settings(max_examples=1500)
@given(st.lists(LINES, min_size=1, max_size=8).map("\n".join))
@example("a: b\na: c")
@example("asset:\n- a: b\nx: y")
@example("asset:\n-\n  a: b\n-\n  a: b")
@example("asset: a\n- b: c")
@example("summary: a\n\n  more text")
@example("license: 'a' # b")
def test_front_matter_is_read_as_pyyaml_reads_it(text):
    card = front(text)
    text = card.text[card.front.start : card.front.end]
    expected = yaml_of(text)
    unusual = re.search(r"[&*!]|<<|^=|[:\-] +=|\d:\d", text, re.MULTILINE)  # anchors, tags, and what only YAML 1.1 has
    if expected is None:
        # A tag, an alias or a date that can't be converted is no matter of the text's form.
        assert card.yaml_error is not None or unusual or not text.strip() or re.search(r"\d-\d|#", text), text
    elif plain(expected) and not unusual:
        assert card.yaml_error is None or "key that is not text" in card.yaml_error.message, card.yaml_error
        if card.yaml_error is None:
            assert card.front.resolved == expected


def test_a_value_without_fields_gives_none():
    value = Value(0, 0)
    assert value.get("a") is None
    assert value.text_of("a") == ""


def test_a_large_file_is_not_read():
    card = Card("a.md", b"a" * (LARGEST + 1))
    assert card.truncated
    assert not card.text
    read_all(card)


@pytest.mark.parametrize("line", ["| | |", "-|", "|-", "| ", "- |", ":-: |", "--- "])
@pytest.mark.parametrize("shape", ["{0}", "{0}\n|-|\n{0}", "|a|\n{0}x", "|a|\n|-|{0}x", "|a|\n|-|\n{0}"])
def test_the_time_for_tables_grows_with_a_line_and_not_with_its_square(line, shape):
    def seconds(length):
        body = shape.format(line * (length // len(line)))
        taken = []
        for _ in range(3):
            card = Card("a.md", f"# a\n\n---\n\nmodel-name: a\n\n---\n\n-|\n\n{body}\n".encode())
            start = time.process_time()
            _ = card.tables
            taken.append(time.process_time() - start)
        return min(taken)

    # Sixteen times the length: 16 times the time, not 256. Less than a millisecond can't be compared.
    assert seconds(240_000) < 120 * max(seconds(15_000), 1e-3)


def test_a_table_may_be_html():
    text = (
        "# a\n\n---\n\nmodel-name: a\n\n---\n\n<table>\n<thead><tr><th>model</th>\n<th> top-1 </th></tr></thead>\n"
        "<TR><td>a</td><td><b>77.1</b>\n</td></tr>\n<tr><td>b<td>1\n</table>\n\n"
        '<table><tr><th colspan="2">x</th></tr><tr><td>a</td><td>b</td></tr></table>\n<table><tr><td>\n'
    )
    card = Card("a.md", text.encode())
    [table] = card.tables
    assert [cell.text for cell in table.header] == ["model", "top-1"]
    assert [[cell.text for cell in row] for row in table.rows] == [["a", "<b>77.1</b>"], ["b", "1"]]
    assert all(text[cell.start : cell.end] == cell.text for row in [table.header, *table.rows] for cell in row)


@pytest.mark.parametrize("end", ["\r", "\r\n"])
def test_line_ends_change_nothing_of_what_is_read(end):
    for seed in range(20):
        name, text = good_card(seed)
        text = text.replace("| 8 |", "| 7 |").replace("## Introduction", "[a](#b)\n\n## Introduction")
        wrong = re.sub(r"evaluation: .*", "evaluation: top1acc1.00", text)
        assert check(wrong.replace("\n", end), name, ["evaluation", "consistency", "link"]) == check(
            wrong, name, ["evaluation", "consistency", "link"]
        )


@pytest.mark.parametrize("start", ["foo: x", 'license: "x', "foo", "foo:", "license: MIT", "- "])
def test_space_in_a_line_of_the_front_matter_takes_bounded_time(start):
    line = f"{start}{' ' * 400_000}x"
    begin = time.process_time()
    check(f"# a\n\n---\n\nmodel-name: a\n\n{line}\n\n---\n")
    check(f"# a\n\n---\n\nmodel-name: a\n\n{line}#\n\n---\n", target="hub")
    assert time.process_time() - begin < 10  # what is quadratic takes minutes
