"""Facts -> an HTML page that holds all it needs, asks no other host for anything, and runs no script but our own."""

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hubpkg import __version__, markup

if TYPE_CHECKING:
    import jinja2

_TEMPLATES = Path(__file__).with_name("templates")


def render(template: str, values: Mapping[str, Any], script: str = "", *, connects: bool = False) -> str:
    """The page that ``template`` makes of ``values``; its policy lets the style sheet and ``script`` run, no more.

    Args:
        template: a file of ``templates/``.
        values: what it shows; text in them is escaped, but for HTML that is marked as such.
        script: the page's, if it has one.
        connects: whether the script may ask the page's own server.
    """
    from markupsafe import Markup

    style = _read("style.css")
    policy = {
        "default-src": "'none'",
        "img-src": "data:",
        "style-src": _hash(style),
        **({"script-src": _hash(script)} if script else {}),
        **({"connect-src": "'self'"} if connects else {}),
        "base-uri": "'none'",
        "form-action": "'none'",
    }
    page = {
        "policy": "; ".join(f"{name} {value}" for name, value in policy.items()),
        "style": Markup(style),  # noqa: S704 - ours
        "script": Markup(script),  # noqa: S704 - ours
        "version": __version__,
    }
    text = _environment().get_template(template).render(page=page, **values)
    return text.encode(errors="replace").decode()  # JSON can hold halves of characters, and no file can


def script(*names: str) -> str:
    """The scripts of those names in ``templates/``, one after the other."""
    return "".join(_read(name) for name in names)


@cache
def _read(name: str) -> str:
    return (_TEMPLATES / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{digest}'"


@cache
def _environment() -> "jinja2.Environment":
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.tests["web_link"] = markup.is_web_link
    return environment
