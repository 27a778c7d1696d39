"""Formats the lines that wait or are held, as tables or JSON, for `show`."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from allocation_worker.cli.tables import FittedTable, duration, shown, table
from allocation_worker.service_layer.ports.show import BatchUse, HeldLine, LineQueue, SkuQueue, WaitingLine
from allocation_worker.service_layer.wording import counted

Use = Mapping[str, BatchUse]
"""What has become of the allocated parts of batches, by reference."""


def waiting_table(lines: Sequence[WaitingLine]) -> FittedTable:
    """Return the lines of an order that wait."""
    header = ("SKU", "line", "quantity", "priority", "needed by", "lines before it", "waits since")
    rows = [
        (line.sku, line.lineid, line.qty, line.priority, line.needed_by or "", line.before, _since(line.since))
        for line in lines
    ]
    return table("Lines that wait for stock", header, rows)


def held_table(lines: Sequence[HeldLine]) -> FittedTable:
    """Return the lines of an order for which stock is held."""
    header = ("SKU", "line", "quantity", "batch", "held until", "time left")
    rows = [
        (line.sku, line.lineid, line.qty, line.batchref, shown(line.until), _time_left(line.seconds_left))
        for line in lines
    ]
    return table("Lines that are held", header, rows)


def queue_table(sku: str, queue: LineQueue) -> FittedTable:
    """Return the queue of a SKU, in the order in which it is served."""
    header = ("turn", "order", "line", "quantity", "priority", "needed by", "waits since")
    rows = [
        (
            line.before + 1,
            line.orderid,
            line.lineid,
            line.qty,
            line.priority,
            line.needed_by or "",
            _since(line.since),
        )
        for line in queue.lines
    ]
    left_out = queue.total - len(queue.lines)
    more = (
        f"{counted(left_out, 'more line waits', 'more lines wait')} after these; --limit shows more."
        if left_out
        else ""
    )
    title = f"Lines of SKU {sku} that wait, in the order in which they are served"
    return table(title, header, rows, besides=more)


def queues_table(queues: Sequence[SkuQueue], count: int) -> FittedTable:
    """Return the SKUs with waiting lines."""
    header = ("SKU", "lines", "quantity", "first waits since")
    rows = [(queue.sku, queue.total, queue.qty, _since(queue.since)) for queue in queues]
    left_out = count - len(queues)
    more = f"Lines of {counted(left_out, 'more SKU')} wait; --limit shows more." if left_out else ""
    return table("SKUs with lines that wait, most lines first", header, rows, besides=more)


def queue_sentence(sku: str, queue: LineQueue) -> str:
    """Return how many lines of a SKU wait."""
    if not queue.total:
        return f"No line of SKU {sku} waits for stock."
    since = f" since {_since(queue.since)}" if queue.since else ""
    if queue.total == 1:
        return f"1 line of SKU {sku} waits for stock{since}, and wants {queue.qty:,}."
    since = since and f", the first{since}"
    return f"{queue.total:,} lines of SKU {sku} wait for stock, and want {queue.qty:,} in all{since}."


def holds_sentence(use: Use) -> str:
    """Return for how many lines stock of these batches is held."""
    holds, held = sum(each.holds for each in use.values()), sum(each.held for each in use.values())
    if not holds:
        return "No line is held."
    lapse = min(each.next_lapse for each in use.values() if each.next_lapse)
    if holds == 1:
        return f"1 line is held until {shown(lapse)}, and has {held:,}."
    return f"{holds:,} lines are held, and have {held:,} in all; the first hold lapses at {shown(lapse)}."


def queue_json(queue: LineQueue) -> dict[str, Any]:
    """Return a queue for JSON; times are in ISO 8601."""
    return _totals(queue) | {"lines": [waiting_json(line) for line in queue.lines]}


def waiting_json(line: WaitingLine) -> dict[str, Any]:
    """Return a line that waits for JSON."""
    return line._asdict() | {"since": _iso(line.since)}


def held_json(line: HeldLine) -> dict[str, Any]:
    """Return a line that is held for JSON."""
    return line._asdict() | {"until": _iso(line.until)}


def queues_json(queues: Sequence[SkuQueue], count: int) -> dict[str, Any]:
    """Return the SKUs with waiting lines for JSON."""
    return {"skus_with_waiting_lines": count, "skus": [{"sku": queue.sku} | _totals(queue) for queue in queues]}


def _totals(queue: LineQueue | SkuQueue) -> dict[str, Any]:
    return {"waiting_lines": queue.total, "waiting_qty": queue.qty, "waiting_since": _iso(queue.since)}


def _since(time: datetime | None) -> str:
    return "before the upgrade" if time is None else shown(time)


def _iso(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()


def _time_left(seconds: float) -> str:
    return duration(seconds) if seconds >= 0 else f"overdue for {duration(-seconds)}"
