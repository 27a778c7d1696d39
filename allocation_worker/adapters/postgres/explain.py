"""Reads everything stored about one command, for `explain`."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres.arrays import array
from allocation_worker.adapters.postgres.inbox import inbox_key
from allocation_worker.adapters.postgres.moves import SECONDS_A_PAGE
from allocation_worker.adapters.postgres.project import reading, stream
from allocation_worker.adapters.postgres.rows import line_uuid
from allocation_worker.adapters.postgres.statements import BATCH
from allocation_worker.domain.events import ProductEvent
from allocation_worker.domain.history import Batches, ChangesOfLines, line_of
from allocation_worker.domain.lines import PLAIN, LineId, Terms
from allocation_worker.domain.stock import Batch
from allocation_worker.service_layer.ports import Answer, InboxEntry, Rejection

# Longer than any transaction. Two events of a SKU may be stamped out of order, by at most this time.
LONGEST_TRANSACTION = timedelta(hours=1)

ARRIVAL = sa.text("SELECT received_at, deliveries FROM inbox_entries WHERE key = CAST(:key AS uuid)")

_COLUMNS = """
    id, type, body, message_id::text AS message_id, causation_id, created_at, published_at, unrouted
"""

# The inbox entry and the page of one transaction have the same time, so the index on created_at finds the page. A page
# that was moved has the time of its first event.
ANSWERS_OF_THAT_MOMENT = sa.text(f"""
    SELECT {_COLUMNS} FROM events
    WHERE page_created_at BETWEEN :received_at - make_interval(secs => {SECONDS_A_PAGE}) AND :received_at
        AND created_at = :received_at AND causation_id = :message_id
    ORDER BY id
""")  # noqa: S608 - the columns are constants

OUTCOME = sa.text(f"{ANSWERS_OF_THAT_MOMENT.text} LIMIT 1")

ANSWERS = sa.text(f"SELECT {_COLUMNS} FROM events WHERE causation_id = :message_id ORDER BY id")  # noqa: S608 - as above

# A text may stand in another field, so the fields are compared as well, outside.
ABOUT = sa.text(f"""
    SELECT {_COLUMNS} FROM events
    WHERE (CAST(:orderid AS text) IS NULL OR position(:orderid IN body) > 0)
        AND (CAST(:sku AS text) IS NULL OR position(:sku IN body) > 0)
    ORDER BY id
""")  # noqa: S608 - as above

# To look for a text takes a third of the time that it takes to read the JSON.
FIRST_ANNOUNCED = sa.text(f"""
    SELECT {_COLUMNS} FROM events
    WHERE position(:quoted_sku IN body) > 0 AND sku = :sku AND sequence = :sequence ORDER BY id LIMIT 1
""")  # noqa: S608 - as above

LAST = sa.text("SELECT sequence FROM products WHERE sku = :sku")

BATCHES = sa.text(f"SELECT {BATCH} FROM batches WHERE sku = :sku")  # noqa: S608 - as above

TERMS = sa.text("SELECT wait, priority, needed_by FROM order_lines WHERE id = CAST(:id AS uuid)")

CHANGED_LINES = sa.text("""
    WITH of_sku AS MATERIALIZED (
        SELECT DISTINCT ON (sequence) sequence, type, body FROM events
        WHERE position(:quoted_sku IN body) > 0 AND sku = :sku ORDER BY sequence
    ), lines AS MATERIALIZED (
        SELECT DISTINCT CAST(body AS jsonb) ->> 'orderid' AS orderid, CAST(body AS jsonb) ->> 'lineid' AS lineid
        FROM of_sku WHERE type = ANY(CAST(:types AS text[]))
    )
    SELECT type, body FROM of_sku
    WHERE EXISTS (SELECT FROM lines) AND (CAST(body AS jsonb) ->> 'orderid', CAST(body AS jsonb) ->> 'lineid') IN
        (SELECT orderid, lineid FROM lines)
    ORDER BY sequence
""")

SINCE = sa.text(f"""
    SELECT {_COLUMNS} FROM events
    WHERE page_created_at >= :since AND position(:quoted_sku IN body) > 0 AND position(:quoted_orderid IN body) > 0
        AND sku = :sku AND sequence > :sequence AND NOT repeated
    ORDER BY id
""")  # noqa: S608 - as above

BACK_TO = sa.text("""
    SELECT DISTINCT ON (sequence) type, body FROM events
    WHERE page_created_at >= :since AND position(:quoted_sku IN body) > 0 AND sku = :sku AND sequence >= :sequence
    ORDER BY sequence DESC
""")


class PostgresRecords:
    """Implements `service_layer.ports.Records`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def arrival(self, message_id: str) -> InboxEntry | None:
        row = self._connection.execute(ARRIVAL, {"key": inbox_key(message_id)}).one_or_none()
        return None if row is None else InboxEntry(*row)

    def answers(self, message_id: str, received_at: datetime | None) -> Iterator[Answer]:
        if received_at is None:
            rows = stream(self._connection, ANSWERS, message_id=message_id)
        else:
            rows = stream(self._connection, ANSWERS_OF_THAT_MOMENT, message_id=message_id, received_at=received_at)
        return (_answer(*row) for row in rows)

    def about(self, orderid: str | None, sku: str | None) -> Iterator[Answer]:
        parameters = {"orderid": orderid and wire.quoted(orderid), "sku": sku and wire.quoted(sku)}
        for row in stream(self._connection, ABOUT, **parameters):
            answer = _answer(*row)
            data = answer.event.data if isinstance(answer.event, Rejection) else json.loads(row.body)
            if orderid in {None, data.get("orderid")} and sku in {None, data.get("sku")}:
                yield answer

    def first_announced(self, sku: str, sequence: int) -> Answer:
        parameters = {"sku": sku, "quoted_sku": wire.quoted(sku), "sequence": sequence}
        return _answer(*self._connection.execute(FIRST_ANNOUNCED, parameters).one())

    def batches(self, sku: str) -> tuple[int, Batches]:
        last: int = self._connection.execute(LAST, {"sku": sku}).scalar_one()
        rows = self._connection.execute(BATCHES, {"sku": sku})
        return last, {row.reference: Batch(*row) for row in rows}

    def terms(self, sku: str, line: LineId) -> Terms:
        row = self._connection.execute(TERMS, {"id": line_uuid((sku, line))}).one_or_none()
        return PLAIN if row is None or row.wait is None else Terms(*row)

    def changed_lines(self, sku: str) -> Iterator[ProductEvent]:
        types = array([wire.type_of(kind) for kind in ChangesOfLines])
        rows = stream(self._connection, CHANGED_LINES, sku=sku, quoted_sku=wire.quoted(sku), types=types)
        return (wire.product_event(type_, body.encode()) for type_, body in rows)

    def since(self, sku: str, line: LineId, sequence: int, created_at: datetime) -> Iterator[Answer]:
        rows = stream(
            self._connection,
            SINCE,
            sku=sku,
            quoted_sku=wire.quoted(sku),
            quoted_orderid=wire.quoted(line[0]),
            sequence=sequence,
            since=created_at - LONGEST_TRANSACTION,
        )
        return (answer for row in rows if line_of((answer := _answer(*row)).event) == line)

    def outcome(self, message_id: str, created_at: datetime) -> Answer:
        parameters = {"message_id": message_id, "received_at": created_at}
        return _answer(*self._connection.execute(OUTCOME, parameters).one())

    def back_to(self, sku: str, sequence: int, created_at: datetime) -> Iterator[ProductEvent]:
        since = created_at - LONGEST_TRANSACTION
        rows = stream(self._connection, BACK_TO, sku=sku, quoted_sku=wire.quoted(sku), sequence=sequence, since=since)
        return (wire.product_event(type_, body.encode()) for type_, body in rows)


def _answer(id_: int, type_: str, body: str, *others: Any) -> Answer:  # noqa: ANN401 - columns, in the order of Answer
    if type_ == wire.REJECTED:
        data = json.loads(body)
        return Answer(id_, Rejection(data["command"], data["reason"], data["detail"], data["data"]), type_, *others)
    return Answer(id_, wire.product_event(type_, body.encode()), type_, *others)


@contextmanager
def open_records(engine: Engine) -> Iterator[PostgresRecords]:
    """Yield the stored records, in one read-only snapshot."""
    with reading(engine) as connection:
        yield PostgresRecords(connection)
