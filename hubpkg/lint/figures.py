"""The figures that a card states, as printed: the parts of ``evaluation`` and the records in the body's tables."""

import re
from collections import Counter
from functools import cache, lru_cache
from typing import NamedTuple

from hubpkg.lint.source import Card, Cell, Table
from hubpkg.lint.values import Value, datasets

# A metric's name, which ends in no digit, and its number: 'top1acc77.27', 'TRP@FAR=1%:98.53', 'avgReward-9.11'.
PART = re.compile(r"\s*(?P<name>\S*?[^\d.\s])(?P<number>-?\d+(?:\.\d+)?(?:e[-+]?\d+)?)\s*")

_NUMBER = re.compile(r"[*~≈\s]*(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+[.,]\d+|\d+)\s*(?:%|[Mm]|ms|s)?[*\s]*")
_THOUSANDS = re.compile(r",(?=\d{3}(?:\D|$))")
_NOT_LETTER = re.compile(r"[\W_]+")
_DATASET = ("dataset", "traindataset", "testdataset", "数据集")
_NAMES = (
    *("modelname", "model", "name", "modelversion", "network", "architecture", "variant"),
    *("模型", "模型名称", "模型版本", "网络"),
)
_LABEL = re.compile(r"\[([^\[\]]*)\]\([^()\s]*\)")  # a Markdown link, which is called by its text
_TAG = re.compile(r"<[a-zA-Z/][^<>]*>")
# Names of datasets that are one, of which none is the other's beginning.
_SAME_DATASET = {"imagenet1k": "imagenet2012", "ilsvrc2012": "imagenet2012", "imagenet": "imagenet2012"}


class Metric(NamedTuple):
    """One part of ``evaluation``: the metric's name, its number as written, and the span of both."""

    name: str
    number: str
    start: int
    end: int


class Record(NamedTuple):
    """What a table says of one model: its cells by the plain names of their columns, and all cells in order."""

    cells: dict[str, Cell]
    row: list[Cell]


@lru_cache(maxsize=1 << 14)
def plain(text: str) -> str:
    """``text`` with nothing but its letters and digits, in lower case: 'ResNet-50' and 'resnet_50' are one name."""
    return _NOT_LETTER.sub("", text).lower()


def scalar(card: Card, name: str) -> Value | None:
    """The field's value if it is written on one line and not empty, else None."""
    found = card.fields.get(name)
    if found is None or not found.value.text or found.value.style not in ("plain", "quoted"):
        return None
    return found.value


@lru_cache(maxsize=1)
def parts(card: Card) -> list[tuple[str, int]]:
    """The parts of ``evaluation`` between its bars, without the space around them, and the offset of each."""
    value = scalar(card, "evaluation")
    # One that YAML refuses, or that claims nothing, has no parts.
    if value is None or value.text == "-":
        return []
    start = value.start + (value.style == "quoted")
    found = []
    for part in value.text.split("|"):
        shown = part.strip()
        found.append((shown, start + (part.find(shown) if shown else 0)))
        start += len(part) + 1
    return found


@lru_cache(maxsize=1)
def metrics(card: Card) -> list[Metric]:
    """The parts of ``evaluation`` that are a metric's name and a number."""
    return [
        Metric(match["name"].rstrip(":="), match["number"], start, start + len(part))
        for part, start in parts(card)
        if (match := PART.fullmatch(part)) is not None
    ]


def number(text: str) -> str | None:
    """The number that a cell holds, with a point before its decimals and no unit; None if it holds another text."""
    match = _NUMBER.fullmatch(_TAG.sub("", text) if "<" in text else text)
    return _THOUSANDS.sub("", match["number"]).replace(",", ".") if match is not None else None


def agree(one: str, other: str) -> bool:
    """Whether two printed numbers are one number, at the precision of the coarser: 81.3 and 81.31 agree."""
    unit = 10.0 ** -min(_decimals(one), _decimals(other))
    return abs(float(one) - float(other)) <= unit / 2 * (1 + 1e-6)


def agree_as_share(one: str, other: str) -> bool:
    """As ``agree``, but one may be a fraction where the other is a percentage: 0.824 and 82.4 agree."""
    if agree(one, other):
        return True
    low, high = sorted((one, other), key=float)
    return float(low) <= 1 < float(high) and agree(f"{100 * float(low):.{max(_decimals(low) - 2, 0)}f}", high)


def half_unit(printed: str) -> float:
    """Half of a printed number's last decimal place: what rounding may have taken or added."""
    return 0.5 * 10.0 ** -_decimals(printed)


def _decimals(printed: str) -> int:
    """How many decimals are printed: 2 of 77.16, 7 of 1.72e-05."""
    mantissa, _, exponent = printed.partition("e")
    return len(mantissa.partition(".")[2]) - int(exponent or 0)


@lru_cache(maxsize=1)
def records(card: Card) -> list[Record]:
    """The rows of the body's tables, and the columns of those tables that give one model a column."""
    found: list[Record] = []
    for table in card.tables:
        found += _columns(table) if _is_turned(table) else _rows(table)
    return found


def _is_turned(table: Table) -> bool:
    return any(row and plain(row[0].text) in ("modelversion", "模型版本") for row in table.rows)


def _rows(table: Table) -> list[Record]:
    names = Counter(plain(cell.text) for cell in table.header)
    # Columns of one name, such as those below a common heading, can't be told apart, and are nobody's.
    header = [name if names[name] == 1 else "" for name in map(plain, (cell.text for cell in table.header))]
    return [Record(dict(zip(header, row, strict=False)), row) for row in table.rows]


def _columns(table: Table) -> list[Record]:
    columns = range(1, max(len(row) for row in table.rows))
    return [
        Record(
            {plain(row[0].text): row[column] for row in table.rows if len(row) > column},
            [row[column] for row in table.rows if len(row) > column],
        )
        for column in columns
    ]


@lru_cache(maxsize=1)
def own_records(card: Card) -> tuple[list[Record], str]:
    """The records of the card's model, and how they were found: by asset link, by file name, or by model name."""
    everything = records(card)
    if not everything:
        return [], ""
    links = [value.link for entry in card.assets if (field := entry.get("asset-link")) and (value := field.value).text]
    for wanted, how in ((links, "asset-link"), ([link.rpartition("/")[2] for link in links], "file name")):
        found = [
            record for record in everything if any(_names(cell.text, text) for text in wanted for cell in record.row)
        ]
        if found:
            return _of_dataset(card, found, known=_listed()), how
    names = {plain(card.text_of("model-name")), plain(card.title.text) if card.title is not None else ""} - {""}
    found = []
    for record in everything:
        name = next((record.cells[key] for key in _NAMES if key in record.cells), None)
        if name is not None and plain(_LABEL.sub(r"\1", _TAG.sub("", name.text))) in names:
            found.append(record)
    return _of_dataset(card, found), "model name"


def _of_dataset(card: Card, found: list[Record], known: frozenset[str] | None = None) -> list[Record]:
    """Those of the records that are of the card's dataset, or name none, or one that is not ``known``, where given."""
    dataset = plain(card.text_of("train-dataset"))
    named = [
        (record, next((plain(record.cells[key].text) for key in _DATASET if key in record.cells), ""))
        for record in found
    ]
    own = [record for record, name in named if name and _is_same_dataset(name, dataset)]
    if own or not dataset:
        return own or found
    return [record for record, name in named if not name or (known is not None and _canonical(name) not in known)]


@cache
def _listed() -> frozenset[str]:
    return frozenset(map(plain, datasets()))


def _canonical(dataset: str) -> str:
    return _SAME_DATASET.get(dataset, dataset)


def _is_same_dataset(one: str, other: str) -> bool:
    one, other = sorted((_canonical(one), _canonical(other)), key=len)
    # 'coco' is 'coco2017' and 'mscoco', but 'cifar10' is not 'cifar100'.
    return other.endswith(one) or (other.startswith(one) and not (one[-1].isdigit() and other[len(one)].isdigit()))


def _names(cell: str, text: str) -> bool:
    """Whether a cell links to ``text``, a URL or a file's name, and not to one that it is only a part of."""
    at = cell.find(text) if text else -1
    while at >= 0:
        before, after = cell[at - 1 : at] if at else "", cell[at + len(text) : at + len(text) + 1]
        if not (before.isalnum() or before in tuple("-_.")) and after in ("", *")>\"' ?#`]"):
            return True
        at = cell.find(text, at + 1)
    return False
