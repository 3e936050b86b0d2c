"""YAML documents that know their lines, and their validation against the schemas in ``schemas/``."""

import difflib
import json
import math
import re
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from jsonschema.validators import extend
from referencing import Registry

from hubpkg.errors import HubpkgError, InvalidDocumentError
from hubpkg.resources import shipped

Place = tuple[str | int, ...]

# YAML reads these as numbers, and so loses digits: 2.10 becomes 2.1, 01234567 an octal number.
_TEXT_KEYS = frozenset({"model-version", "mindspore-version", "update-time", "asset-sha256"})
_LONGEST = 60  # characters of a value in an error message
_LARGEST = 2**53 - 1  # of the whole numbers that every reader of JSON holds exactly


class _Loader(yaml.SafeLoader):
    """YAML, with ``1e-3`` read as the number that it is in YAML 1.2, and dates, ``<<`` and ``=`` as text."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's; the next statement adds to it
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith((":timestamp", ":merge", ":value"))]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?[0-9]+(?:\.[0-9]*)?[eE][-+]?[0-9]+\Z"), list("-+0123456789")
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
        try:
            self._loader = _Loader(text)
            root = self._loader.get_single_node()
            self.data: Any = {} if root is None else self._value(root, ())
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            place = self._format_place(mark.line, mark.column) if mark else name
            raise InvalidDocumentError([f"{place}: expected YAML; {str(error.problem).removeprefix('but ')}"]) from None
        except yaml.reader.ReaderError as error:
            line = text.count("\n", 0, error.position)
            place = self._format_place(line, error.position - text.rfind("\n", 0, error.position) - 1)
            raise InvalidDocumentError([f"{place}: expected YAML; found the character {error.character:#x}"]) from None
        except RecursionError:
            raise InvalidDocumentError([f"{name}: expected YAML; found too many levels"]) from None
        except (ValueError, OverflowError) as error:  # escapes such as "\UFFFFFFFF"
            raise InvalidDocumentError([f"{name}: expected YAML; found a character that is none: {error}"]) from None
        if not isinstance(self.data, dict):
            raise InvalidDocumentError([f"{self.place(())}: expected a YAML mapping, found {describe(self.data)}"])

    def place(self, path: Place) -> str:
        """``file:line:column`` of the value at ``path``, or of the nearest value that holds it."""
        return self._format_place(*self.position(path))

    def position(self, path: Place) -> tuple[int, int]:
        """Line and column, from 0, of the value at ``path``, or of the nearest value that holds it."""
        while path and path not in self._places:
            path = path[:-1]
        return self._places.get(path, (0, 0))

    def _format_place(self, line: int, column: int) -> str:
        return f"{self.name}:{line + self._first_line}:{column + 1}"

    def _value(self, node: yaml.Node, path: Place) -> Any:
        if id(node) in self._seen:  # expanding aliases lets a small file grow without bound
            raise _fault(node, "found an alias ('*name'); write it out")
        self._seen.add(id(node))
        self._places[path] = (node.start_mark.line, node.start_mark.column)
        if isinstance(node, yaml.MappingNode):
            mapping: dict[Any, Any] = {}
            for key_node, value_node in node.value:
                key = self._scalar(key_node) if isinstance(key_node, yaml.ScalarNode) else None
                if not isinstance(key, str):
                    raise _fault(key_node, "found a key that is not text; put it in quotes")
                if key in mapping:
                    raise _fault(key_node, f"found the key {key!r} twice")
                if key in _TEXT_KEYS and isinstance(value_node, yaml.ScalarNode):
                    value_node.tag = "tag:yaml.org,2002:str"
                mapping[key] = self._value(value_node, (*path, key))
                self._places[*path, key] = (key_node.start_mark.line, key_node.start_mark.column)
            return mapping
        if isinstance(node, yaml.SequenceNode):
            return [self._value(item, (*path, index)) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _scalar(self, node: yaml.Node) -> Any:
        try:
            value = self._loader.construct_object(node, deep=True)
            if isinstance(value, str):
                value.encode()
        # What PyYAML raises on text that is not what its tag says depends on the tag.
        except (ValueError, KeyError, IndexError, AttributeError):
            raise _fault(node, f"found {describe(node.value)}, which is not a valid value of its type") from None
        return value


def _fault(node: yaml.Node, problem: str) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=node.start_mark)


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
    faults = sorted(faults_of(document.data, schema), key=lambda fault: document.position(fault[0]))
    if faults:
        raise InvalidDocumentError([f"{document.place(path)}: {message}" for path, message in faults])


def faults_of(data: Any, schema: str) -> list[tuple[Place, str]]:
    """Every way in which ``data`` does not fit ``schema``: the path of the value, and a sentence naming it."""
    errors = sorted(_validator(schema).iter_errors(data), key=lambda error: [str(part) for part in error.absolute_path])
    return [fault for error in errors for fault in _explain(error)]


@cache
def _validator(schema: str) -> Draft202012Validator:
    files = sorted(shipped("schemas").glob("*.schema.json"))
    schemas = {file.name: json.loads(file.read_text(encoding="utf-8")) for file in files}
    registry = Registry().with_contents((contents["$id"], contents) for contents in schemas.values())
    validator: Draft202012Validator = _Validator(schemas[f"{schema}.schema.json"], registry=registry)
    return validator


def _is_whole(_checker: object, value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _LARGEST


def _is_number(checker: object, value: object) -> bool:
    return _is_whole(checker, value) or (isinstance(value, float) and math.isfinite(value))


def _pattern(_validator: object, pattern: str, instance: object, _schema: object) -> Iterator[ValidationError]:
    # In a schema's patterns, which are ECMA 262's, '$' is the end of the text; Python's '$' lets a newline follow.
    if isinstance(instance, str) and not re.search(pattern.replace("$", r"\Z"), instance):
        yield ValidationError("does not match")


# JSON Schema takes 3.0 for a whole number, and says nothing of numbers that JSON can't hold.
_Validator: type[Draft202012Validator] = extend(  # type: ignore[no-untyped-call]
    Draft202012Validator,
    {"pattern": _pattern},
    type_checker=Draft202012Validator.TYPE_CHECKER.redefine_many({"integer": _is_whole, "number": _is_number}),
)

_TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "a mapping",
    "string": "text",
}
_BOUNDS = {
    "const": "{}",
    "exclusiveMaximum": "less than {}",
    "exclusiveMinimum": "more than {}",
    "maximum": "at most {}",
    "maxItems": "a length of at most {}",
    "minimum": "at least {}",
    "minItems": "a length of at least {}",
    "minLength": "a length of at least {}",
    "minProperties": "a length of at least {}",
}


def _explain(error: ValidationError) -> Iterator[tuple[Place, str]]:
    path: Place = tuple(error.absolute_path)
    if "propertyNames" in error.absolute_schema_path:  # the instance is a key
        path = (*path, str(error.instance))
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
            near = difflib.get_close_matches(unknown, known)
            hint = f"the nearest: {', '.join(near)}" if near else f"expected one of {', '.join(known)}"
            yield (*path, unknown), f"{key_name((*path, unknown))}: unknown key; {hint}"
    elif error.validator == "type":
        names = [wanted] if isinstance(wanted, str) else wanted
        yield path, f"{key}: expected {' or '.join(_TYPES[name] for name in names)}, found {describe(instance)}"
    elif error.validator == "enum":
        values = ", ".join(str(value) for value in wanted)
        yield path, f"{key}: expected one of {values}, found {describe(instance)}"
    elif error.validator == "pattern":
        meaning = schema.get("description", f"text that matches {wanted}")
        yield path, f"{key}: expected {meaning}, found {describe(instance)}"
    else:
        yield path, f"{key}: expected {_BOUNDS[str(error.validator)].format(wanted)}, found {describe(instance)}"


def key_name(path: Place) -> str:
    """A path as people write it: ``asset[0].asset-sha256``."""
    name = "".join(
        f".{part}" if isinstance(part, str) and re.fullmatch(r"[\w-]+", part) else f"[{describe(part)}]"
        for part in path
    )
    return name.removeprefix(".") or "document"


def describe(value: Any) -> str:
    """A short account of a value for an error message: its text, or what kind of thing it is."""
    if isinstance(value, Mapping):
        return f"a mapping of {len(value)}"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    text = json.dumps(value, ensure_ascii=False, default=str).encode(errors="backslashreplace").decode()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."
