"""Whether all that one JSON Schema allows another allows too, as far as this package's own schemas go.

The libraries that decide this in general don't read the escapes of our patterns, and answer with yes or no, while
people need to be told what differs. What can't be judged here, such as two patterns, counts as a difference.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

Schema: TypeAlias = Mapping[str, Any]

_SAYS_NOTHING = frozenset({"$id", "$schema", "default", "description", "examples", "title"})
_HANDLED = frozenset({"additionalProperties", "anyOf", "const", "enum", "properties", "required", "type"})
_LIMITS: Mapping[str, Callable[[Any, Any], bool]] = {
    **dict.fromkeys(
        ("minimum", "exclusiveMinimum", "minLength", "minItems", "minProperties"), lambda inner, outer: inner >= outer
    ),
    **dict.fromkeys(
        ("maximum", "exclusiveMaximum", "maxLength", "maxItems", "maxProperties"), lambda inner, outer: inner <= outer
    ),
}


class Difference(NamedTuple):
    """Something that the one schema allows and the other does not.

    Attributes:
        field: Which field, as in `data.orderid`; empty for the whole.
        keyword: JSON Schema's name for what differs.
        inner: What the first schema says; None if nothing.
        outer: What the second says; None if nothing.
    """

    field: str
    keyword: str
    inner: object
    outer: object


def differences(inner: Schema, outer: Schema, field: str = "") -> Iterator[Difference]:
    """Tell what `inner` allows and `outer` does not.

    A field that only `outer` describes passes if it need not be there: nobody sends what nobody described.
    """
    if "anyOf" in inner or "anyOf" in outer:
        yield from _alternatives(inner, outer, field)
        return
    if not _types(inner) <= _types(outer):
        yield Difference(field, "type", inner.get("type"), outer.get("type"))
    yield from _values(inner, outer, field)
    yield from _fields(inner, outer, field)
    for keyword in sorted({*inner, *outer} - _SAYS_NOTHING - _HANDLED):
        ours, theirs = inner.get(keyword), outer.get(keyword)
        allows = _LIMITS.get(keyword, lambda ours, theirs: bool(ours == theirs))
        if keyword in outer and not (keyword in inner and allows(ours, theirs)):
            yield Difference(field, keyword, ours, theirs)


def _alternatives(inner: Schema, outer: Schema, field: str) -> Iterator[Difference]:
    theirs = outer.get("anyOf", [outer])
    for ours in inner.get("anyOf", [inner]):
        if not any(next(differences(ours, each, field), None) is None for each in theirs):
            yield Difference(field, "anyOf", ours, theirs)
    beside = ({*outer} - _SAYS_NOTHING - {"anyOf"}) if "anyOf" in outer else set()
    for keyword in sorted(beside):
        if inner.get(keyword) != outer[keyword]:
            yield Difference(field, keyword, inner.get(keyword), outer[keyword])


def _types(schema: Schema) -> frozenset[str]:
    everything = ("array", "boolean", "integer", "null", "number", "object", "string")
    named = schema.get("type", everything)
    types = frozenset([named] if isinstance(named, str) else named)
    return types | {"integer"} if "number" in types else types


def _values(inner: Schema, outer: Schema, field: str) -> Iterator[Difference]:
    theirs = _choice(outer)
    ours = _choice(inner)
    if theirs is not None and (ours is None or any(value not in theirs for value in ours)):
        yield Difference(field, "enum", ours, theirs)


def _choice(schema: Schema) -> list[Any] | None:
    return [schema["const"]] if "const" in schema else schema.get("enum")


def _fields(inner: Schema, outer: Schema, field: str) -> Iterator[Difference]:
    always: list[str] = inner.get("required", [])
    for name in outer.get("required", []):
        if name not in always:
            yield Difference(_join(field, name), "required", False, True)  # noqa: FBT003 - the values of the keyword
    ours: Schema = inner.get("properties", {})
    for name, schema in outer.get("properties", {}).items():
        if name in ours:
            yield from differences(ours[name], schema, _join(field, name))
    if outer.get("additionalProperties", True) is not True and outer["additionalProperties"] != inner.get(
        "additionalProperties", True
    ):
        yield Difference(
            field, "additionalProperties", inner.get("additionalProperties", True), outer["additionalProperties"]
        )


def _join(field: str, name: str) -> str:
    return f"{field}.{name}" if field else name
