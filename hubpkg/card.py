"""A card's text <-> its front matter and body, and the grammar of its ``evaluation`` field."""

import io
import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from hubpkg import documents, evaluation
from hubpkg.errors import HubpkgError, InvalidDocumentError
from hubpkg.lint.figures import PART

TEMPLATE = 1  # of the cards made now; a released template is never edited, a new one gets a new number


@dataclass(frozen=True)
class Card:
    """A parsed card.

    Attributes:
        document: the front matter, with the place of every value.
        body: the text after the front matter.
    """

    document: documents.Document
    body: str

    @property
    def fields(self) -> Mapping[str, Any]:
        """The front matter's values by their keys."""
        data: Mapping[str, Any] = self.document.data
        return data


def read(path: Path) -> Card:
    """Read the card at ``path``.

    Raises:
        HubpkgError: it is not a readable text, or has no front matter that is YAML; names the line.
    """
    try:
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise HubpkgError(f"{path}: expected a readable card, found: {error.strerror}") from None
    except UnicodeDecodeError:
        raise HubpkgError(f"{path}: expected a card in UTF-8, found other bytes") from None
    return parse(text, str(path))


def parse(text: str, name: str) -> Card:
    """Parse a card's ``text``; ``name`` is what errors call it.

    Raises:
        InvalidDocumentError: the front matter is missing, or not a YAML mapping; names the line.
    """
    lines = list(io.StringIO(text, newline=""))
    rules = [number for number, line in enumerate(lines) if line.startswith("---")]
    try:
        start, end, *_ = rules
    except ValueError:
        found = f"one, line {rules[0] + 1}" if rules else "none"
        raise InvalidDocumentError(
            [f"{name}: expected a front matter between two lines '---', found {found}"]
        ) from None
    document = documents.Document("".join(lines[start + 1 : end]), name, first_line=start + 2)
    return Card(document, "".join(lines[end + 1 :]))


def format_evaluation(measured: Mapping[str, Any]) -> str:
    """The value of ``evaluation`` for one as the manifest holds it: ``top1acc77.27 | top5acc93.56``."""
    shares = [f"{key}acc{measured[key]['percent']:.2f}" for key in ("top1", "top5") if key in measured]
    own = [f"{name}{format_figure(e['value'], e['unit'])}" for name, e in measured.get("metrics", {}).items()]
    return " | ".join([*shares, *own])


def format_figure(value: float, unit: str) -> str:
    """A metric's value as the card has it: percent with two decimals, others with four digits."""
    return f"{value:.2f}" if unit == "%" else f"{value:.4g}"


def parse_evaluation(text: str) -> dict[str, float]:
    """The metrics in a value of ``evaluation``.

    Raises:
        HubpkgError: a part is not a metric's name and a number, or a metric stands twice.
    """
    metrics: dict[str, float] = {}
    for part in text.split("|"):
        match = PART.fullmatch(part)
        if match is None or match["name"] in metrics:
            raise HubpkgError(f"evaluation: expected parts such as 'top1acc77.27', each metric once, found {part!r}")
        metrics[match["name"]] = float(match["number"])
    return metrics


def render(manifest: Mapping[str, Any], template: str = "card") -> str:
    """The card of the package that ``manifest`` describes, by the template whose number it names.

    Raises:
        HubpkgError: this hubpkg has no such template, or the manifest lacks a value that the template needs.
    """
    import jinja2

    try:
        return rendered(f"{template}-{manifest['template']}.md.j2", manifest)
    except jinja2.TemplateNotFound:
        raise HubpkgError(
            f"template: expected one of hubpkg's card templates, found {manifest['template']!r}; install a newer hubpkg"
        ) from None
    except (jinja2.UndefinedError, TypeError, KeyError) as error:
        raise HubpkgError(f"the card's template needs a value that is missing: {error}") from None


def rendered(template: str, values: Mapping[str, Any]) -> str:
    """What ``template``, one of hubpkg's, makes of ``values``; one that is missing is an error of Jinja's."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("hubpkg"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # noqa: S701 - a card is Markdown, not HTML
    )
    environment.filters["yaml"] = _yaml_scalar
    environment.filters["evaluation"] = format_evaluation
    environment.filters["figure"] = format_figure
    environment.filters["shell"] = shlex.quote
    environment.filters["claims"] = evaluation.claims
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.get_template(template).render(values)


def _yaml_scalar(value: str) -> str:
    """``value`` plain where YAML reads it back as this text, by the hub's rules and by hubpkg's, else in quotes."""
    line = f"key: {value}"
    try:
        plain = yaml.safe_load(line) == documents.Document(line, "card").data == {"key": value}
    except (yaml.YAMLError, ValueError, RecursionError, HubpkgError):
        plain = False
    return value if plain else json.dumps(value, ensure_ascii=False)
