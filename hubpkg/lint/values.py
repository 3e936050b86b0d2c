"""Values of the front matter, each with its place, and how YAML reads them."""

import datetime as dt
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

# The keys of Chinese cards, and those of English ones that are written with spaces or capitals.
KEYS = {
    "MindSpore Lite": "mindspore-lite",
    "MindSpore版本": "mindspore-version",
    "代码仓链接": "repo-link",
    "代码链接": "repo-link",
    "作者": "author",
    "准确率": "accuracy",
    "可微调": "fine-tunable",
    "摘要": "summary",
    "推理后端": "infer-backend",
    "数据集": "train-dataset",
    "文件格式": "file-format",
    "更新时间": "update-time",
    "模块类型": "module-type",
    "模型名称": "model-name",
    "模型版本": "model-version",
    "特色图片": "featured-image",
    "用户ID": "user-id",
    "用途": "used-for",
    "精度": "accuracy",
    "训练后端": "train-backend",
    "训练数据集": "train-dataset",
    "许可证": "license",
    "评估": "evaluation",
    "资源": "asset",
    "资源SHA256校验码": "asset-sha256",
    "资源链接": "asset-link",
    "输入形状": "input-shape",
    "骨干网络": "backbone-name",
}

NAMES = frozenset((*KEYS.values(), "allow-cache-ckpt", "asset-mirrors"))

_DATASETS = Path(__file__).with_name("hub-datasets.txt")

Style = Literal["plain", "quoted", "block", "list", "mapping", "alias"]

_BOOLEANS = {
    spelling: value
    for words, value in ((("yes", "true", "on"), True), (("no", "false", "off"), False))
    for word in words
    for spelling in (word, word.capitalize(), word.upper())
}
_NULLS = frozenset(("", "~", "null", "Null", "NULL"))
_INTEGER = re.compile(r"[-+]?(?:0b[01_]+|0[0-7_]+|0|[1-9][0-9_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*(?::[0-5]?[0-9])+)$")
_FLOAT = re.compile(
    r"(?:[-+]?[0-9][0-9_]*\.[0-9_]*(?:[eE][-+][0-9]+)?|\.[0-9][0-9_]*(?:[eE][-+][0-9]+)?"
    r"|[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
)
_DATE = re.compile(
    r"(\d{4})-(\d\d?)-(\d\d?)"
    r"(?P<time>(?:[Tt]|[ \t]+)\d\d?:\d\d:\d\d(?:\.\d*)?(?:[ \t]*(?:Z|[-+]\d\d?(?::\d\d)?))?)?$",
    re.ASCII,
)


# Most values have neither items nor fields; these stay empty, as those that have some get lists of their own.
_NO_VALUES: "list[Value]" = []
_NO_FIELDS: "list[Field]" = []


class Value:
    """A value of the front matter.

    Attributes:
        start: offset of its first character, quotes and brackets included; of an empty value, where it would stand.
        end: offset after its last character; trailing space and comments are outside.
        text: a scalar as text, as written but for quotes and line folds: a digest or a version keeps its digits.
        style: how it is written.
        items: of a list, its values in order.
        fields: of a mapping, its fields in order.
    """

    __slots__ = ("end", "fields", "items", "start", "style", "text")

    def __init__(  # noqa: PLR0913, PLR0917 - a record, and quicker than a dataclass
        self,
        start: int,
        end: int,
        text: str = "",
        style: Style = "plain",
        items: "list[Value]" = _NO_VALUES,
        fields: "list[Field]" = _NO_FIELDS,
    ) -> None:
        self.start = start
        self.end = end
        self.text = text
        self.style = style
        self.items = items
        self.fields = fields

    @property
    def resolved(self) -> Any:
        """What YAML 1.1, and so the hub, reads: text, int, float, bool, None, date; list or dict of such.

        A scalar that YAML can't convert, such as the date 2023-02-30, is text. An alias is None.
        """
        if self.style == "list":
            return [item.resolved for item in self.items]
        if self.style == "mapping":
            return {field.key: field.value.resolved for field in self.fields}
        if self.style == "alias":
            return None
        return resolve(self.text) if self.style == "plain" else self.text

    @property
    def link(self) -> str:
        """The text without the angle brackets that cards put around a URL."""
        text = self.text
        return text[1:-1] if text[:1] == "<" and text[-1:] == ">" else text

    @property
    def link_start(self) -> int:
        """Offset of the first character of ``link``."""
        return self.start + (self.style == "quoted") + (self.text[:1] == "<" and self.text[-1:] == ">")

    def get(self, name: str) -> "Field | None":
        """The field of that name; of several, the last, as YAML has it."""
        return next((field for field in reversed(self.fields) if field.name == name), None)

    def text_of(self, name: str) -> str:
        """The text of the scalar with that name, or ``""``."""
        found = self.get(name)
        return found.value.text if found is not None else ""


@dataclass(slots=True)
class Field:
    """A key and its value.

    Attributes:
        key: the key as written.
        name: the English key of the hub that it stands for: ``model-name`` for ``模型名称``; else ``key``.
        start: offset of the key; ``end``: the offset after it.
        value: its value.
    """

    key: str
    name: str
    start: int
    end: int
    value: Value


@cache
def datasets() -> frozenset[str]:
    """The names that the hub's client takes in train-dataset."""
    lines = _DATASETS.read_text(encoding="utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


def resolve(text: str) -> Any:
    """What YAML 1.1 reads a plain scalar as: text, int, float, bool, None or a date."""
    if text in _NULLS:
        return None
    if text[0] not in "-+.0123456789":
        return _BOOLEANS.get(text, text)
    return _number(text) if (_INTEGER.match(text) or _FLOAT.match(text)) else _date(text)


def _number(text: str) -> Any:
    if ":" in text:  # to YAML 1.1 a number to the base 60; nobody means that
        return text
    if _INTEGER.match(text):
        return _integer(text)
    return float(text.replace("_", "").lower().replace(".inf", "inf").replace(".nan", "nan"))


def _date(text: str) -> Any:
    match = _DATE.match(text)
    if match is None or (match["time"] is None and len(text) != len("2023-02-17")):
        return text
    try:
        return dt.date(int(match[1]), int(match[2]), int(match[3]))
    except ValueError:
        return text


def _integer(text: str) -> int | str:
    digits = text.replace("_", "")
    sign = -1 if digits[0] == "-" else 1
    digits = digits.lstrip("+-")
    base = 2 if digits[:2] == "0b" else 16 if digits[:2] == "0x" else 8 if digits[0] == "0" and digits != "0" else 10
    try:
        return sign * int(digits[2:] if base in (2, 16) else digits, base)
    except ValueError:  # nothing but '_', or more digits than Python converts
        return text
