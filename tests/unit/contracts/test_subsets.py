"""Comparing two schemas: what one allows and the other does not."""

from typing import Any

import pytest

from tools.subsets import differences

ALLOWED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"type": "string"}, {"type": "string"}),
    ({"type": "string"}, {}),
    ({"type": "integer"}, {"type": "number"}),
    ({"type": "string"}, {"type": ["string", "null"]}),
    ({"type": "string", "title": "a", "description": "b", "examples": [1]}, {"type": "string"}),
    ({"minimum": 1, "maximum": 9}, {"minimum": 0, "maximum": 10}),
    ({"minLength": 1, "maxLength": 9}, {}),
    ({"pattern": "a", "format": "date"}, {"pattern": "a"}),
    ({"enum": ["a"]}, {"enum": ["a", "b"]}),
    ({"const": "a"}, {"enum": ["a", "b"]}),
    ({"type": "string"}, {"anyOf": [{"type": "null"}, {"type": "string", "maxLength": 5}, {"type": "string"}]}),
    ({"anyOf": [{"type": "null"}, {"type": "string"}]}, {"type": ["null", "string"]}),
    ({"properties": {"a": {"maximum": 1}}}, {"properties": {"a": {"maximum": 2}, "b": {"maximum": 2}}}),
    ({"required": ["a", "b"]}, {"required": ["a"]}),
    ({"additionalProperties": False}, {"additionalProperties": False}),
]

REFUSED: list[tuple[dict[str, Any], dict[str, Any], str, str]] = [
    ({"type": "number"}, {"type": "integer"}, "", "type"),
    ({}, {"type": "string"}, "", "type"),
    ({"type": ["string", "null"]}, {"type": "string"}, "", "type"),
    ({"minimum": 0}, {"minimum": 1}, "", "minimum"),
    ({"maximum": 2}, {"maximum": 1}, "", "maximum"),
    ({}, {"maximum": 1}, "", "maximum"),
    ({"maxLength": 2}, {"maxLength": 1}, "", "maxLength"),
    ({"minLength": 1}, {"minLength": 2}, "", "minLength"),
    ({"pattern": "a"}, {"pattern": "b"}, "", "pattern"),
    ({}, {"format": "date"}, "", "format"),
    ({}, {"not": {"pattern": "a"}}, "", "not"),
    ({"enum": ["a", "b"]}, {"enum": ["a"]}, "", "enum"),
    ({"type": "string"}, {"type": "string", "const": "a"}, "", "enum"),
    ({"anyOf": [{"type": "null"}, {"type": "string"}]}, {"type": "string"}, "", "anyOf"),
    ({"anyOf": [{"type": "null"}]}, {"anyOf": [{"type": "null"}], "pattern": "a"}, "", "pattern"),
    ({"required": ["a"]}, {"required": ["a", "b"]}, "b", "required"),
    ({"properties": {"a": {"maximum": 2}}}, {"properties": {"a": {"maximum": 1}}}, "a", "maximum"),
    (
        {"properties": {"a": {"properties": {"b": {"type": "string"}}}}},
        {"properties": {"a": {"properties": {"b": {"type": "null"}}}}},
        "a.b",
        "type",
    ),
    ({}, {"additionalProperties": False}, "", "additionalProperties"),
    ({"items": {"type": "string"}}, {"items": {"type": "null"}}, "", "items"),
    ({}, {"keyword-of-tomorrow": 1}, "", "keyword-of-tomorrow"),
]


@pytest.mark.parametrize(("inner", "outer"), ALLOWED, ids=str)
def test_all_that_the_first_allows_the_second_allows(inner: dict[str, Any], outer: dict[str, Any]) -> None:
    assert not list(differences(inner, outer))


@pytest.mark.parametrize(("inner", "outer", "field", "keyword"), REFUSED, ids=str)
def test_the_difference_is_named(inner: dict[str, Any], outer: dict[str, Any], field: str, keyword: str) -> None:
    [difference] = differences(inner, outer)
    assert (difference.field, difference.keyword) == (field, keyword)
