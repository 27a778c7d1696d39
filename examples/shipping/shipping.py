"""Keeps a pick list: what the warehouse is to fetch for which order, as the allocation worker decides it.

AMQP_URL=amqp://... python shipping.py picks.sqlite
"""

import json
import logging
import os
import sqlite3
import sys

from allocation_contracts import (
    Allocated,
    Deallocated,
    Event,
    EventProperties,
    GapError,
    LineQuantityChanged,
    Position,
    Shipped,
)
from allocation_contracts.amqp import Subscriber

QUEUE = "shipping.picks"

# What says how much of a line is to be picked: nothing once it is shipped.
TAKEN = (Allocated, LineQuantityChanged, Shipped, Deallocated)

TABLES = """
CREATE TABLE IF NOT EXISTS picks (
    orderid TEXT, sku TEXT, lineid TEXT, qty INTEGER, batchref TEXT, sequence INTEGER,
    PRIMARY KEY (orderid, sku, lineid));
CREATE TABLE IF NOT EXISTS positions (sku TEXT PRIMARY KEY, last INTEGER, missing TEXT);
"""

# The highest sequence is a line's latest word. Where the stock was taken back the row stays, with nothing to pick: or
# how would an older event, that comes late, be known as older?
TAKE = """
INSERT INTO picks VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
SET qty = excluded.qty, batchref = excluded.batchref, sequence = excluded.sequence
WHERE excluded.sequence > picks.sequence
"""

TO_PICK = "SELECT orderid, sku, lineid, qty, batchref FROM picks WHERE qty > 0 ORDER BY batchref, sku, orderid, lineid"


class Shipping:
    """The list, and how far the events of each SKU have been taken, in one file and in one transaction."""

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path)
        self.database.executescript(TABLES)

    def take(self, event: Event, _properties: EventProperties) -> None:
        """Note what is to be picked; it is committed with the event's position, and acknowledged after that."""
        if isinstance(event, TAKEN):
            holds = isinstance(event, Allocated | LineQuantityChanged) and event.batchref is not None
            qty = event.qty if holds else 0
            row = (event.orderid, event.sku, event.lineid, qty, event.batchref, event.sequence)
            self.database.execute(TAKE, row)

    def get(self, sku: str, /) -> Position | None:
        row = self.database.execute("SELECT last, missing FROM positions WHERE sku = ?", (sku,)).fetchone()
        return row and Position(row[0], tuple(range(*gap) for gap in json.loads(row[1])))

    def __setitem__(self, sku: str, position: Position, /) -> None:
        missing = json.dumps([[gap.start, gap.stop] for gap in position.missing])
        self.database.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", (sku, position.last, missing))
        self.database.commit()

    def to_pick(self) -> list[tuple[str, str, str, int, str]]:
        """(orderid, sku, lineid, qty, batchref) of each line that holds stock."""
        return self.database.execute(TO_PICK).fetchall()


def report(gap: GapError) -> None:
    """Tell, and go on: what is missing is taken should it come after all."""
    logging.warning("%s", gap)


if __name__ == "__main__":
    if len(sys.argv) != 2 or "AMQP_URL" not in os.environ:  # noqa: PLR2004 - its own name, and the file's
        sys.exit("Name the broker and the file: AMQP_URL=amqp://guest:guest@localhost/ python shipping.py picks.sqlite")
    shipping = Shipping(sys.argv[1])
    subscriber = Subscriber(os.environ["AMQP_URL"], QUEUE, events=TAKEN, positions=shipping, on_gap=report)
    subscriber.run(shipping.take)
