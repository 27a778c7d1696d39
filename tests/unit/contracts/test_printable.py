"""Whatever stands in a text, it can be shown."""

import json
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocation_contracts.errors import show
from allocation_contracts.printable import printable

# C0, DEL, C1, the line separators, and what changes the direction of a line.
HARMFUL = [
    *(chr(code) for code in (*range(0x20), *range(0x7F, 0xA0))),
    *"\u2028\u2029\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u061c\ufeff",
]


@pytest.mark.parametrize("character", HARMFUL, ids=ascii)
def test_what_a_terminal_would_obey_is_escaped(character: str) -> None:
    shown = printable(f"a{character}b")
    assert (shown.isprintable(), shown[0], shown[1], shown[-1]) == (True, "a", "\\", "b")
    assert json.loads(f'"{shown}"') == f"a{character}b"


def test_what_can_be_printed_stays() -> None:
    text = "STÜHLE 椅 \N{CHAIR} a\\b"
    assert printable(text) == text


def test_a_newline_stays_between_lines_and_nowhere_else() -> None:
    assert printable("a\nb\x1b[2J") == "a\\nb\\u001b[2J"
    assert printable("a\nb\x1b[2J", keep="\n") == "a\nb\\u001b[2J"


@given(st.text(st.characters(max_codepoint=sys.maxunicode, categories=["C", "L", "Z", "S"])))
def test_a_line_of_json_stays_one(text: str) -> None:
    line = printable(json.dumps({"text": text}, ensure_ascii=False))
    assert line.isprintable()
    assert json.loads(line) == {"text": text}


@pytest.mark.parametrize("value", ["\x7f", "\x9b2J", "\u202eabc", "é\n", b"\x9b", "\ud800"])
def test_a_sentence_shows_a_value_in_printable_characters(value: object) -> None:
    assert show(value).isprintable()
