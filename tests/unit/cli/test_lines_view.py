"""The sentences of `show` about lines that wait or are held."""

from datetime import UTC, datetime

from rich.console import Console

from allocation_worker.cli.lines_view import (
    held_table,
    holds_sentence,
    queue_sentence,
    queue_table,
    queues_table,
    waiting_table,
)
from allocation_worker.cli.tables import FittedTable, duration
from allocation_worker.service_layer.ports.show import BatchUse, HeldLine, LineQueue, SkuQueue, WaitingLine

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
LINE = WaitingLine("o1", "LAMP", "2", 5, 3, NOON.date(), 4, NOON)


def drawn(table: FittedTable) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_a_queue_is_summed_up_in_a_sentence() -> None:
    assert queue_sentence("LAMP", LineQueue([], 0, 0, None)) == "No line of SKU LAMP waits for stock."
    assert queue_sentence("LAMP", LineQueue([], 1, 5, NOON)) == (
        "1 line of SKU LAMP waits for stock since 2030-01-01 12:00:00 UTC, and wants 5."
    )
    assert queue_sentence("LAMP", LineQueue([], 1200, 5000, NOON)) == (
        "1,200 lines of SKU LAMP wait for stock, and want 5,000 in all, the first since 2030-01-01 12:00:00 UTC."
    )
    assert queue_sentence("LAMP", LineQueue([], 2, 7, None)) == (
        "2 lines of SKU LAMP wait for stock, and want 7 in all."
    )


def test_holds_are_summed_up_in_a_sentence() -> None:
    nothing = BatchUse(held=0, holds=0, next_lapse=None, shipped=9)
    assert holds_sentence({"b": nothing}) == "No line is held."
    one = BatchUse(held=5, holds=1, next_lapse=NOON, shipped=0)
    assert holds_sentence({"a": nothing, "b": one}) == "1 line is held until 2030-01-01 12:00:00 UTC, and has 5."
    two = BatchUse(held=7, holds=2, next_lapse=NOON.replace(hour=11), shipped=0)
    assert holds_sentence({"b": one, "c": two}) == (
        "3 lines are held, and have 12 in all; the first hold lapses at 2030-01-01 11:00:00 UTC."
    )


def test_a_queue_says_how_many_more_lines_wait() -> None:
    table = drawn(queue_table("LAMP", LineQueue([LINE], 3, 9, NOON)))
    assert "    5 │ o1    │ 2    │        5 │        3 │ 2030-01-01 │ 2030-01-01 12:00:00 UTC" in table
    assert "2 more lines wait after these; --limit shows more." in table
    assert "1 more line waits after these" in drawn(queue_table("LAMP", LineQueue([LINE], 2, 9, NOON)))
    assert "--limit" not in drawn(queue_table("LAMP", LineQueue([LINE], 1, 9, NOON)))
    assert "Lines of 1 more SKU wait; --limit" in drawn(queues_table([SkuQueue("LAMP", 1, 2, NOON)], 2))


def test_a_line_that_waited_before_the_upgrade_says_so() -> None:
    assert "before the upgrade" in drawn(waiting_table([LINE._replace(since=None)]))


def test_a_hold_tells_how_long_it_lasts_or_that_it_is_overdue() -> None:
    line = HeldLine("o1", "LAMP", "", 5, "b", NOON, 125.5)
    assert "2030-01-01 12:00:00 UTC │ 2 min 5 s" in drawn(held_table([line]))
    assert "│ overdue for 3 s" in drawn(held_table([line._replace(seconds_left=-3.0)]))


def test_a_time_span_has_two_units() -> None:
    assert [duration(seconds) for seconds in (0, 59.9, 61, 3_661, 90_000)] == [
        "0 s", "59 s", "1 min 1 s", "1 h 1 min", "1 d 1 h",
    ]  # fmt: skip
