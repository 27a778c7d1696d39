"""The demo's texts for events and numbers."""

from datetime import date

import pytest

import allocation_contracts as contracts
from demo import words
from tests.unit.demo.demo_events import allocated, cancelled, created, out_of_stock, shrunk, taken_off

SOON = date(2030, 1, 5)


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (allocated("o1", "shelf", 3), "o1  3 LAMP from shelf"),
        (allocated("o1", "ship", 3).model_copy(update={"eta": SOON}), "o1  3 LAMP from ship, due 5 Jan"),
        (out_of_stock("o1", 9, 4), "o1  9 LAMP: one batch has 4 at most"),
        (
            out_of_stock("o1", 9, 4, next_eta=SOON),
            "o1  9 LAMP: one batch has 4 at most, and the next ship comes on 5 Jan",
        ),
        (cancelled("o1", "shelf", 3), "o1  3 LAMP given back to shelf"),
        (cancelled("o1", None, 0), "o1  0 LAMP held nothing"),
        (taken_off("o1", "ship", 3), "o1  3 LAMP taken off ship"),
        (created("shelf", 10), "shelf  10 LAMP in the warehouse"),
        (created("ship", 10, eta=SOON), "ship  10 LAMP at sea, due 5 Jan"),
        (shrunk("ship", 10, 4), "ship  10 LAMP became 4"),
        (
            contracts.CommandRejected(command="allocate.v1", reason="unknown-sku", detail="No such SKU.", data={}),
            "unknown-sku: No such SKU.",
        ),
    ],
)
def test_every_event_is_told_in_a_line(event: contracts.Event, told: str) -> None:
    assert words.describe(event) == told


def test_an_event_is_named_without_its_version() -> None:
    assert words.name(created("shelf", 10)) == "batch-created"


@pytest.mark.parametrize(
    ("stock", "parts"),
    [
        ({"allocated": 0, "purchased": 100, "lost": 0}, (0, 20, 0)),
        ({"allocated": 50, "purchased": 100, "lost": 0}, (10, 10, 0)),
        ({"allocated": 100, "purchased": 100, "lost": 0}, (20, 0, 0)),
        ({"allocated": 1, "purchased": 100, "lost": 0}, (1, 19, 0)),
        ({"allocated": 99, "purchased": 100, "lost": 0}, (19, 1, 0)),
        ({"allocated": 40, "purchased": 40, "lost": 60}, (8, 0, 12)),
        ({"allocated": 0, "purchased": 0, "lost": 100}, (0, 0, 20)),
        ({"allocated": 0, "purchased": 1, "lost": 0}, (0, 1, 0)),
        ({"allocated": 150, "purchased": 100, "lost": 0}, (20, 0, 0)),
    ],
)
def test_a_bar_shows_what_is_allocated_available_and_lost(stock: dict[str, int], parts: tuple[int, int, int]) -> None:
    assert words.bar(width=20, scale=100, **stock) == parts


def test_a_bar_never_leaves_its_column() -> None:
    for width in (1, 7, 30):
        for purchased in range(0, 101, 7):
            for allocated_ in range(0, purchased + 1, 5):
                parts = words.bar(
                    width=width, scale=100, allocated=allocated_, purchased=purchased, lost=100 - purchased
                )
                assert min(parts) >= 0
                assert sum(parts) == width


def test_only_nothing_is_blank_in_a_sparkline() -> None:
    assert words.sparkline([0, 1, 50, 100], " 12345678") == " 148"


def test_a_few_stay_low_in_a_sparkline() -> None:
    assert words.sparkline([0, 1, 2], " 12345678") == " 12"


def test_lists_and_counts_read_as_sentences_do() -> None:
    assert [words.listed(parts) for parts in ([], ["a"], ["a", "b"], ["a", "b", "c"])] == [
        "", "a", "a and b", "a, b and c",
    ]  # fmt: skip
    assert [words.count(number, "ship") for number in (1, 2, 1200)] == ["1 ship", "2 ships", "1,200 ships"]
    assert words.count(2, "batch", "batches") == "2 batches"


def test_a_terminal_that_knows_ascii_only_gets_ascii() -> None:
    assert words.signs_for("utf-8") is words.signs_for("UTF-8") is words.UNICODE
    ascii_signs = words.signs_for("iso-8859-1")
    assert all(getattr(ascii_signs, name).isascii() for name in type(ascii_signs).__slots__)
