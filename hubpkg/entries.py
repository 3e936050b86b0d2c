"""What a site shows of a package and of a card: the facts for its index, its page, its badge, its files."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

from hubpkg import card, location, manifest, markup, pages, report, signature
from hubpkg.errors import HubpkgError
from hubpkg.lint import engine
from hubpkg.lint.configuration import Configuration
from hubpkg.lint.rules import Options
from hubpkg.lint.source import Card, encode
from hubpkg.verification import Verification, verify

PAGE = ".report.html"
_BADGE = ".badge.svg"
_DATE = re.compile(r"(\d{4})-(\d{1,2})-(\d{1,2})(?!\d)", re.ASCII)
_CHARACTER = 6.3  # pixels of the badge's text

Stamp = tuple[tuple[str, int, int], ...]
Content = Path | Callable[[], bytes]


@dataclass(frozen=True)
class Entry:
    """A package or a card of the site.

    Attributes:
        path: where it lies in the site: a package's uid, or a card's path without ``.md``.
        source: the package's folder, or the card.
        stamp: names, times and sizes of its files, when it was read.
        facts: what the index says of it.
        files: what the site has of it, by the paths in the site.
    """

    path: str
    source: Path
    stamp: Stamp
    facts: Mapping[str, Any]
    files: Mapping[str, Content]


@dataclass(frozen=True)
class LeftOut:
    """A package or a card that can't be an entry, and why.

    Attributes:
        entry: what it would be if others had not its place; None if it can't be one at all.
    """

    source: Path
    stamp: Stamp
    reason: str
    entry: Entry | None = field(default=None, compare=False)

    def __str__(self) -> str:
        told = f"{self.source}: left out: {self.reason}"
        return "".join(c if c.isprintable() else repr(c)[1:-1] for c in told)  # names may have lines


def read_entry(root: Path, source: Path, stamp: Stamp, script: str) -> Entry | LeftOut:
    """The package or card ``source`` below the folder ``root``, whose page runs ``script``."""
    if source.is_symlink():  # a folder from elsewhere must not show a file of this machine
        return LeftOut(source, stamp, "expected a file, found a link")
    try:
        if source.is_dir():
            return _packaged(source, stamp, script)
        return _carded(root, source, stamp, script)
    except (HubpkgError, OSError) as error:
        return LeftOut(source, stamp, str(error).partition("\n")[0])


def _packaged(folder: Path, stamp: Stamp, script: str) -> Entry:
    verified = verify(folder)
    if not (folder / manifest.NAME).is_file() or (folder / manifest.NAME).is_symlink():
        raise HubpkgError(verified.checks[0].detail)
    contents = manifest.read(folder / manifest.NAME)
    uid = contents["uid"]
    if not location.UID.fullmatch(uid) or uid.rpartition("/")[2] != contents["package"]:
        raise HubpkgError(f"{manifest.NAME}: uid: expected <publisher>/<version>/{contents['package']}, found {uid!r}")
    metrics = {measured.name: measured.value for measured in report.metrics_of(contents)}
    first = next(iter(metrics.items()), None)
    facts = {
        "path": uid,
        "state": "verified" if verified.ok else "failed",
        "model": contents["model"],
        "dataset": contents["dataset"],
        "task": str(contents["card"]["module-type"]),
        "publisher": uid.split("/")[0],
        "version": uid.split("/")[1],
        "updated": contents["evaluation"]["measured"],
        "license": contents["card"]["license"],
        "summary": contents["card"]["summary"],
        "metric": None if first is None else {"name": first[0], "value": first[1], "measured": True},
        "metrics": metrics,
        "parameters_m": contents["performance"].get("parameters_m"),
        "findings": sum(not check.ok for check in verified.checks),
        "page": uid + PAGE,
        "badge": uid + _BADGE,
        "card": f"{uid}/{contents['package']}.md" if verified.ok else None,
        "manifest": f"{uid}/{manifest.NAME}" if verified.ok else None,
        "sha256": manifest.digest(contents),
    }
    files: dict[str, Content] = {
        uid + PAGE: partial(_report, folder, contents, verified, script),
        uid + _BADGE: partial(_badge, contents, verified),
    }
    if verified.ok:  # what does not verify is told of, and not handed on
        files |= {f"{uid}/{name}": folder / name for name in (*contents["files"], manifest.NAME)}
        signed = signature.path_of(folder)
        if signed.is_file() and not signed.is_symlink():
            files[f"{uid}.sig"] = signed
    return Entry(uid, folder, stamp, facts, files)


def _report(folder: Path, contents: Mapping[str, Any], verified: Verification, script: str) -> bytes:
    place = report.Place(contents["package"], _home(contents["uid"]), script, verified.ok)
    return report.render(folder, contents, verified, place).encode()


def _home(path: str) -> str:
    return f"{'../' * path.count('/')}index.html"


def _badge(contents: Mapping[str, Any], verified: Verification) -> bytes:
    first = next(iter(report.metrics_of(contents)), None)
    told = "verified" if verified.ok else "not verified"
    if verified.ok and first is not None:
        told = f"{first.title.lower()} {first.figure} {first.unit}, {told}".replace(" ,", ",")
    widths = [round(len(text) * _CHARACTER) + 14 for text in ("hubpkg", told)]
    return pages.render("badge.svg.j2", {"told": told, "ok": verified.ok, "widths": widths}).encode()


def _carded(root: Path, path: Path, stamp: Stamp, script: str) -> Entry:
    read_card = engine.read(str(path))
    place = path.relative_to(root).as_posix().removesuffix(".md")
    try:
        place.encode()
    except UnicodeEncodeError:
        raise HubpkgError("expected a name in UTF-8, found other bytes; rename it") from None
    parts = place.split("/")
    text = {name: _printable(read_card.text_of(name)) for name in ("model-name", "module-type", "license", "summary")}
    sets = read_card.get("train-dataset")
    updated = _DATE.match(read_card.text_of("update-time"))
    findings = _findings(read_card)
    facts = {
        "path": place,
        "state": "card",
        "model": text["model-name"] or parts[-1],
        "dataset": _printable(_words(sets.value)) if sets else "",
        "task": text["module-type"],
        "publisher": parts[-3] if len(parts) > 2 else "",  # noqa: PLR2004 - <publisher>/<version>/<card>
        "version": parts[-2] if len(parts) > 2 else "",  # noqa: PLR2004 - as above
        "updated": f"{updated[1]}-{int(updated[2]):02d}-{int(updated[3]):02d}" if updated else "",
        "license": text["license"],
        "summary": text["summary"],
        "metric": _claim(read_card.text_of("evaluation")),
        "metrics": {},
        "parameters_m": None,
        "findings": len(findings),
        "page": place + PAGE,
        "badge": None,
        "card": f"{place}.md",
        "manifest": None,
        "sha256": None,
    }
    page = partial(_card_page, read_card, facts, findings, script)
    return Entry(place, path, stamp, facts, {place + PAGE: page, f"{place}.md": path})


def _printable(text: str) -> str:
    """``text`` without the bytes that are not UTF-8, which the reading of cards keeps."""
    return encode(text).decode(errors="replace")


def _words(value: Any) -> str:
    """The text of a value of the front matter, lists and mappings too."""
    if value.items:
        return ", ".join(_words(item) for item in value.items)
    if value.fields:
        return ", ".join(f"{each.key} {_words(each.value)}" for each in value.fields)
    return str(value.link)


def _claim(text: str) -> dict[str, Any] | None:
    """The first metric that a card's ``evaluation`` claims."""
    try:
        name, value = next(iter(card.parse_evaluation(text).items()))
    except HubpkgError:
        return None
    return {"name": _printable(name), "value": value, "measured": False}


def _findings(read_card: Card) -> list[dict[str, Any]]:
    """What hubpkg lint finds in this card, looked at alone."""
    rules = [rule for rule in Configuration().rules if not rule.collection]
    found = [
        {
            "line": read_card.position(finding.start).line,
            "code": rule.code,
            "severity": rule.severity,
            "message": _printable(finding.message),
        }
        for _, rule, finding in engine.check([read_card], rules, Options(), 20)
    ]
    return sorted(found, key=lambda each: (each["line"], each["code"], each["message"]))


def _card_page(read_card: Card, facts: Mapping[str, Any], findings: Sequence[Mapping[str, Any]], script: str) -> bytes:
    from markupsafe import Markup

    body = _printable(read_card.text[read_card.body_start :])
    values = {
        "facts": facts,
        "findings": findings,
        "fields": [(_printable(each.key), _printable(_words(each.value))) for each in read_card.front.fields],
        "body": Markup(markup.to_html(body, 3)),  # noqa: S704 - nh3 let it through
        "file": quote(f"{facts['path'].rpartition('/')[2]}.md"),
        "home": _home(facts["path"]),
    }
    return pages.render("card.html.j2", values, script, connects=bool(script)).encode()
