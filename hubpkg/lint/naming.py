"""Rules of the family naming: what models, datasets and cards are called."""

import difflib
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from functools import cache

from hubpkg.lint import figures
from hubpkg.lint.rules import ERROR, WARNING, Finding, quote, replace, rule
from hubpkg.lint.source import Card
from hubpkg.lint.values import datasets

_UID = re.compile(r"""(["'])(?P<uid>[A-Za-z][\w.\-]*(?:/[\w.\-]+){0,2}/(?P<release>\d+\.\d+(?:\.\d+)?)/[\w.\-]+)\1""")
_RELEASE = re.compile(r"\d+\.\d+(?:\.\d+)?")
_NO_DATASET = frozenset(("", "none", "na", "no", "null"))
_SHORTEST = 3  # letters of a name that is looked for in another
_WORD = re.compile(r"[^\W_]{4,}")  # a word that is enough of a dataset's name: 'oxford' of 'Oxford-IIIT Pet'
_CLOSE = 0.8  # of 1: how like a listed name an unlisted one is, to be named


@rule("N001", "file-name-mismatch", WARNING)
def file_name_mismatch(card: Card) -> Iterator[Finding]:
    """The file's name is not that of the model and its dataset: ``<model>_<dataset>.md``.

    It may name a variant, and the model by its title, backbone or folder. Capitals and separators do not count.

    Why:
        The name is the card's uid, by which it is loaded: who looks for model and dataset does not find it.

    Bad:
        textcrnn_gru_polarity.md: model-name: textrcnn

    Good:
        textrcnn_gru_polarity.md: model-name: textrcnn
    """
    if card.path == "-" or card.chinese:
        return
    stem = figures.plain(card.name)
    model, dataset = figures.scalar(card, "model-name"), figures.scalar(card, "train-dataset")
    if model is not None and not stem.startswith(figures.plain(model.text) or "\0"):
        repository = card.text_of("repo-link").rstrip(">").rpartition("/")[2]
        title = card.title.text if card.title is not None else ""
        names = [figures.plain(name) for name in (model.text, title, card.text_of("backbone-name"), repository)]
        long = [name for name in names if len(name) >= _SHORTEST]
        if not any(name in stem for name in long or names):
            yield Finding(
                model.start,
                model.end,
                f"expected the model in the file's name, {quote(card.name)}, found {quote(model.text)}",
            )
    if dataset is not None and figures.plain(dataset.text) not in _NO_DATASET:
        name = figures.plain(dataset.text.replace("'s", ""))
        if name not in stem and not _is_meant(dataset.text, name, stem):
            yield Finding(
                dataset.start,
                dataset.end,
                f"expected the dataset in the file's name, {quote(card.name)}, found {quote(dataset.text)}",
            )


def _is_meant(dataset: str, name: str, stem: str) -> bool:
    """Whether a file's name means the dataset by a word of its name, or by its beginning."""
    if any(word in stem for word in _WORD.findall(dataset.lower())):
        return True
    return stem.endswith(tuple(name[:length] for length in range(_SHORTEST, min(len(name), len(stem) + 1))))


@rule("N002", "uid-mismatch", ERROR)
def uid_mismatch(card: Card) -> Iterator[Finding]:
    """An example loads another card than this one.

    Why:
        Whoever copies the example gets another model, or an error that no such card exists.

    Bad:
        inception_v4_imagenet2012.md: mshub.load("mindspore/2.3/inceptionv4_imagenet2012")

    Good:
        inception_v4_imagenet2012.md: mshub.load("mindspore/2.3/inception_v4_imagenet2012")
    """
    if card.path == "-" or ".load(" not in card.text:
        return
    folders = card.path.split("/")[:-1]
    if not folders or not _RELEASE.fullmatch(folders[-1]):
        version = card.text_of("mindspore-version")
        folders = [version] if version else []
    for fence in card.fences:
        for match in _UID.finditer(card.text, fence.start, fence.end):
            expected = [*folders, card.name]
            found = match["uid"].split("/")
            count = min(len(expected), len(found))
            if expected[-count:] == found[-count:]:
                continue
            start, end = match.span("uid")
            uid = "/".join([*found[:-count], *expected[-count:]])
            yield Finding(start, end, f"expected the uid of this card, {quote(uid)}, found {quote(match['uid'])}")


@rule("N003", "dataset-unlisted", ERROR, targets=("hub", "hubpkg"), fixable=True)
def dataset_unlisted(card: Card) -> Iterator[Finding]:
    """``train-dataset`` is not in the hub's list of names. A listed name in other capitals or separators is mended.

    The hub splits the value at ``_`` and looks each piece up, so that a listed name with a ``_`` can't be used.

    Why:
        The hub's validator and its client reject the card: the model can't be published or loaded.

    Bad:
        train-dataset: COCO2017

    Good:
        train-dataset: coco2017
    """
    field = card.fields.get("train-dataset")
    value = field.value if field is not None else None
    if value is None or not value.text or not value.resolved or card.path.endswith("_cn.md"):
        return
    known = datasets()
    unlisted = [piece for piece in value.text.split("_") if piece not in known]
    if not unlisted:
        return
    plain = _by_plain()
    same = plain.get(figures.plain(value.text))
    fix = None
    if same is not None:
        hint = f"; the listed name is {quote(same)}"
        if value.style == "plain":
            fix = replace(value.start, value.end, same)
    else:
        near = difflib.get_close_matches(figures.plain(value.text[:60]), plain, n=1, cutoff=_CLOSE)
        hint = f"; the nearest is {quote(plain[near[0]])}" if near else ""
        if figures.plain(value.text) in _NO_DATASET:
            hint = "; leave the key out"
    yield Finding(value.start, value.end, f"expected datasets of the hub's list, found {quote(value.text)}{hint}", fix)


@cache
def _by_plain() -> dict[str, str]:
    """Names that can be used, by their letters and digits; of several, the one in lower case."""
    usable = sorted(name for name in datasets() if "_" not in name)
    return {plain: name for name in usable if (plain := figures.plain(name))}


@rule("N004", "near-duplicate-name", WARNING, collection=True)
def near_duplicate_name(cards: Sequence[Card]) -> Iterator[tuple[Card, Finding]]:
    """Two cards of a publisher have names that differ only in capitals and separators.

    Why:
        Readers take one for the other, and who follows a model through the releases loses it where its spelling
        changes.

    Bad:
        resnet50_triplet_sop.md, resnet50triplet_sop.md

    Good:
        one spelling in all releases
    """
    groups: dict[tuple[str, str], list[Card]] = defaultdict(list)
    for card in cards:
        folder = card.path.rpartition("/")[0]
        publisher, _, release = folder.rpartition("/")
        groups[publisher if _RELEASE.fullmatch(release) else folder, figures.plain(card.name)].append(card)
    for group in groups.values():
        names = defaultdict(list)
        for card in group:
            names[card.name].append(card)
        if len(names) == 1:
            continue
        for card in group:
            others = [other for other in group if other.name != card.name]
            folder = card.path.rpartition("/")[0]
            other = next((other for other in others if other.path.rpartition("/")[0] == folder), others[0])
            heading = card.title
            start, end = (heading.start, heading.end) if heading is not None else (0, 0)
            yield (
                card,
                Finding(start, end, f"expected one spelling of the name, found {quote(card.name)} and {other.path}"),
            )
