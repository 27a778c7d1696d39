"""Keeps a pick list: what the warehouse is to fetch for which order. Before a line leaves, the worker is asked.

AMQP_URL=amqp://... python shipping.py picks.sqlite         keeps the list
AMQP_URL=amqp://... python shipping.py picks.sqlite ship    asks for all that can leave, and tells the answers
"""

import json
import logging
import os
import sqlite3
import sys
import time
from typing import NamedTuple
from uuid import NAMESPACE_URL, uuid5

from allocation_contracts import (
    Allocated,
    Backordered,
    CommandRejected,
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
    Ship,
    Shipped,
)
from allocation_contracts.amqp import Outgoing, Publisher, Subscriber

QUEUE = "shipping.picks"
ANSWERED_WITHIN = 30.0

# Each says what a line has: the last one counts. Only the first four give it stock of a batch.
WITH_STOCK = (Allocated, Held, PromiseChanged, LineQuantityChanged)
LINE = (*WITH_STOCK, OutOfStock, Backordered, Deallocated, HoldLapsed, Shipped)

# Of a line that is held these two do not say that it is: it stays what the last of the others made it.
SILENT = (PromiseChanged, LineQuantityChanged)

TABLES = """
CREATE TABLE IF NOT EXISTS stock (
    orderid TEXT, sku TEXT, lineid TEXT, qty INTEGER, batchref TEXT, eta TEXT, sequence INTEGER,
    PRIMARY KEY (orderid, sku, lineid));
CREATE TABLE IF NOT EXISTS states (
    orderid TEXT, sku TEXT, lineid TEXT, state TEXT, sequence INTEGER,
    PRIMARY KEY (orderid, sku, lineid));
CREATE TABLE IF NOT EXISTS refusals (message_id TEXT PRIMARY KEY, detail TEXT);
CREATE TABLE IF NOT EXISTS positions (sku TEXT PRIMARY KEY, last INTEGER, missing TEXT);
"""

# The highest sequence is a line's latest word. Where the stock was taken back the row stays, without a batch: or how
# would an older event, that comes late, be known as older?
TAKE = """
INSERT INTO stock VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
SET qty = excluded.qty, batchref = excluded.batchref, eta = excluded.eta, sequence = excluded.sequence
WHERE excluded.sequence > stock.sequence
"""
TAKE_STATE = """
INSERT INTO states VALUES (?, ?, ?, ?, ?) ON CONFLICT DO UPDATE
SET state = excluded.state, sequence = excluded.sequence
WHERE excluded.sequence > states.sequence
"""

# Neither a line that is held or shipped, nor one of which it is not known.
ORDERED = """
SELECT orderid, sku, lineid, qty, batchref, eta IS NULL, states.sequence, stock.sequence, missing
FROM stock JOIN states USING (orderid, sku, lineid) LEFT JOIN positions USING (sku)
WHERE batchref IS NOT NULL AND state = 'ordered' ORDER BY batchref, sku, orderid, lineid
"""
STATE = "SELECT state FROM states WHERE (orderid, sku, lineid) = (?, ?, ?)"


class Pick(NamedTuple):
    """So much of a SKU, to be fetched from a batch."""

    orderid: str
    sku: str
    lineid: str
    qty: int
    batchref: str


class Shipping:
    """The list, and how far the events of each SKU have been taken, in one file and in one transaction."""

    def __init__(self, path: str) -> None:
        self.database = sqlite3.connect(path, timeout=ANSWERED_WITHIN)
        self.database.executescript(TABLES)

    def take(self, event: Event, properties: EventProperties) -> None:
        """Note what a line has; it is committed with the event's position, and acknowledged after that."""
        if isinstance(event, CommandRejected):
            self._take_refusal(event, properties)
        elif isinstance(event, LINE):
            line = (event.orderid, event.sku, event.lineid)
            batchref = event.batchref if isinstance(event, WITH_STOCK) else None
            eta = event.eta if isinstance(event, WITH_STOCK) else None
            self.database.execute(TAKE, (*line, event.qty, batchref, eta and str(eta), event.sequence))
            if not isinstance(event, SILENT):
                state = {Held: "held", Shipped: "shipped"}.get(type(event), "ordered")
                self.database.execute(TAKE_STATE, (*line, state, event.sequence))

    def _take_refusal(self, event: CommandRejected, properties: EventProperties) -> None:
        if event.command == Ship.TYPE:
            refusal = (properties.causation_id, f"{event.reason}: {event.detail}")
            self.database.execute("INSERT OR REPLACE INTO refusals VALUES (?, ?)", refusal)
            self.database.commit()  # it belongs to no SKU, so no position follows

    def get(self, sku: str, /) -> Position | None:
        row = self.database.execute("SELECT last, missing FROM positions WHERE sku = ?", (sku,)).fetchone()
        return row and Position(row[0], tuple(range(*gap) for gap in json.loads(row[1])))

    def __setitem__(self, sku: str, position: Position, /) -> None:
        missing = json.dumps([[gap.start, gap.stop] for gap in position.missing])
        self.database.execute("INSERT OR REPLACE INTO positions VALUES (?, ?, ?)", (sku, position.last, missing))
        self.database.commit()

    def to_pick(self) -> list[Pick]:
        """Each line that was allocated, also of a batch that is not there yet, and was not shipped."""
        return [pick for pick, _, _ in self._ordered()]

    def to_ship(self) -> dict[str, Pick]:
        """Those whose batch is there, each with the message_id to ask under.

        It follows from the event that gave the line its stock. Asked twice, a line is shipped once; asked again after
        something has happened to it, it is a new question.
        """
        ready = [(pick, sequence) for pick, is_there, sequence in self._ordered() if is_there]
        return {str(uuid5(NAMESPACE_URL, json.dumps(["ship", *pick[:3], sequence]))): pick for pick, sequence in ready}

    def answer(self, message_id: str, pick: Pick) -> str | None:
        """`shipped`, or why the line must stay here; None as long as there is no answer."""
        if self.database.execute(STATE, pick[:3]).fetchone() == ("shipped",):
            return "shipped"
        refusal = self.database.execute("SELECT detail FROM refusals WHERE message_id = ?", (message_id,)).fetchone()
        return refusal and f"not shipped, {refusal[0]}"

    def _ordered(self) -> list[tuple[Pick, bool, int]]:
        """Leaves out a line if an event is missing that may have made it a held one."""
        return [
            (Pick(*pick), bool(is_there), sequence)
            for *pick, is_there, since, sequence, missing in self.database.execute(ORDERED)
            if not any(start < sequence and stop > since + 1 for start, stop in json.loads(missing or "[]"))
        ]


def report(gap: GapError) -> None:
    """Tell, and go on: what is missing is taken should it come after all."""
    logging.warning("%s", gap)


def ship(shipping: Shipping, url: str) -> bool:
    """Ask for each line that can leave, and print what the worker says. Return whether all of them may go.

    Raises:
        PublishError: The questions may not have been asked: ask again.
    """
    asked = shipping.to_ship()
    with Publisher(url, app_id="shipping") as publisher:
        publisher.publish_all(
            Outgoing(command=Ship(orderid=pick.orderid, sku=pick.sku, lineid=pick.lineid), message_id=message_id)
            for message_id, pick in asked.items()
        )
    all_shipped, deadline = True, time.monotonic() + ANSWERED_WITHIN
    for message_id, pick in asked.items():
        while (answer := shipping.answer(message_id, pick)) is None and time.monotonic() < deadline:
            time.sleep(0.05)
        line = f"{pick.qty} {pick.sku} of {pick.batchref} for {pick.orderid} {pick.lineid}".rstrip()
        print(f"{line}: {answer or 'no answer yet; ask again'}")  # noqa: T201 - for whom loads the van
        all_shipped &= answer == "shipped"
    return all_shipped


def main() -> int:
    """Run one of the two programs. Return its exit code."""
    match sys.argv[1:], os.environ.get("AMQP_URL"):
        case [path], str(url):
            shipping = Shipping(path)
            events = (*LINE, CommandRejected)
            Subscriber(url, QUEUE, events=events, positions=shipping, on_gap=report).run(shipping.take)
            return 0
        case [path, "ship"], str(url):
            return 0 if ship(Shipping(path), url) else 1
    sys.stderr.write(
        "Name the broker and the file: AMQP_URL=amqp://guest:guest@localhost/ python shipping.py picks.sqlite"
        ", or picks.sqlite ship to ask for all that can leave\n"
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
