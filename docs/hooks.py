"""What of the documentation is made of the project itself: pages of the site, and the manual page.

mkdocs calls the functions that begin with ``on_``; ``python docs/hooks.py`` prints the manual page.
"""

import html
import json
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from hubpkg import __version__, arguments

ROOT = Path(__file__).parents[1]
SCHEMAS = ROOT / "schemas"
_LIMITS = {"minimum": "at least", "maximum": "at most", "exclusiveMinimum": "above", "exclusiveMaximum": "below"}
_SOMETIMES = "The keys whose column *needed* says *sometimes* are needed together with others, or without them."


def on_files(files: Any, config: Any) -> Any:
    """Add the pages that are made."""
    from mkdocs.structure.files import File

    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Let links to files of the repository lead to the pages that are made of them."""
    up = "../" * page.file.src_uri.count("/")
    for pattern, made in {
        r"README\.md": "index.md",
        r"schemas/(\w+)\.schema\.json": r"reference/schemas.md#\1",
        r"schemas(?=\))": "reference/schemas.md",
    }.items():
        markdown = re.sub(rf"\]\({up}\.\./{pattern}", rf"]({up}{made}", markdown)
    return markdown


def on_post_page(output: str, **_: Any) -> str:
    """Name the theme's search, which it leaves without a name for a screen reader."""
    return output.replace('role="dialog"', 'role="dialog" aria-label="Search"')


def pages() -> dict[str, str]:
    """Each page that is made, by its name: those of the repository's root, the command line, the schemas."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8").replace("](docs/", "](")
    return {
        "index.md": readme.replace("](schemas)", "](reference/schemas.md)"),
        **{name: (ROOT / name).read_text(encoding="utf-8") for name in ("CONTRIBUTING.md", "CHANGELOG.md", "LICENSE")},
        "reference/command-line.md": command_line(),
        "reference/schemas.md": schemas(),
    }


def command_line() -> str:
    """The help of each command, as it is printed."""
    with mock.patch.dict("os.environ", COLUMNS="80"):
        parser = arguments.parser(defaultdict(lambda: int))
        helps = {parser.prog: parser.format_help()} | {
            command.prog: command.format_help() for command in commands(parser).values()
        }
    return "# Command line\n\n" + "".join(f"## {name}\n\n```text\n{text}```\n\n" for name, text in helps.items())


def commands(parser: Any) -> dict[str, Any]:
    """The parsers of the commands, by name."""
    (found,) = (action.choices for action in parser._actions if isinstance(action.choices, dict))  # noqa: SLF001 - argparse has no other way
    return found


def schemas() -> str:
    """A section for each schema, with a table of its keys."""
    text = ["# Files\n", f"What each file may hold. {_SOMETIMES}\n"]
    for file in sorted(SCHEMAS.glob("*.schema.json")):
        schema = json.loads(file.read_text(encoding="utf-8"))
        name = file.name.removesuffix(".schema.json")
        text += [f"## {schema['title']} {{#{name}}}\n", f"{schema['description']}\n"]
        text += ["| key | is | needed | meaning |", "|---|---|---|---|"]
        text += [f"| {' | '.join(row)} |" for row in _rows(schema, file.name, "")]
        text.append("")
    return "\n".join(text)


def _rows(schema: dict[str, Any], file: str, above: str) -> Iterator[list[str]]:
    """Of each key below ``schema``: its path, what it is, whether it is needed, and its description."""
    branches = [rule.get(branch, {}) for rule in schema.get("allOf", []) for branch in ("then", "else")]
    lists = [branch.get("required", []) for branch in branches] + [*schema.get("dependentRequired", {}).values()]
    sometimes = {key for listed in lists for key in listed}
    keys = schema.get("properties", {})
    others = schema.get("additionalProperties")
    for key, found in {**keys, **({"*": others} if others else {})}.items():
        value, home = _resolved(found, file)
        path = f"{above}{key}"
        needed = "yes" if key in schema.get("required", []) else "sometimes" if key in sometimes else ""
        yield [f"`{path}`", _kind(value, home), needed, _plain(value.get("description", ""))]
        while "items" in value:
            value, home = _resolved(value["items"], home)
            path += "[]"
        yield from _rows(value, home, f"{path}.")


def _resolved(schema: Any, file: str) -> tuple[dict[str, Any], str]:
    """The schema that ``schema`` of ``file`` refers to, if it does, and its file."""
    while isinstance(schema, dict) and "$ref" in schema:
        name, _, pointer = schema["$ref"].partition("#")
        file = name or file
        schema = json.loads((SCHEMAS / file).read_text(encoding="utf-8"))
        for step in pointer.split("/")[1:]:
            schema = schema[step]
    return schema if isinstance(schema, dict) else {}, file


def _kind(schema: dict[str, Any], file: str) -> str:
    """The values that a schema allows, in words."""
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{json.dumps(value).strip(chr(34))}`" for value in schema.get("enum", [schema.get("const")]))
    kinds = schema.get("type", "any")
    words = " or ".join([kinds] if isinstance(kinds, str) else kinds)
    if "items" in schema:
        return f"{words} of {_kind(*_resolved(schema['items'], file))}"
    return " ".join([words, ", ".join(f"{word} {schema[key]:,}" for key, word in _LIMITS.items() if key in schema)])


def _plain(text: str) -> str:
    """A text of which Markdown changes nothing."""
    return re.sub(r"[*_|`\[\]{}\\]", lambda found: f"&#{ord(found[0])};", html.escape(text, quote=False))


def manual() -> str:
    """The manual page, in roff."""
    from argparse_manpage.manpage import Manpage

    with mock.patch.dict("os.environ", COLUMNS="80"):
        parser = arguments.parser(defaultdict(lambda: int))
        page = Manpage(parser)
        page.description = str(parser.description)
        page.source, page.manual, page.date = f"hubpkg {__version__}", "hubpkg", ""
        return str(page)


if __name__ == "__main__":
    print(manual(), end="")
