"""YAML documents that know their lines, and their validation against the schemas in ``schemas/``."""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from referencing import Registry

from hubpkg.errors import HubpkgError, InvalidDocumentError
from hubpkg.resources import shipped

Place = tuple[str | int, ...]

# YAML reads these as numbers or dates, and so loses digits: 2.10 becomes 2.1, 01234567 an octal number.
_TEXT_KEYS = frozenset({"model-version", "mindspore-version", "update-time", "asset-sha256"})


_LONGEST = 60  # characters of a value in an error message


class _Loader(yaml.SafeLoader):
    """YAML, with ``1e-3`` read as the number that it is in YAML 1.2."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+"), list("-+0123456789")
)


class Document:
    """The data of a YAML document and the place of each of its values.

    Attributes:
        data: mappings, lists and scalars; the keys that hold versions, dates and digests are text as written.
        name: what error messages call the document, usually its path.
    """

    def __init__(self, text: str, name: str, first_line: int = 1) -> None:
        """Parse ``text``, whose first line is line ``first_line`` of the file ``name``.

        Raises:
            InvalidDocumentError: the text is not YAML, gives a key twice, or is not a mapping.
        """
        self.name = name
        self._first_line = first_line
        self._places: dict[Place, tuple[int, int]] = {}
        self._seen: set[int] = set()
        self._loader = _Loader(text)
        try:
            root = self._loader.get_single_node()
            self.data: Any = {} if root is None else self._value(root, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = self._format_place(mark.line, mark.column) if mark else name
            raise InvalidDocumentError([f"{place}: expected YAML, found: {error.problem}"]) from None
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise InvalidDocumentError([f"{name}: expected YAML, found: {' '.join(str(error).split())}"]) from None
        finally:
            self._loader.dispose()
        if not isinstance(self.data, dict):
            raise InvalidDocumentError([f"{name}: expected a YAML mapping, found {describe(self.data)}"])

    def place(self, path: Place) -> str:
        """``file:line:column`` of the value at ``path``, or of the nearest value that holds it."""
        while path and path not in self._places:
            path = path[:-1]
        return self._format_place(*self._places.get(path, (0, 0)))

    def _format_place(self, line: int, column: int) -> str:
        return f"{self.name}:{line + self._first_line}:{column + 1}"

    def _value(self, node: yaml.Node, path: Place) -> Any:
        if id(node) in self._seen:  # expanding aliases lets a small file grow without bound
            raise yaml.constructor.ConstructorError(None, None, "an alias ('*name'); write it out", node.start_mark)
        self._seen.add(id(node))
        self._places[path] = (node.start_mark.line, node.start_mark.column)
        if isinstance(node, yaml.MappingNode):
            mapping: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = self._loader.construct_object(key_node, deep=True)
                if not isinstance(key, str) or key in mapping:
                    problem = f"the key {key!r} twice" if key in mapping else f"the key {key!r}, which is not text"
                    raise yaml.constructor.ConstructorError(None, None, problem, key_node.start_mark)
                if key in _TEXT_KEYS and isinstance(value_node, yaml.ScalarNode):
                    value_node.tag = "tag:yaml.org,2002:str"
                mapping[key] = self._value(value_node, (*path, key))
                self._places[*path, key] = (key_node.start_mark.line, key_node.start_mark.column)
            return mapping
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._loader.construct_object(node, deep=True)


def read(path: Path, schema: str) -> Document:
    """The YAML document at ``path``, valid against the schema of that name.

    Raises:
        InvalidDocumentError: with every fault, each naming file, line and key.
        HubpkgError: the file can't be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise HubpkgError(f"{path}: expected UTF-8 text, found other bytes") from None
    except OSError as error:
        raise HubpkgError(f"{path}: expected a readable file, found: {error.strerror}") from None
    document = Document(text, str(path))
    check(document, schema)
    return document


def check(document: Document, schema: str) -> None:
    """Raise an InvalidDocumentError that holds every way in which ``document`` does not fit ``schema``."""
    faults = [f"{document.place(path)}: {message}" for path, message in faults_of(document.data, schema)]
    if faults:
        raise InvalidDocumentError(faults)


def faults_of(data: Any, schema: str) -> list[tuple[Place, str]]:
    """Every way in which ``data`` does not fit ``schema``: the path of the value, and a sentence naming it."""
    errors = sorted(_validator(schema).iter_errors(data), key=lambda error: [str(part) for part in error.absolute_path])
    return [fault for error in errors for fault in _explain(error)]


@cache
def _validator(schema: str) -> Draft202012Validator:
    files = sorted(shipped("schemas").glob("*.schema.json"))
    schemas = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in files}
    registry = Registry().with_contents((contents["$id"], contents) for contents in schemas.values())
    return Draft202012Validator(schemas[f"{schema}.schema.json"], registry=registry)


def _explain(error: ValidationError) -> Iterator[tuple[Place, str]]:
    path: Place = tuple(error.absolute_path)
    key = key_name(path)
    wanted: Any = error.validator_value
    schema: Any = error.schema
    instance: Any = error.instance
    if error.validator == "required":
        for missing in wanted:
            if missing not in instance and f"'{missing}'" in error.message:
                yield path, f"{key_name((*path, missing))}: expected this key, found it missing"
    elif error.validator in ("additionalProperties", "unevaluatedProperties"):
        known = schema.get("properties", {})
        for unknown in sorted(set(instance) - set(known)):
            yield (*path, unknown), f"{key_name((*path, unknown))}: unknown key; expected one of {', '.join(known)}"
    elif error.validator == "type":
        names = [wanted] if isinstance(wanted, str) else wanted
        yield path, f"{key}: expected {' or '.join(names)}, found {describe(instance)}"
    elif error.validator == "enum":
        values = ", ".join(str(value) for value in wanted)
        yield path, f"{key}: expected one of {values}, found {describe(instance)}"
    elif error.validator == "pattern":
        meaning = schema.get("description", f"text that matches {wanted}")
        yield path, f"{key}: expected {meaning}, found {describe(instance)}"
    else:
        yield path, f"{key}: expected {error.validator} {wanted}, found {describe(instance)}"


def key_name(path: Place) -> str:
    """A path as people write it: ``asset[0].asset-sha256``."""
    name = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    return name.removeprefix(".") or "document"


def describe(value: Any) -> str:
    """A short account of a value for an error message: its text, or what kind of thing it is."""
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
