"""Formats events and numbers for the output of the demo."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

from rich.console import OverflowMethod

import allocation_contracts as contracts


@dataclass(frozen=True, slots=True, kw_only=True)
class Signs:
    """The signs of the view.

    Attributes:
        held: A piece of a bar: allocated.
        free: A piece of a bar: available.
        lost: A piece of a bar: it was there once.
        levels: From nothing to much, for the sparkline.
        ellipsis: What becomes of a line that is too long.
    """

    held: str
    free: str
    lost: str
    on: str
    off: str
    good: str
    bad: str
    levels: str
    ellipsis: OverflowMethod


UNICODE = Signs(
    held="━", free="─", lost="╌", on="●", off="○", good="✓", bad="✗", levels=" ▁▂▃▄▅▆▇█", ellipsis="ellipsis"
)
ASCII = Signs(held="#", free="-", lost=".", on="*", off="o", good="+", bad="x", levels=" .:-=+*#", ellipsis="crop")


def signs_for(encoding: str) -> Signs:
    """Give the signs that a terminal or file of this encoding can show."""
    return UNICODE if encoding.lower().startswith("utf") else ASCII


def day(eta: date | None) -> str:
    """Say when a batch arrives: `12 Dec`, or `here` for one in the warehouse."""
    return f"{eta.day} {eta:%b}" if eta else "here"


def count(number: int, one: str, many: str | None = None) -> str:
    """Say how many: `1 line`, `1,200 lines`."""
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def listed(parts: Sequence[str]) -> str:
    """Join `a`, `b` and `c` as a sentence does."""
    return " and ".join(filter(None, [", ".join(parts[:-1]), *parts[-1:]]))


def name(event: contracts.Event) -> str:
    """Give the event's type without its version."""
    return event.TYPE.rpartition(".")[0]


def describe(event: contracts.Event) -> str:  # noqa: C901, PLR0911, PLR0912 - one for each event
    """Tell an event in one line."""
    match event:
        case contracts.Allocated():
            due = f", due {day(event.eta)}" if event.eta else ""
            return f"{event.orderid}  {event.qty} {event.sku} from {event.batchref}{due}"
        case contracts.OutOfStock():
            return f"{event.orderid}  {event.qty} {event.sku}: {shortage(event)}"
        case contracts.Backordered():
            return f"{event.orderid}  {event.qty} {event.sku} waits: {shortage(event)}"
        case contracts.Deallocated():
            back = f"given back to {event.batchref}" if event.reason == "cancelled" else f"taken off {event.batchref}"
            return f"{event.orderid}  {event.qty} {event.sku} {back if event.batchref else 'held nothing'}"
        case contracts.BatchCreated():
            where = f"at sea, due {day(event.eta)}" if event.eta else "in the warehouse"
            return f"{event.batchref}  {event.qty} {event.sku} {where}"
        case contracts.BatchQuantityChanged():
            return f"{event.batchref}  {event.previous_qty} {event.sku} became {event.qty}"
        case contracts.BatchEtaChanged():
            return f"{event.batchref}  {event.sku} {_arrives(event.eta)}"
        case contracts.PromiseChanged():
            return f"{event.orderid}  {event.qty} {event.sku} from {event.batchref}, {_arrives(event.eta)}"
        case contracts.Shipped():
            return f"{event.orderid}  {event.qty} {event.sku} from {event.batchref} is on its way"
        case contracts.Held():
            return f"{event.orderid}  {event.qty} {event.sku} from {event.batchref} held until {event.until:%H:%M} UTC"
        case contracts.HoldLapsed():
            return f"{event.orderid}  {event.qty} {event.sku} held no longer, given back to {event.batchref}"
        case contracts.LineQuantityChanged():
            return f"{event.orderid}  {event.previous_qty} {event.sku} became {event.qty}"
        case contracts.CommandRejected():
            return event.reason + ": " + event.detail


def _arrives(eta: date | None) -> str:
    return f"comes on {day(eta)} now" if eta else "is there"


def shortage(event: contracts.OutOfStock | contracts.Backordered) -> str:
    """Say what could be had instead."""
    ship = f", and the next ship comes on {day(event.next_eta)}" if event.next_eta else ""
    return f"one batch has {event.largest_available} at most{ship}"


def sparkline(counts: Sequence[int], levels: str) -> str:
    """Draw counts as a line of little bars: the largest is the highest, only nothing is blank, and a few stay low."""
    steps = len(levels) - 1
    top = max([*counts, steps])
    return "".join(levels[-(-number * steps // top)] for number in counts)


def bar(*, width: int, scale: int, allocated: int, purchased: int, lost: int) -> tuple[int, int, int]:
    """Divide a bar.

    Args:
        width: Of a bar of `scale` pieces of stock, in characters.
        scale: The most that any batch has had.
        allocated: How many pieces of stock are promised; anything promised shows as a character at least.
        purchased: How many there are.
        lost: How many there were besides.

    Returns:
        How many characters are allocated, available and lost.
    """
    here = min(width, max(1 if purchased else 0, round(width * purchased / scale)))
    whole = max(here, min(width, round(width * (purchased + lost) / scale)))
    held = min(here, max(1 if allocated else 0, round(width * allocated / scale)))
    if allocated < purchased and held == here > 1:
        held -= 1  # what is left shows too
    return held, here - held, whole - here
