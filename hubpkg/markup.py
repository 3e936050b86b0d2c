"""A card's Markdown -> HTML that can do nothing: no script, no style, no request, whatever the card holds.

markdown-it-py reads it, HTML in it included, and nh3 lets through what is listed here, and nothing else.
"""

import html
import re
from collections.abc import Callable, MutableMapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from hubpkg.errors import HubpkgError

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.renderer import RendererHTML
    from markdown_it.token import Token

_PREFIX = "card-"  # of the ids of headings, so that a card can't take one of the page's
_DEEPEST = 6  # level of headings
_LONGEST = 1 << 18  # characters that are read as Markdown; the longest card of the hub has 78,201
_SCHEMES = frozenset({"http", "https", "mailto"})
_HEADINGS = {f"h{level}" for level in range(1, _DEEPEST + 1)}
_CELLS = {"td", "th"}
_TAGS = {
    *("a", "b", "blockquote", "br", "caption", "code", "dd", "del", "details", "div", "dl", "dt", "em", "hr", "i"),
    *("img", "kbd", "li", "ol", "p", "pre", "s", "span", "strong", "sub", "summary", "sup"),
    *("table", "tbody", "tfoot", "thead", "tr", "ul"),
    *_CELLS,
    *_HEADINGS,
}
_ATTRIBUTES = {
    "a": {"href"},
    "img": {"src", "alt", "width", "height"},
    "ol": {"start"},
    "p": {"align"},
    "*": set[str](),  # nh3 would let some through
    **{cell: {"align", "colspan", "rowspan"} for cell in _CELLS},
    **{heading: {"id"} for heading in _HEADINGS},
}
_VALUES = {"div": {"class": {"scroll"}, "tabindex": {"0"}, "role": {"group"}, "aria-label": {"Table"}}}


def to_html(
    text: str,
    level: int,
    link_of: Callable[[str], str | None] = lambda _: None,
    picture_of: Callable[[str], str | None] | None = None,
) -> str:
    """The HTML of a card's body; of a very long one, its text as it is.

    Args:
        text: the body, in Markdown.
        level: of its highest headings in the page, 1 to 6.
        link_of: where a relative link leads in the page; None for nowhere.
        picture_of: gives a picture's data as a ``data:`` URL; None, as where it gives None, leaves its description.

    Raises:
        HubpkgError: the libraries are not installed.
    """
    try:
        import nh3

        markdown = _markdown()
    except ModuleNotFoundError as error:
        raise HubpkgError(
            f"expected {error.name}, which reports and sites need, found none; install it with: "
            "pip install 'hubpkg[report]'"
        ) from None

    def attribute(_tag: str, name: str, value: str) -> str | None:
        if name == "id":
            return value if value.startswith(_PREFIX) else None
        if name == "src":
            return picture_of(value) if picture_of else None
        if name == "href":
            return _target(value, link_of)
        return value

    if len(text) > _LONGEST:  # one made for it could take minutes
        return f'<pre tabindex="0">{html.escape(text)}</pre>'
    tokens = markdown.parse(text)
    _place_headings(tokens, level)
    return nh3.clean(
        markdown.renderer.render(tokens, markdown.options, {"picture_of": picture_of}),
        tags=_TAGS if picture_of else _TAGS - {"img"},
        attributes=_ATTRIBUTES,
        tag_attribute_values=_VALUES,
        set_tag_attribute_values={"pre": {"tabindex": "0"}},
        attribute_filter=attribute,
        url_schemes={*_SCHEMES, "data"},  # pictures; _target lets no other data: through
        link_rel="nofollow noopener noreferrer",
    )


def is_web_link(value: Any) -> bool:
    """Whether ``value`` is a link that a page may have: to the web, and nothing that runs."""
    return isinstance(value, str) and re.match(r"https?://[^\s/]", value) is not None


def _target(value: str, link_of: Callable[[str], str | None]) -> str | None:
    try:
        scheme = urlsplit(value).scheme
    except ValueError:
        return None
    if value.startswith("#"):
        return f"#{_PREFIX}{value[1:].lower()}"
    if scheme or value.startswith("//"):
        return value if scheme.lower() in _SCHEMES else None
    return link_of(value)


@cache
def _markdown() -> "MarkdownIt":
    from markdown_it import MarkdownIt

    made = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    made.add_render_rule("image", _image)
    made.add_render_rule("table_open", _open_table)
    made.add_render_rule("table_close", lambda *_: "</table>\n</div>\n")
    for cell in ("td_open", "th_open"):
        made.add_render_rule(cell, _open_cell)
    return made


def _image(
    renderer: "RendererHTML", tokens: "Sequence[Token]", index: int, options: Any, env: MutableMapping[str, Any]
) -> str:
    """A picture; where it is not at hand, its description."""
    picture_of = env["picture_of"]
    if picture_of and picture_of(str(tokens[index].attrs["src"])) is not None:
        return str(renderer.image(tokens, index, options, env))
    return html.escape(tokens[index].content)


def _open_table(*_: Any) -> str:
    # A wide one is moved by itself, by keys too.
    return '<div class="scroll" tabindex="0" role="group" aria-label="Table"><table>\n'


def _open_cell(
    renderer: "RendererHTML", tokens: "Sequence[Token]", index: int, options: Any, env: MutableMapping[str, Any]
) -> str:
    style = str(tokens[index].attrs.pop("style", ""))
    if style:
        tokens[index].attrs["align"] = style.removeprefix("text-align:")
    return renderer.renderToken(tokens, index, options, env)


def _place_headings(tokens: "Sequence[Token]", level: int) -> None:
    """Put the headings below the page's, none more than one level below the one before, and give them ids."""
    depth, taken = level - 1, set[str]()
    first = min((int(token.tag[1]) for token in tokens if token.type == "heading_open"), default=1)
    for index, token in enumerate(tokens):
        if token.type == "heading_open":
            depth = min(int(token.tag[1]) - first + level, depth + 1, _DEEPEST)
            slug = re.sub(r"[^\w\- ]", "", tokens[index + 1].content.lower()).strip().replace(" ", "-")
            names = (slug, *(f"{slug}-{number}" for number in range(2, len(taken) + 3)))
            name = next(name for name in names if name not in taken)
            taken.add(name)
            token.attrs["id"] = f"{_PREFIX}{name}"
        if token.type in ("heading_open", "heading_close"):
            token.tag = f"h{depth}"
