"""Writes one JSON Schema (draft 2020-12) a message: `python -m tools.schemas DIRECTORY`."""

import json
import sys
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from allocation_contracts.commands import COMMANDS
from allocation_contracts.events import EVENTS
from allocation_contracts.message import Message
from tools.folder import write_folder


class _Untitled(GenerateJsonSchema):
    """Leaves out the titles of fields, which only repeat their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ANN401 - pydantic's type for it is private
        del schema
        return False


def schema_of(model: type[Message]) -> dict[str, Any]:
    """Say in JSON Schema what the model takes.

    Duplicate keys, lone surrogates and `1.0` for an integer are refused by the reader, and can't be told here. `$` in a
    pattern is the end of the text, as in ECMA-262, which JSON Schema names: other dialects let a newline follow.
    """
    schema = model.model_json_schema(schema_generator=_Untitled)
    return {**schema, "$schema": _Untitled.schema_dialect, "$id": f"{model.TYPE}.json"}


def files() -> dict[str, str]:
    """Give the text of each schema file by its name, as in `allocate.v1.json`."""
    return {
        f"{type_}.json": json.dumps(schema_of(model), indent=2, sort_keys=True, ensure_ascii=False) + "\n"
        for type_, model in {**COMMANDS, **EVENTS}.items()
    }


def main(arguments: list[str]) -> int:
    """Write the schemas into the directory that is the only argument, and make it if it is not there."""
    return write_folder(files(), "tools.schemas", arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
