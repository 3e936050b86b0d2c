"""Rules of the family link: where the card sends its readers, and where the hub's client takes code from."""

import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

from hubpkg.lint import figures
from hubpkg.lint.rules import ERROR, WARNING, Finding, Options, quote, replace, rule
from hubpkg.lint.source import Card
from hubpkg.lint.values import Value

ENTRY_FILE = "mindspore_hub_conf.py"
ENTRY_POINT = "create_network"
_REPO_LINK = re.compile(
    r"https?://[^/\s<>]+\.com/[^/\s<>]+/[^/\s<>]+/tree/[^/\s<>]+/(?:[^/\s<>]+/)*(?!\.{1,2}$)[^/\s<>\\?#]+"
)
_REPOSITORY = re.compile(
    r"https?://(?P<host>[^/\s<>]+)/(?P<owner>[^/\s<>]+)/(?P<repository>[^/\s<>]+?)(?:\.git)?"
    r"(?:/(?:tree|blob|raw)/(?P<branch>[^/\s<>]+)(?:/(?P<path>[^\s<>]*))?)?/*$"
)
_MOVING = frozenset(
    ("master", "main", "head", "dev", "develop", "development", "trunk", "latest", "nightly", "default")
)
# Names that are reserved for examples (RFC 2606, RFC 6761): what stands there until a publisher has a place.
_RESERVED = ("example.com", "example.org", "example.net", "example", "test", "invalid")
_ANCHOR = re.compile(r"<[a-zA-Z][^<>]*?\b(?:id|name)[ \t]*=[ \t]*[\"']?([^\"'\s<>]+)")
# Headings in HTML, lists and quotes have names too.
_OTHER_HEADING = re.compile(
    r"<h[1-6]\b[^<>]*>(?P<html>[^\n]{0,500}?)</h[1-6]>"
    r"|^(?=[ \t]*[>*+\-\d])[ \t>]*(?:(?:[*+\-]|\d+[.)])[ \t]+)?#{1,6}[ \t]+(?P<text>[^\r\n]*)",
    re.IGNORECASE | re.MULTILINE,
)
_EMPHASIS = re.compile(r"(?<![^\W_])_+(?=\S)|(?<=\S)_+(?![^\W_])")
_MARKUP = re.compile(r"!?\[([^\[\]]*)\](?:\([^()]*\)|\[[^\[\]]*\])|<[^<>]*>")
_SCHEME = re.compile(r"[a-zA-Z][a-zA-Z0-9+.\-]*:")
_MALFORMED = re.compile(
    r"\(|https?:/?(?![/a-zA-Z:])|https?:/(?!/)|https?//|h?t?tps?:;//|(?:htp|htt|hhttps?|ttps?|htpps?|htttps?)s?://"
    r"|https?://(?:https?:|/|$)|https?://[^/]*,"
)
_OPENED_TWICE = re.compile(r"\]\((?P<url>\(https?:[^\s()]*)\)(?!\))")  # which makes no link

# A target that is no plain URL or anchor: most cards have none, and need not be searched for links.
_UNUSUAL_LINK = re.compile(r"\]\((?!https?://[\w.\-]+\w[/)]|#)")
_UNUSUAL_ATTRIBUTE = re.compile(r"(?:href|src)[ \t]*=[ \t]*(?![\"']https?://[\w.\-]+\w[/\"']|[\"']#)", re.IGNORECASE)


@lru_cache(maxsize=1)
def _has_unusual_link(card: Card) -> bool:
    text = card.text
    if _UNUSUAL_LINK.search(text, card.body_start) or "]:" in text:
        return True
    return text.find("<", card.body_start) >= 0 and bool(_UNUSUAL_ATTRIBUTE.search(text, card.body_start))


def is_placeholder(url: str) -> bool:
    """Whether ``url`` lies under a name that is reserved for examples, and so leads nowhere."""
    try:
        host = (urlsplit(url).hostname or "").rstrip(".")
    except ValueError:
        return False
    return any(host == name or host.endswith(f".{name}") for name in _RESERVED)


def _link(card: Card) -> Value | None:
    return figures.scalar(card, "repo-link")


@rule("L001", "repo-link-shape", ERROR, fixable=True)
def repo_link_shape(card: Card) -> Iterator[Finding]:
    """``repo-link`` is not ``https://<host>.com/<owner>/<repo>/tree/<branch>/<folder>``. A slash at its end is removed.

    Why:
        The hub's client takes it apart at its slashes: branch, folder to clone, and the folder's name beside the card.
        Another shape clones the whole repository, or nothing.

    Bad:
        repo-link: <https://github.com/mindspore-lab/mindcv>

    Good:
        repo-link: <https://github.com/mindspore-lab/mindcv/tree/v0.5.0/configs/xcit>
    """
    value = _link(card)
    if value is None or _REPO_LINK.fullmatch(value.link):
        return
    start, end = value.link_start, value.link_start + len(value.link)
    shorter = value.link.rstrip("/")
    fix = replace(start + len(shorter), end, "") if _REPO_LINK.fullmatch(shorter) and value.style == "plain" else None
    yield Finding(
        start,
        end,
        "expected https://<host>.com/<owner>/<repo>/tree/<branch>/<folder> with no slash at the end, "
        f"found {quote(value.link)}",
        fix,
    )


@rule("L002", "repo-link-moving-branch", WARNING)
def repo_link_moving_branch(card: Card) -> Iterator[Finding]:
    """``repo-link`` names a branch that moves, such as master, or none.

    Why:
        The code changes under the card: the checkpoint stops fitting, and nobody can tell which code it was made with.

    Bad:
        repo-link: <https://gitee.com/mindspore/models/tree/master/research/cv/ghostnet>

    Good:
        repo-link: <https://gitee.com/mindspore/models/tree/v1.9.0/research/cv/ghostnet>
    """
    value = _link(card)
    match = _REPOSITORY.match(value.link) if value is not None else None
    if value is None or match is None or is_placeholder(value.link):
        return
    branch = match["branch"]
    if branch is None:
        end = value.link_start + len(value.link)
        yield Finding(value.link_start, end, "expected a tag or a commit in the link, found no branch")
    elif branch.lower() in _MOVING:
        start, end = (value.link_start + at for at in match.span("branch"))
        yield Finding(start, end, f"expected a tag or a commit, found the branch {quote(branch)}, which moves")


@rule("L003", "entrypoint-missing", ERROR)
def entrypoint_missing(card: Card, options: Options) -> Iterator[Finding]:
    """In the checkout given with ``--checkout``, the folder of ``repo-link`` has no entrypoint.

    An entrypoint is a file ``mindspore_hub_conf.py`` that defines ``create_network``.

    Why:
        The client clones that folder and calls ``create_network``: without it no load can succeed.

    Bad:
        repo-link: <https://github.com/mindspore-lab/mindcv/tree/v0.5.0/configs/xcit>

    Good:
        repo-link: <https://github.com/mindspore-lab/mindcv/tree/v0.5.0/hub/xcit>
    """
    value = _link(card)
    if options.checkout is None or value is None:
        return
    match = _REPOSITORY.match(value.link)
    path = (match["path"] or "").strip("/") if match is not None else ""
    if match is None or ".." in path.split("/"):
        return
    last = path.rpartition("/")[2] or match["repository"]
    places = [options.checkout / path, options.checkout / match["repository"] / path, options.checkout / last]
    start, end = value.link_start, value.link_start + len(value.link)
    folder = next((place for place in places if place.is_dir()), None)
    if folder is None:
        yield Finding(start, end, f"expected the folder {quote(path or last)} in {options.checkout}, found none")
    elif not (folder / ENTRY_FILE).is_file():
        yield Finding(start, end, f"expected {ENTRY_FILE} in {folder}, found none")
    elif not _defines_entry_point(folder / ENTRY_FILE):
        yield Finding(start, end, f"expected a function {ENTRY_POINT} in {folder / ENTRY_FILE}, found none")


def _defines_entry_point(file: Path) -> bool:
    import ast

    try:
        module = ast.parse(file.read_bytes())
    except (OSError, SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for statement in module.body:
        if isinstance(statement, ast.FunctionDef | ast.ClassDef) and statement.name == ENTRY_POINT:
            return True
        if isinstance(statement, ast.ImportFrom | ast.Import) and any(
            (name.asname or name.name) == ENTRY_POINT for name in statement.names
        ):
            return True
        if isinstance(statement, ast.Assign) and any(
            isinstance(target, ast.Name) and target.id == ENTRY_POINT for target in statement.targets
        ):
            return True
    return False


@rule("L004", "dead-anchor", WARNING)
def dead_anchor(card: Card) -> Iterator[Finding]:
    """A link leads to a heading of the card that is not there.

    Why:
        The reader clicks and stays where they are: the section was renamed, or left out when the text was copied.

    Bad:
        [1](#references), and no heading "References"

    Good:
        ## References
    """
    text = card.text
    if not ("](#" in text or "]: #" in text or (text.find("<", card.body_start) >= 0 and "#" in text)):
        return
    anchors: set[str] | None = None
    for link in card.links:
        if link.url[:1] != "#" or link.url.lower() in ("#", "#top"):
            continue
        if anchors is None:
            anchors = _anchors(card)
        name = unquote(link.url[1:]).lower()
        if name.removeprefix("user-content-") not in anchors:
            yield Finding(
                link.start, link.end, f"expected the anchor of a heading of this card, found {quote(link.url)}"
            )


def _anchors(card: Card) -> set[str]:
    """What a link within the card can lead to: each heading's name as hubs make it, and the names given in HTML."""
    anchors = {match[1].lower() for match in _ANCHOR.finditer(card.prose, card.body_start)}
    seen: dict[str, int] = {}
    headings = [heading.text for heading in ([card.title] if card.title is not None else []) + card.headings]
    others = [match["html"] or match["text"] or "" for match in _OTHER_HEADING.finditer(card.prose, card.body_start)]
    for heading in (*headings, *others):
        text = heading.lower()
        if "[" in text or "<" in text:
            text = _MARKUP.sub(lambda match: match[1] or "", text)
        slug = _slug(text)
        count = seen[slug] = seen.get(slug, -1) + 1
        anchors.add(f"{slug}-{count}" if count else slug)
        if "_" in slug:
            anchors.add(_slug(_EMPHASIS.sub("", text)))
    return anchors


def _slug(text: str) -> str:
    return "".join(c for c in text.strip().replace(" ", "-") if c.isalnum() or c in "-_")


@rule("L005", "relative-link", WARNING)
def relative_link(card: Card) -> Iterator[Finding]:
    """A link or image is relative, and no such file lies beside the card.

    What is in the folder of ``repo-link`` is left alone, because the hub's client puts that folder beside the card.

    Why:
        The text was copied from a repository. On the hub, which shows the card alone, the link leads nowhere.

    Bad:
        [yaml](./yolov4.yaml)

    Good:
        [yaml](https://github.com/mindspore-lab/mindyolo/blob/v0.5.0/configs/yolov4/yolov4.yaml)
    """
    if not _has_unusual_link(card):
        return
    entry = card.text_of("repo-link").rstrip(">").rpartition("/")[2]
    for link in card.links:
        url = link.url
        if not url or url[0] in "#(" or url.startswith("//") or _SCHEME.match(url) or _MALFORMED.match(url):
            continue
        if entry and url.removeprefix("./").startswith(f"{entry}/"):
            continue
        if not _lies_beside(card, url):
            yield Finding(link.start, link.end, f"expected a whole URL, or a file beside the card, found {quote(url)}")


def _lies_beside(card: Card, url: str) -> bool:
    path = unquote(re.split("[?#]", url)[0])
    try:
        return bool(path) and path[0] != "/" and "\0" not in path and (Path(card.path).parent / path).exists()
    except (OSError, ValueError):
        return False


@rule("L006", "body-link-moving-branch", WARNING)
def body_link_moving_branch(card: Card) -> Iterator[Finding]:
    """The body links into the repository of ``repo-link``, but to a branch that moves, and ``repo-link`` to a release.

    Why:
        The recipe or page that the reader gets is not the one that the figures were made with, and one day it is gone.

    Bad:
        repo-link: <https://github.com/mindspore-lab/mindcv/tree/v0.5.0/configs/xcit>
        [yaml](https://github.com/mindspore-lab/mindcv/blob/main/configs/xcit/xcit_tiny.yaml)

    Good:
        [yaml](https://github.com/mindspore-lab/mindcv/blob/v0.5.0/configs/xcit/xcit_tiny.yaml)
    """
    text = card.text
    if not ("/ma" in text or "/HEAD/" in text or "/dev" in text):
        return
    value = _link(card)
    own = _REPOSITORY.match(value.link) if value is not None else None
    if own is None or own["branch"] is None or own["branch"].lower() in _MOVING:
        return
    names = ("host", "owner", "repository")
    for link in card.links:
        match = _REPOSITORY.match(link.url) if "/tree/" in link.url or "/blob/" in link.url else None
        if match is None or match["branch"] is None or match["branch"].lower() not in _MOVING:
            continue
        if all(match[name].lower() == own[name].lower() for name in names):
            start, end = (link.start + at for at in match.span("branch"))
            yield Finding(
                start, end, f"expected {quote(own['branch'])}, as in repo-link, found {quote(match['branch'])}"
            )


@rule("L007", "link-malformed", ERROR)
def link_malformed(card: Card) -> Iterator[Finding]:
    """A link has no target, or one that is no URL.

    Why:
        It was to be filled in, or was damaged; the reader gets an error.

    Bad:
        [BERT]((https://arxiv.org/abs/1810.04805)

    Good:
        [BERT](https://arxiv.org/abs/1810.04805)
    """
    if not _has_unusual_link(card):
        return
    for link in card.links:
        if not link.url:
            yield Finding(link.start - 1, link.end + 1, "expected the target of the link, found none")
        elif _MALFORMED.match(link.url):
            yield Finding(link.start, link.end, f"expected a URL, found {quote(link.url)}")
    for match in _OPENED_TWICE.finditer(card.prose, card.body_start):
        yield Finding(*match.span("url"), f"expected one bracket before the URL, found {quote(match['url'])}")
