"""Writes the messages as TypeScript types: `python -m tools.typescript DIRECTORY`."""

import json
import sys
import textwrap
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from typing import Any, TypeAlias

from allocation_contracts.commands import COMMANDS
from allocation_contracts.events import EVENTS
from allocation_contracts.message import Message
from tools.folder import write_folder
from tools.schemas import schema_of

Schema: TypeAlias = Mapping[str, Any]

_TYPES = {
    "boolean": "boolean",
    "integer": "number",
    "null": "null",
    "object": "Record<string, unknown>",
    "string": "string",
}
_WIDTH = 115

_HEAD = "// Generated from the models by `make schemas`; a test fails when it is not what they say."
_KINDS: Mapping[str, Mapping[str, type[Message]]] = {"Command": COMMANDS, "Event": EVENTS}


def files() -> dict[str, str]:
    """Give the text of each file of the package by its name."""
    return {"index.d.ts": _declarations(), "package.json": json.dumps(_package(), indent=2) + "\n"}


def main(arguments: list[str]) -> int:
    """Write the package into the directory that is the only argument, and make it if it is not there."""
    return write_folder(files(), "tools.typescript", arguments)


def _package() -> dict[str, Any]:
    return {
        "name": "allocation-contracts",
        "version": version("allocation-contracts"),
        "description": "The bodies of the messages of the allocation worker, as TypeScript types.",
        "license": "MIT",
        "types": "index.d.ts",
        "files": ["index.d.ts"],
    }


def _declarations() -> str:
    interfaces = (_interface(model) for models in _KINDS.values() for model in models.values())
    maps = (_by_type(kind, models) for kind, models in _KINDS.items())
    return "\n".join([_HEAD, "", *interfaces, *maps])


def _interface(model: type[Message]) -> str:
    schema = schema_of(model)
    # In the order of the models: a dict of JSON keeps it, and the sorted schema files do not.
    fields = (
        line
        for name, field in schema["properties"].items()
        for line in _field(name, field, optional=name not in schema["required"])
    )
    return "\n".join([*_comment(schema["description"]), f"export interface {schema['title']} {{", *fields, "}", ""])


def _field(name: str, schema: Schema, *, optional: bool) -> Iterator[str]:
    for line in _comment(schema["description"]):
        yield f"  {line}"
    yield f"  {name}{'?' if optional else ''}: {_type(schema)};"


def _type(schema: Schema) -> str:
    if "anyOf" in schema:
        return " | ".join(_type(each) for each in schema["anyOf"])
    if "examples" in schema:
        # The known values of an open list: an editor offers them, and any other text is valid, too.
        return " | ".join([*map(json.dumps, schema["examples"]), "(string & {})"])
    return _TYPES[schema["type"]]


def _by_type(kind: str, models: Mapping[str, type[Message]]) -> str:
    return "\n".join(
        [
            *_comment(f"The body of each {kind.lower()} by the AMQP property `type`."),
            f"export interface {kind}s {{",
            *(f'  "{type_}": {model.__name__};' for type_, model in models.items()),
            "}",
            "",
            f"export type {kind} = {kind}s[keyof {kind}s];",
            "",
        ]
    )


def _comment(text: str) -> Iterator[str]:
    lines = textwrap.wrap(text, _WIDTH)
    if len(lines) == 1:
        yield f"/** {lines[0]} */"
        return
    yield "/**"
    for line in lines:
        yield f" * {line}"
    yield " */"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
