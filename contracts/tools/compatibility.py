"""Keeps what was released, and refuses what would break those who go by it.

`python -m tools.compatibility check DIRECTORY` compares the models with every released version there,
and `... keep DIRECTORY` keeps them as the version that they are, once that is released.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeAlias

from allocation_contracts import names
from allocation_contracts.commands import COMMANDS
from allocation_contracts.events import EVENTS
from allocation_contracts.fields import DATE_PATTERN
from tools.asyncapi import command_properties_schema, event_properties_schema
from tools.schemas import schema_of
from tools.subsets import Difference, differences

Contract: TypeAlias = Mapping[str, Any]

_FAILURE = 1
_USAGE_ERROR = 2
_OPENED = frozenset({("deallocated.v1", "reason")})
"""Fields of events whose list of values was closed once, and is open by a decision that readers were told of."""
_RESTATED: tuple[tuple[Contract, Contract], ...] = (
    ({"not": {"pattern": r"\n"}}, {}),
    ({"format": "date", "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"}, {"pattern": DATE_PATTERN}),
)
"""Keywords of released schemas, and those that say the same now, in words that generators of types understand."""
_NAMES = ("COMMANDS_EXCHANGE", "EVENTS_EXCHANGE", "DEAD_LETTERS", "ORDERS_QUEUE", "STOCK_QUEUE")


def contract() -> dict[str, Any]:
    """Give all that others rely on, as it is now."""
    return {
        "names": {name: getattr(names, name) for name in _NAMES},
        "commands": {
            "properties": command_properties_schema(),
            "messages": {
                type_: {"routing_key": model.ROUTING_KEY, "queue": model.QUEUE, "body": schema_of(model)}
                for type_, model in COMMANDS.items()
            },
        },
        "events": {
            "properties": event_properties_schema(),
            "messages": {
                type_: {"routing_key": model.ROUTING_KEY, "body": schema_of(model)} for type_, model in EVENTS.items()
            },
        },
    }


def breaks(released: Contract, now: Contract) -> list[str]:
    """Say what in `now` would break a program that goes by `released`, one sentence each.

    Others write commands and we read them: all that was valid must stay so, and mean the same. We write events and
    others read them: all that comes must have been valid, and all that came must still come.
    """
    found = [
        f"The name {name} was {old} and is {now['names'].get(name)}: programs that use the old one find nothing there."
        for name, old in released["names"].items()
        if now["names"].get(name) != old
    ]
    for kind in ("commands", "events"):
        found += _broken_messages(kind, released[kind], now[kind])
    return found


def main(arguments: list[str]) -> int:
    """Check, or keep."""
    if len(arguments) != 2 or arguments[0] not in ("check", "keep"):  # noqa: PLR2004 - a verb and a directory
        _say("usage: python -m tools.compatibility check|keep DIRECTORY")
        return _USAGE_ERROR
    directory = Path(arguments[1])
    return _keep(directory) if arguments[0] == "keep" else _check(directory)


def _check(directory: Path) -> int:
    files = sorted(directory.glob("*.json"))
    if not files:
        _say(f"There is no released version in {directory}: nothing was compared.")
        return _FAILURE
    failures = [
        f"{file.stem}: {sentence}"
        for file in files
        for sentence in breaks(json.loads(file.read_text("utf-8")), contract())
    ]
    for failure in failures:
        _say(failure)
    return _FAILURE if failures else 0


def _keep(directory: Path) -> int:
    file = directory / f"{version('allocation-contracts')}.json"
    if file.exists():
        _say(f"{file} is there already: what was released stays. Raise the version in contracts/pyproject.toml.")
        return _FAILURE
    directory.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(contract(), indent=2, sort_keys=True, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


def _broken_messages(kind: str, released: Contract, now: Contract) -> Iterator[str]:
    for what in _broken_body(kind, released["properties"], now["properties"]):
        yield f"The properties of {kind}: {what}"
    for type_, old in released["messages"].items():
        new = now["messages"].get(type_)
        if new is None:
            yield f"{type_} is gone: keep it for those who use it, and put what replaces it beside it."
            continue
        broken = [*_broken_place(old, new), *_broken_body(kind, _opened(type_, _restated(old["body"])), new["body"])]
        for what in broken:
            yield f"{type_}: {what} {_advice(type_)}"


def _opened(type_: str, body: Contract) -> Contract:
    """Return the schema of a body without the lists of values that are open by now."""
    fields = body.get("properties", {})
    opened = {
        name: {keyword: value for keyword, value in field.items() if keyword != "enum"}
        for name, field in fields.items()
        if (type_, name) in _OPENED
    }
    return {**body, "properties": {**fields, **opened}}


def _restated(schema: Contract) -> dict[str, Any]:
    """Return a released schema in the words of today."""
    said = {keyword: _restated_value(value) for keyword, value in schema.items()}
    for old, new in _RESTATED:
        if old.items() <= schema.items():
            said = {keyword: value for keyword, value in said.items() if keyword not in old} | dict(new)
    return said


def _restated_value(value: object) -> object:
    if isinstance(value, list):
        return [_restated_value(each) for each in value]
    return _restated(value) if isinstance(value, dict) else value


def _broken_place(old: Contract, new: Contract) -> Iterator[str]:
    for what in ("routing_key", "queue"):
        if old.get(what) != new.get(what):
            yield f"its {what.replace('_', ' ')} was {old.get(what)} and is {new.get(what)}."


def _broken_body(kind: str, old: Contract, new: Contract) -> Iterator[str]:
    before, after = old.get("properties", {}), new.get("properties", {})
    for name in before:
        if name not in after:
            yield f'"{name}" is gone, and is relied on.'
            continue
        meant, means = before[name].get("default"), after[name].get("default")
        if meant != means:
            yield f'"{name}" meant {_show(meant)} when left out, and means {_show(means)}.'
    if kind == "commands":
        for difference in differences(old, new):
            yield _sentence(difference, difference.inner, difference.outer) + " Programs write it as it was."
    else:
        for difference in differences(new, old):
            if difference.field in after or difference.keyword != "required":  # else it is gone, as said above
                yield _sentence(difference, difference.outer, difference.inner) + " Programs read it as it was."


def _sentence(difference: Difference, old: object, new: object) -> str:
    place = f'"{difference.field}"' if difference.field else "the body"
    if difference.keyword == "required":
        return f"{place} {'must be there now' if new else 'may be left out now'}."
    return f"the {difference.keyword} of {place} was {_show(old)} and is {_show(new)}."


def _show(value: object) -> str:
    return "nothing" if value is None else json.dumps(value, ensure_ascii=True)


def _advice(type_: str) -> str:
    name, _, number = type_.rpartition(".v")
    return f"Undo it, or make it a type of its own beside this one, {name}.v{int(number) + 1}."


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)  # noqa: T201 - a command's output


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
