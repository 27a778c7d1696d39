"""Writes a letter whenever a customer has to be told another day than before: one letter for each change.

AMQP_URL=amqp://... python promise.py letters.sqlite

A mail program takes the letters from the table `letters`.
"""

import json
import logging
import os
import sqlite3
import sys
from typing import NamedTuple

from allocation_contracts import (
    Allocated,
    Backordered,
    Deallocated,
    Event,
    EventProperties,
    GapError,
    Held,
    HoldLapsed,
    LineQuantityChanged,
    OutOfStock,
    Position,
    PromiseChanged,
    Shipped,
)
from allocation_contracts.amqp import Subscriber

QUEUE = "customers.letters"

# Of a line that is held these two do not say that it is: it stays what the last of the others made it.
SILENT = (PromiseChanged, LineQuantityChanged)
LINE = (*SILENT, Allocated, Held, OutOfStock, Backordered, Deallocated, HoldLapsed, Shipped)

# Of a line: the last event, whether it is known to be ordered and not only held, and what its customer was told.
TABLES = """
CREATE TABLE IF NOT EXISTS lines (
    orderid TEXT, sku TEXT, lineid TEXT, sequence INTEGER, ordered INTEGER, told TEXT,
    PRIMARY KEY (orderid, sku, lineid));
CREATE TABLE IF NOT EXISTS letters (
    sku TEXT, sequence INTEGER, orderid TEXT, lineid TEXT, letter TEXT,
    PRIMARY KEY (sku, sequence));
CREATE TABLE IF NOT EXISTS positions (sku TEXT PRIMARY KEY, last INTEGER, missing TEXT);
"""
LINE_OF = "SELECT sequence, ordered, told FROM lines WHERE (orderid, sku, lineid) = (?, ?, ?)"
LETTERS = "SELECT orderid, sku, lineid, letter FROM letters ORDER BY sku, sequence"


class Told:
    """What a customer was told last. Else it is the day on which the batch arrives."""

    NOTHING = ""
    HERE = "here"
    WAITS = "waits"
    SOLD_OUT = "sold out"


class Line(NamedTuple):
    """What is known of a line. Of one that is new, that is nothing."""

    sequence: int = 0
    ordered: bool = False
    told: str = Told.NOTHING


class Letters:
    """The letters, what was told, and how far the events of each SKU have been taken, in one file.

    Each event is one transaction. So one that comes again, after a crash too, writes no second letter.
    """

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path, timeout=30)
        self.database.executescript(TABLES)

    def take(self, event: Event, _properties: EventProperties) -> None:
        """Write a letter if there is something new to tell; it is committed with the event's position."""
        if not isinstance(event, LINE):
            return
        key = (event.orderid, event.sku, event.lineid)
        line = Line(*(self.database.execute(LINE_OF, key).fetchone() or ()))
        if event.sequence <= line.sequence:
            return  # it comes late, and what it says is out of date
        ordered = line.ordered if isinstance(event, SILENT) else not isinstance(event, Held)
        now = promise(event, line.told) if ordered else line.told
        known = (*key, event.sequence, ordered, now)
        self.database.execute("INSERT OR REPLACE INTO lines VALUES (?, ?, ?, ?, ?, ?)", known)
        if now not in {line.told, Told.NOTHING}:
            letter = f"Your order of {event.qty} {event.sku} {words(line.told, now)}."
            row = (event.sku, event.sequence, event.orderid, event.lineid, letter)
            self.database.execute("INSERT INTO letters VALUES (?, ?, ?, ?, ?)", row)

    def get(self, sku: str, /) -> Position | None:
        row = self.database.execute("SELECT last, missing FROM positions WHERE sku = ?", (sku,)).fetchone()
        return row and Position(row[0], tuple(range(*gap) for gap in json.loads(row[1])))

    def __setitem__(self, sku: str, position: Position, /) -> None:
        missing = json.dumps([[gap.start, gap.stop] for gap in position.missing])
        self.database.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", (sku, position.last, missing))
        self.database.commit()

    def written(self) -> list[tuple[str, str, str, str]]:
        """(orderid, sku, lineid, letter) of each letter, those of a SKU in their order."""
        return self.database.execute(LETTERS).fetchall()


def promise(event: Event, told: str) -> str:
    """Return what the customer of a line has to be told by now. Of a basket, nobody is told."""
    match event:
        case Allocated() | PromiseChanged():
            return str(event.eta or Told.HERE)
        case LineQuantityChanged() if event.batchref is not None:
            return str(event.eta or Told.HERE)
        case Backordered():
            return Told.WAITS
        case OutOfStock() if told:
            return Told.SOLD_OUT
        case Deallocated(reason="cancelled") | HoldLapsed() | Shipped():
            return Told.NOTHING
    # Either it was out of stock from the first, as the shop has seen. Or a batch has lost it: its next event tells what
    # becomes of it.
    return told


def words(told: str, now: str) -> str:
    """Say what is so now, for one who was told something else before."""
    match told, now:
        case _, Told.SOLD_OUT:
            return "cannot be had, we are sorry"
        case _, Told.WAITS:
            return "is sold out, and you are in line for the next ones"
        case ((Told.WAITS | Told.SOLD_OUT), Told.HERE):
            return "is back in stock"
        case _, Told.HERE:
            return "is in stock"
        case ((Told.NOTHING | Told.HERE | Told.WAITS | Told.SOLD_OUT), day):
            return f"will be here on {day}"
    return f"will be here on {now}, not on {told}"


def report(gap: GapError) -> None:
    """Tell, and go on: of what comes too late, the customer learns by the line's next event."""
    logging.warning("%s", gap)


if __name__ == "__main__":
    if len(sys.argv) != 2 or "AMQP_URL" not in os.environ:  # noqa: PLR2004 - its own name, and the file's
        sys.exit(
            "Name the broker and the file: AMQP_URL=amqp://guest:guest@localhost/ python promise.py letters.sqlite"
        )
    letters = Letters(sys.argv[1])
    Subscriber(os.environ["AMQP_URL"], QUEUE, events=LINE, positions=letters, on_gap=report).run(letters.take)
