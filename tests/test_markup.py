"""Markdown from anyone, made HTML that can do nothing."""

import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hubpkg import markup

HOSTILE = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "[a](javascript:alert(1))",
    "[a](JaVaScRiPt:alert(1))",
    "[a](java\tscript:alert(1))",
    "[a](&#106;avascript:alert(1))",
    "<a href='jav&#x0A;ascript:alert(1)'>a</a>",
    "[a](data:text/html;base64,PHNjcmlwdD5hbGVydCgxKTwvc2NyaXB0Pg==)",
    "![a](javascript:alert(1))",
    "<a href='data:text/html,<script>alert(1)</script>'>a</a>",
    "<iframe src='https://example.com'></iframe>",
    "<object data=x></object><embed src=x>",
    "<form action='https://example.com'><input name=a><button>b</button></form>",
    "<style>body { background: url(https://example.com) }</style>",
    "<p style='background: url(https://example.com)' onclick=alert(1) class=sheet>x</p>",
    "<base href='https://example.com/'><meta http-equiv=refresh content='0;url=https://example.com'>",
    "<link rel=stylesheet href='https://example.com/a.css'>",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<table title='<img src=x onerror=alert(1)>'><tr><td>x",
    "<div class='scroll skip' tabindex=5 role=alert id=main>x</div>",
    "<h2 id=main>x</h2>",
    "| a |\n|--|\n| <img src=x onerror=alert(1)> |",
    "<!-- --!><script>alert(1)</script>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "`<script>alert(1)</script>`",
    "```\n<script>alert(1)</script>\n```",
]
ALLOWED = {"href", "src", "alt", "width", "height", "start", "align", "colspan", "rowspan", "id", "class", "tabindex"}
ALLOWED |= {"role", "aria-label", "rel"}


class Elements(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.found = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.found.append((tag, dict(attributes)))


def assert_harmless(html):
    for tag, attributes in Elements(html).found:
        assert tag in markup._TAGS  # noqa: SLF001 - no tag that is not listed
        assert attributes.keys() <= ALLOWED
        assert attributes.get("class", "scroll") == "scroll"
        assert attributes.get("role", "group") == "group"
        assert attributes.get("id", "card-").startswith("card-")
        assert re.match(r"(https?|mailto):|#card-|$", attributes.get("href", ""), re.IGNORECASE), attributes
        assert "src" not in attributes


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_markdown_comes_out_harmless(text):
    assert_harmless(markup.to_html(text, 3))
    assert_harmless(markup.to_html(f"before\n\n> - {text}\n\nafter", 3))


@given(st.lists(st.sampled_from([*HOSTILE, "\n\n", "<", ">", '"', "'", "`", "|", "<table>", "</td>"]), max_size=6))
def test_so_does_what_they_make_together(parts):
    assert_harmless(markup.to_html("".join(parts), 3))


def test_a_text_made_to_take_for_ever_is_shown_as_it_is():
    html = markup.to_html("![" * 500_000, 3)
    assert html == f'<pre tabindex="0">{"![" * 500_000}</pre>'


def test_headings_lie_below_the_page_s_without_a_gap():
    html = markup.to_html("# A b\n\n### C\n\n# A b\n\n###### D", 3)
    assert re.findall(r'<(h\d) id="([^"]+)"', html) == [
        ("h3", "card-a-b"),
        ("h4", "card-c"),
        ("h3", "card-a-b-2"),
        ("h4", "card-d"),
    ]


def test_a_link_within_the_card_leads_to_its_heading():
    html = markup.to_html("## References\n\n<a href='#references'>1</a> [2](#References)", 3)
    assert 'id="card-references"' in html
    assert html.count('href="#card-references"') == 2


def test_relative_links_and_pictures_are_what_the_page_says():
    html = markup.to_html(
        "![b](b.png) [y](tiny/a.yaml) [n](other) ![p](p.png) <img src='q.png' alt='q'>",
        3,
        {"tiny/a.yaml": "pkg/tiny/a.yaml"}.get,
        {"p.png": "data:image/png;base64,AA=="}.get,
    )
    assert 'href="pkg/tiny/a.yaml"' in html
    assert ">n</a>" in html
    assert "other" not in html
    assert '<img src="data:image/png;base64,AA==" alt="p">' in html
    assert '<img alt="q">' in html
    assert "<p>b <a" in html
    assert markup.to_html("![p](p.png)<img src=p>", 3) == "<p>p</p>\n"


def test_tables_keep_their_columns_aligned_and_can_be_moved_by_keys():
    html = markup.to_html("| a | b |\n| :-: | --: |\n| 1 | 2 |", 3)
    assert '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>' in html
    assert '<th align="center">a</th>' in html
    assert '<td align="right">2</td>' in html


@pytest.mark.parametrize("link", ["https://example.com/a", "http://example.com"])
def test_a_link_to_the_web_is_one(link):
    assert markup.is_web_link(link)


@pytest.mark.parametrize("link", ["javascript:alert(1)", " https://example.com", "//example.com", "https://", None, 3])
def test_other_links_are_not(link):
    assert not markup.is_web_link(link)
