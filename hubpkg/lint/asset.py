"""Rules of the family asset: what is downloaded, and how it is known to be the right file."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from hubpkg.lint import figures
from hubpkg.lint.rules import ERROR, WARNING, Finding, quote, replace, rule
from hubpkg.lint.source import Card
from hubpkg.lint.values import Value

FORMATS = ("air", "ckpt", "onnx", "mindir", "mslite")
_DIGITS = 64
_SHORT = 8  # digits of a digest that stand in a file's name
_LONGEST = 64  # characters of a metric and its number in a file's name
_SUFFIXES = {".air": "air", ".ckpt": "ckpt", ".onnx": "onnx", ".mindir": "mindir", ".ms": "mslite"}
_WEIGHTS = (*_SUFFIXES, ".geir", ".meta")
_WEIGHTS_FILE = re.compile(r"\.(?:ckpt|mindir|onnx|air|ms|geir|meta)\b")
_WORD = re.compile(r"[^\W_]+")
_HEX = re.compile(r"[0-9a-f]*")
_NAMED_HASH = re.compile(r"(?<![0-9a-zA-Z])(?=[0-9a-f]*[0-9])(?=[0-9a-f]*[a-f])([0-9a-f]{8,64})(?![0-9a-zA-Z])")
_OLD_NAME = re.compile(r"_(?:ascend|gpu|cpu)_v(\d+(?:\.\d+)*)_", re.IGNORECASE)
_OLD_METRIC = re.compile(r"([A-Za-z][A-Za-z0-9@\-]*?)(\d+(?:\.\d+)?(?:e-?\d+)?)")


class _Asset(NamedTuple):
    """An asset's values; one that is missing or empty is None."""

    form: Value | None
    link: Value | None
    digest: Value | None


@lru_cache(maxsize=1)
def _assets(card: Card) -> list[_Asset]:
    found = []
    for entry in card.assets:
        values = {
            field.name: field.value for field in entry.fields if field.value.text and field.value.style != "block"
        }
        found.append(_Asset(values.get("file-format"), values.get("asset-link"), values.get("asset-sha256")))
    return found


def _suffix(link: str) -> str:
    name = link.partition("?")[0].rpartition("/")[2]
    return name[name.rfind(".") :] if "." in name else ""


@rule("A001", "asset-sha256-length", ERROR)
def asset_sha256_length(card: Card) -> Iterator[Finding]:
    """An asset's digest does not have the 64 digits of a SHA-256. The rest of it is not guessed.

    Why:
        The hub's client compares what is written with all 64 digits of the file's digest, so that the first load of
        the model fails, whatever was downloaded.

    Bad:
        asset-sha256: bd90776e

    Good:
        asset-sha256: bd90776e2c1d9f0ab6e3c4d5a697887766554433221100ffeeddccbbaa998877
    """
    for _, _, digest in _assets(card):
        if digest is not None and len(digest.text) != _DIGITS:
            yield Finding(
                digest.start,
                digest.end,
                f"expected the {_DIGITS} digits of the file's SHA-256, found {len(digest.text)}; "
                "write what sha256sum prints of the file",
            )


@rule("A002", "asset-sha256-format", ERROR, fixable=True)
def asset_sha256_format(card: Card) -> Iterator[Finding]:
    """An asset's digest holds something else than lower-case hexadecimal digits. Upper case is mended.

    Why:
        The client compares it as text with the lower-case digest of the file, and finds them different.

    Bad:
        asset-sha256: 92C14388FDF4EA90811DE5031652B2E58570A5ABF7C3653B0E958FB0E30F3546

    Good:
        asset-sha256: 92c14388fdf4ea90811de5031652b2e58570a5abf7c3653b0e958fb0e30f3546
    """
    for _, _, digest in _assets(card):
        if digest is None or _HEX.fullmatch(digest.text):
            continue
        lower = digest.text.lower()
        at = digest.start + (digest.style == "quoted")
        fix = replace(at, at + len(lower), lower) if _HEX.fullmatch(lower) else None
        yield Finding(
            digest.start, digest.end, f"expected lower-case hexadecimal digits, found {quote(digest.text)}", fix
        )


@rule("A003", "asset-missing-field", ERROR)
def asset_missing_field(card: Card) -> Iterator[Finding]:
    """An asset lacks its format, its link or its digest, or ``asset`` names none.

    Why:
        Without one of the three the hub's validator rejects the card; without a value the client can't download the
        file, or takes it unchecked.

    Bad:
        - file-format: ckpt
          asset-link: <https://example.com/tiny.ckpt>

    Good:
        - file-format: ckpt
          asset-link: <https://example.com/tiny.ckpt>
          asset-sha256: 92c14388fdf4ea90811de5031652b2e58570a5abf7c3653b0e958fb0e30f3546
    """
    field = card.fields.get("asset")
    if field is None:
        return
    texts = [item for item in field.value.items if item.style != "mapping" and item.text]
    for item in texts:
        hint = ", with a full-width colon '：'" if "：" in item.text else ""
        yield Finding(item.start, item.end, f"expected the keys of an asset, found text{hint}")
    if not card.assets and not texts:
        yield Finding(field.start, field.end, "expected an asset below this key, found none; leave the key out if so")
    for entry in card.assets:
        for name in ("file-format", "asset-link", "asset-sha256"):
            found = entry.get(name)
            if found is None:
                yield Finding(entry.start, entry.start + 1, f"expected the key {name} in this asset, found it missing")
            elif not found.value.text and found.value.style in ("plain", "quoted"):
                yield Finding(found.start, found.end, f"expected a value of {name}, found none")


@rule("A004", "asset-format-unloadable", ERROR)
def asset_format_unloadable(card: Card) -> Iterator[Finding]:
    """The hub's client can't load the card's assets: their format is not one of the hub's, or not that of the file.

    It is found, too, where no asset is a checkpoint.

    Why:
        The client takes the last asset whose format is ``ckpt``, and gives it to ``load_checkpoint``. It refuses to
        keep a download whose name does not end in .ckpt, .air, .geir, .meta or .onnx.

    Bad:
        - file-format: pth

    Good:
        - file-format: ckpt
    """
    formats = []
    for value, link, _ in _assets(card):
        if value is None:
            continue
        form = value.text.lower()
        formats.append((value, form))
        if form.removeprefix("." if card.chinese else "") not in FORMATS:
            yield Finding(value.start, value.end, f"expected one of {', '.join(FORMATS)}, found {quote(value.text)}")
            continue
        suffix = _suffix(link.link) if link is not None else ""
        meant = _SUFFIXES.get(suffix.lower())
        if link is not None and (
            (meant is not None and meant != form.lstrip(".")) or (form == "ckpt" and suffix != ".ckpt")
        ):
            yield Finding(
                link.link_start,
                link.link_start + len(link.link),
                f"expected a file of the format {quote(form)}, found one that ends in {quote(suffix)}",
            )
    if formats and all(form.lstrip(".") in FORMATS and form.lstrip(".") != "ckpt" for _, form in formats):
        value = formats[0][0]
        yield Finding(value.start, value.end, f"expected an asset of the format ckpt, found only {quote(value.text)}")


@rule("A005", "asset-hash-not-in-name", WARNING)
def asset_hash_not_in_name(card: Card) -> Iterator[Finding]:
    """The file's name does not hold the first 8 digits of its digest.

    Names of the hub's older custom, ``<model>_<backend>_v<version>_<dataset>_...``, tell the release instead and are
    left alone, unless they hold a digest.

    Why:
        A file that is replaced under the same name is taken by those who have the old card or the old file, and a file
        that lies in a folder can't be told from another.

    Bad:
        asset-link: <https://example.com/tiny_best.ckpt>
        asset-sha256: 92c14388fdf4ea90811de5031652b2e58570a5abf7c3653b0e958fb0e30f3546

    Good:
        asset-link: <https://example.com/tiny-92c14388.ckpt>
        asset-sha256: 92c14388fdf4ea90811de5031652b2e58570a5abf7c3653b0e958fb0e30f3546
    """
    for _, link, digest in _assets(card):
        if link is None or digest is None:
            continue
        name = link.link.rpartition("/")[2]
        expected = digest.text[:_SHORT].lower()
        if expected in name.lower():
            continue
        start = link.link_start + len(link.link) - len(name)
        held = _NAMED_HASH.search(name)
        if held is not None:
            yield Finding(
                start + held.start(),
                start + held.end(),
                f"expected the beginning of the digest, {quote(expected)}, found {quote(held[0])}: "
                "name or digest is of another file",
            )
        elif not _OLD_NAME.search(name):
            yield Finding(
                start, start + len(name), f"expected {quote(expected)}, the digest's first 8 digits, in the file's name"
            )


@rule("A006", "asset-link-not-in-body", WARNING)
def asset_link_not_in_body(card: Card) -> Iterator[Finding]:
    """The body links to weights, but not to those of the front matter.

    Of assets that are no checkpoints, those are found in whose format the body links to another file.

    Why:
        Whoever follows the body gets another file than ``load`` does, and the figures may belong to either.

    Bad:
        asset-link: <https://example.com/tiny-92c14388.ckpt>
        | tiny | [weights](https://example.com/tiny_best.ckpt) |

    Good:
        asset-link: <https://example.com/tiny-92c14388.ckpt>
        | tiny | [weights](https://example.com/tiny-92c14388.ckpt) |
    """
    if not _WEIGHTS_FILE.search(card.text, card.body_start):
        return
    linked = {link.url for link in card.links if _suffix(link.url) in _WEIGHTS}
    if not linked:
        return
    suffixes = {".ckpt", *map(_suffix, linked)}
    for _, link, _ in _assets(card):
        if link is not None and link.link not in linked and _suffix(link.link) in suffixes:
            yield Finding(
                link.link_start,
                link.link_start + len(link.link),
                f"expected this link in the body too, found {quote(min(linked))} there"
                + (f" and {len(linked) - 1} more" if len(linked) > 1 else ""),
            )


@rule("A007", "asset-name-mismatch", WARNING)
def asset_name_mismatch(card: Card) -> Iterator[Finding]:
    """The file's name states a release or an accuracy, and the front matter another.

    Why:
        One of the two is wrong: the file is that of another release, or the evaluation that of another file.

    Bad:
        evaluation: top1acc80.04
        asset-link: <https://example.com/r1.9/net_ascend_v190_imagenet2012_top1acc79.54.ckpt>

    Good:
        evaluation: top1acc79.54
        asset-link: <https://example.com/r1.9/net_ascend_v190_imagenet2012_top1acc79.54.ckpt>
    """
    metrics = {metric.name.lower(): metric for metric in figures.metrics(card)}
    release = card.text_of("mindspore-version")
    for _, link, _ in _assets(card):
        if link is None:
            continue
        name = link.link.rpartition("/")[2]
        old = _OLD_NAME.search(name)
        start = link.link_start + len(link.link) - len(name)
        if old is not None:
            digits = release.replace(".", "")
            if digits.isdigit() and old[1].replace(".", "").rstrip("0") != digits.rstrip("0"):
                yield Finding(
                    start + old.start(1) - 1,
                    start + old.end(1),
                    f"expected the release of mindspore-version, {quote(release)}, found {quote('v' + old[1])}",
                )
        if all(f"{metric.name}{metric.number}" in name for metric in metrics.values()):
            continue
        for piece in re.finditer(r"[^_]+", name[: len(name) - len(_suffix(name))]):
            # New names drop the point, and end in a digest: 'yolov5n_300e_mAP273-bedf9a93-910v2.ckpt'.
            shown = piece[0].partition("-")[0] if old is None else piece[0]
            match = _OLD_METRIC.fullmatch(shown) if len(shown) <= _LONGEST else None
            metric = metrics.get(match[1].lower()) if match is not None else None
            if match is None or metric is None:
                continue
            stated = match[2]
            if old is None and "." not in stated and "." in metric.number:
                whole = len(metric.number.partition(".")[0])
                stated = f"{stated[:whole]}.{stated[whole:]}" if len(stated) > whole else stated
            if not figures.agree_as_share(stated, metric.number):
                yield Finding(
                    start + piece.start(),
                    start + piece.start() + match.end(),
                    f"expected {metric.name}{metric.number}, as evaluation has it, found {quote(match[0])}",
                )


@rule("A008", "shared-digest", WARNING, collection=True)
def shared_digest(cards: Sequence[Card]) -> Iterator[tuple[Card, Finding]]:
    """Two cards of different names have an asset with the same digest.

    The same model in folders of several releases or publishers is left alone, and so are the two languages of a card.

    Why:
        They are one file under two names. Where the models differ, one of the cards loads the weights of the other.

    Bad:
        mobilenetv3.md: asset-sha256: 76d17650...
        resnet152.md: asset-sha256: 76d17650...

    Good:
        each card with the digest of its own file
    """
    users = _by_digest(cards)
    for found in users.values():
        if len({figures.plain(card.name) for card, _ in found}) == 1:
            continue
        for card, digest in found:
            others = [other for other, _ in found if not _is_same_model(card, other)]
            if not others:
                continue
            other = next((other for other in others if _folder(other) == _folder(card)), others[0])
            yield card, Finding(digest.start, digest.end, f"expected a digest of its own, found that of {other.path}")


@rule("A009", "shared-digest-evaluation", WARNING, collection=True)
def shared_digest_evaluation(cards: Sequence[Card]) -> Iterator[tuple[Card, Finding]]:
    """Two cards of the same name have the same file, and claim different figures for it.

    Why:
        One file has one accuracy on a dataset. At least one of the cards states what was never measured, or measured
        otherwise without saying so.

    Bad:
        1.9/sknet_cifar10.md: evaluation: acc94.42
        1.10/sknet_cifar10.md: evaluation: acc95.11

    Good:
        the same evaluation in both
    """
    for found in _by_digest(cards).values():
        if len({card.text_of("evaluation") for card, _ in found}) == 1:
            continue
        first: dict[tuple[str, str], tuple[figures.Metric, Card]] = {}
        for card, _ in found:
            for metric in figures.metrics(card):
                known, other = first.setdefault((figures.plain(card.name), metric.name), (metric, card))
                if not figures.agree(known.number, metric.number):
                    yield (
                        card,
                        Finding(
                            metric.start,
                            metric.end,
                            f"expected {known.name}{known.number}, as in {other.path}, whose file is the same, "
                            f"found {metric.name}{metric.number}",
                        ),
                    )


def _is_same_model(card: Card, other: Card) -> bool:
    """Whether two cards are one in two languages or releases, or by two publishers, whose names for a model differ."""
    if figures.plain(card.name) == figures.plain(other.name):
        return True
    if _folder(card).rpartition("/")[0] == _folder(other).rpartition("/")[0]:
        return False
    one, two = (set(_WORD.findall(known.text_of("model-name").lower())) for known in (card, other))
    return bool(one and two) and (one <= two or two <= one)


def _folder(card: Card) -> str:
    return card.path.rpartition("/")[0]


def _by_digest(cards: Sequence[Card]) -> dict[str, list[tuple[Card, Value]]]:
    """The cards of each digest that several cards have, in the order of their paths."""
    users: dict[str, list[tuple[Card, Value]]] = defaultdict(list)
    for card in cards:
        seen = set()
        for _, _, digest in _assets(card):
            if digest is not None and len(digest.text) >= _SHORT and digest.text not in seen:
                seen.add(digest.text)
                users[digest.text].append((card, digest))
    return {digest: sorted(found, key=lambda user: user[0].path) for digest, found in users.items() if len(found) > 1}
