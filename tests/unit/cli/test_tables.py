"""Tables fit into the width of the terminal, and no word is broken."""

from rich.console import Console

from allocation_worker.cli.tables import table

HEADER = ("order", "quantity", "waits since", "command")
MESSAGE_ID = "7dbf725e-2a86-41b1-9446-8bbaa548f131"
ROWS = [("order-17", 3, "2030-01-01 12:00:00 UTC", MESSAGE_ID), ("order-18", 12, "", "m2")]


def drawn(width: int, *, besides: str = "") -> list[str]:
    console = Console(width=width)
    with console.capture() as captured:
        console.print(table("Lines that wait", HEADER, ROWS, besides=besides))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_a_table_that_fits_has_a_line_for_each_row() -> None:
    assert f"│ order-17 │        3 │ 2030-01-01 12:00:00 UTC │ {MESSAGE_ID} │" in drawn(100)


def test_a_table_that_is_a_little_too_wide_breaks_lines_between_words() -> None:
    lines = drawn(80)
    assert f"│ order-17 │        3 │ 2030-01-01      │ {MESSAGE_ID} │" in lines
    assert "│          │          │ 12:00:00 UTC    │                                      │" in lines
    assert max(map(len, lines)) == 80


def test_a_table_that_would_break_a_word_becomes_a_paragraph_for_each_row() -> None:
    assert drawn(60, besides="Besides, 2 more.") == [
        "Lines that wait",
        "order        order-17",
        "quantity     3",
        "waits since  2030-01-01 12:00:00 UTC",
        f"command      {MESSAGE_ID}",
        "",
        "order     order-18",
        "quantity  12",
        "command   m2",
        "",
        "Besides, 2 more.",
    ]
