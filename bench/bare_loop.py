"""The baseline of the benchmarks: a minimal program that does the same work, in one process on one connection.

It handles groups of 250 commands in one transaction each, with hand-written SQL in bulk. It publishes with `mandatory`
and pipelined confirms, and acks a group with one multiple ack once all confirms are in. It has no domain, outbox or
contracts. A crash between commit and publish loses events, which the worker prevents.

Run it alone with `python -m bench.bare_loop AMQP_URL DATABASE_URL`.
"""

import json
import sys
from collections import deque
from dataclasses import dataclass
from typing import Any

import pika
import psycopg2
from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic, BasicProperties
from psycopg2.extensions import cursor as Cursor  # noqa: N812 - it is a class

from allocation_contracts import COMMANDS_EXCHANGE, EVENTS_EXCHANGE, ORDERS_QUEUE

__all__ = ["COMMANDS_EXCHANGE", "SCHEMA", "BareLoop"]

GROUP = 250
PREFETCH = 1000

SCHEMA = """
CREATE TABLE inbox (message_id text COLLATE "C" PRIMARY KEY);
CREATE TABLE products (sku text COLLATE "C" PRIMARY KEY, version bigint NOT NULL) WITH (fillfactor = 70);
CREATE TABLE batches (
    reference text COLLATE "C" PRIMARY KEY, sku text COLLATE "C" NOT NULL, arrival integer NOT NULL, eta date,
    purchased integer NOT NULL, allocated integer NOT NULL, CHECK (allocated BETWEEN 0 AND purchased)
) WITH (fillfactor = 70);
CREATE INDEX ON batches (sku);
CREATE TABLE allocations (
    orderid text COLLATE "C", sku text COLLATE "C", lineid text COLLATE "C", qty integer NOT NULL,
    batchref text COLLATE "C" NOT NULL, PRIMARY KEY (orderid, sku, lineid)
);
"""

RECEIVE = "INSERT INTO inbox SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING RETURNING message_id"
LOCK = "SELECT 1 FROM products WHERE sku = ANY(%s::text[]) ORDER BY sku FOR UPDATE"
PICK = """
    SELECT sku, reference, eta::text, purchased - allocated FROM batches
    WHERE sku = ANY(%s::text[]) AND allocated < purchased ORDER BY eta NULLS FIRST, arrival
"""
ALLOCATE = "INSERT INTO allocations SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::integer[], %s::text[])"
TAKE = """
    UPDATE batches SET allocated = allocated + taken.qty
    FROM unnest(%s::text[], %s::integer[]) AS taken (reference, qty)
    WHERE batches.reference = taken.reference
"""
COUNT = "UPDATE products SET version = version + 1 WHERE sku = ANY(%s::text[])"


@dataclass(slots=True)
class AckGroup:
    """Deliveries that are acked together: the last delivery tag, and the number of missing confirms."""

    tag: int
    unconfirmed: int


Delivered = tuple[int, str, dict[str, Any]]
Pick = tuple[str, str | None] | None


class BareLoop:
    """Consumes the order queue until it is killed. It handles valid `allocate` commands only."""

    def __init__(self, amqp_url: str, database_url: str) -> None:
        self._database = psycopg2.connect(database_url)
        self._waiting: deque[Delivered] = deque()
        self._groups: deque[AckGroup] = deque()
        self._group_of: dict[int, AckGroup] = {}
        self._published = 0
        self._confirmed = 0
        self._scheduled = False
        self._channel: Channel
        self._connection = pika.SelectConnection(
            pika.URLParameters(amqp_url), on_open_callback=self._opened, on_close_callback=_failed
        )

    def run(self) -> None:
        """Consume until the process is killed."""
        self._connection.ioloop.start()

    def _opened(self, connection: pika.SelectConnection) -> None:
        connection.channel(on_open_callback=self._channel_opened)

    def _channel_opened(self, channel: Channel) -> None:
        self._channel = channel
        channel.add_on_close_callback(_failed)
        channel.add_on_return_callback(_returned)
        channel.confirm_delivery(self._on_confirm)
        channel.basic_qos(prefetch_count=PREFETCH)
        channel.basic_consume(ORDERS_QUEUE, self._delivered)

    def _delivered(self, _channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        self._waiting.append((method.delivery_tag or 0, properties.message_id or "", json.loads(body)))
        self._schedule()

    def _schedule(self) -> None:
        if not self._scheduled:
            self._scheduled = True
            self._connection.ioloop.call_later(0, self._work)

    def _work(self) -> None:
        self._scheduled = False
        group = [self._waiting.popleft() for _ in range(min(GROUP, len(self._waiting)))]
        if self._waiting:
            self._schedule()
        with self._database, self._database.cursor() as cursor:
            picks = _transact(cursor, group)
        under_way = AckGroup(tag=group[-1][0], unconfirmed=len(group))
        self._groups.append(under_way)
        for (_, message_id, order), pick in zip(group, picks, strict=True):
            self._publish(message_id, order, pick)
            self._published += 1
            self._group_of[self._published] = under_way

    def _publish(self, message_id: str, order: dict[str, Any], pick: Pick) -> None:
        batchref, eta = pick or (None, None)
        event = {
            "orderid": order["orderid"],
            "sku": order["sku"],
            "lineid": order.get("lineid", ""),
            "qty": order["qty"],
            "batchref": batchref,
            "eta": eta,
        }
        name = "allocated" if pick else "out-of-stock"
        properties = BasicProperties(
            content_type="application/json",
            type=f"{name}.v1",
            message_id=f"{message_id}.answer",
            correlation_id=message_id,
            headers={"causation_id": message_id},
            delivery_mode=2,
        )
        self._channel.basic_publish(EVENTS_EXCHANGE, name, json.dumps(event), properties, mandatory=True)

    def _on_confirm(self, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        answer = frame.method
        if isinstance(answer, Basic.Nack):
            raise RuntimeError("The broker refused an event.")  # noqa: TRY004 - nothing wrong with the type
        tags = range(self._confirmed + 1, answer.delivery_tag + 1) if answer.multiple else (answer.delivery_tag,)
        for tag in tags:
            if group := self._group_of.pop(tag, None):
                group.unconfirmed -= 1
        if answer.multiple:
            self._confirmed = answer.delivery_tag
        while self._groups and not self._groups[0].unconfirmed:
            self._channel.basic_ack(self._groups.popleft().tag, multiple=True)


def _transact(cursor: Cursor, group: list[Delivered]) -> list[Pick]:
    """One transaction's statements; which batch each order gets, None where there is none or it is a repeat."""
    cursor.execute(RECEIVE, (_array(message_id for _, message_id, _ in group),))
    fresh = {row[0] for row in cursor.fetchall()}
    skus = _array(sorted({order["sku"] for _, _, order in group}))
    cursor.execute(LOCK, (skus,))
    cursor.execute(PICK, (skus,))
    batches: dict[str, list[list[Any]]] = {}
    for sku, *columns in cursor.fetchall():
        batches.setdefault(sku, []).append(columns)
    taken: dict[str, int] = {}
    rows = []
    picks: list[Pick] = []
    for _, message_id, order in group:
        batch = _first_with(order["qty"], batches.get(order["sku"], [])) if message_id in fresh else None
        if batch:
            batch[2] -= order["qty"]
            taken[batch[0]] = taken.get(batch[0], 0) + order["qty"]
            rows.append((order["orderid"], order["sku"], order.get("lineid", ""), order["qty"], batch[0]))
        picks.append((batch[0], batch[1]) if batch else None)
    if rows:
        cursor.execute(ALLOCATE, [_array(column) for column in zip(*rows, strict=True)])
        cursor.execute(TAKE, (_array(taken), _array(taken.values())))
        cursor.execute(COUNT, (skus,))
    return picks


def _first_with(qty: int, batches: list[list[Any]]) -> list[Any] | None:
    for batch in batches:
        if batch[2] >= qty:
            return batch
    return None


def _array(values: Any) -> str:  # noqa: ANN401 - text and numbers that need no more than quotes
    return "{" + ",".join([f'"{value}"' for value in values]) + "}"


def _failed(_where: object, reason: object) -> None:
    raise RuntimeError(f"The connection is gone: {reason}")


def _returned(*_: object) -> None:
    raise RuntimeError("No queue takes an event.")


if __name__ == "__main__":
    BareLoop(*sys.argv[1:3]).run()
