"""The outbox, as the transaction that decides writes it."""

from collections.abc import Callable
from uuid import UUID, uuid4, uuid5

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres.engine import array
from allocation_worker.domain.events import CommandRejected, Event
from allocation_worker.service_layer.messages import Message

CHANNEL = "allocation_outbox"

# Rows are numbered as they are inserted, under their product's lock: each product's events in its own order.
INSERT = sa.text(f"""
    WITH written AS (
        INSERT INTO outbox (message_id, type, sku, sequence, body, correlation_id, causation_id, traceparent)
        SELECT * FROM unnest(
            CAST(:message_ids AS uuid[]), CAST(:types AS text[]), CAST(:skus AS text[]), CAST(:sequences AS bigint[]),
            CAST(:bodies AS text[]), CAST(:correlation_ids AS text[]), CAST(:causation_ids AS text[]),
            CAST(:traceparents AS text[]))
    )
    SELECT pg_notify('{CHANNEL}', '')
""")  # noqa: S608 - the channel is a constant


class PostgresOutbox:
    """The outbox within one transaction.

    An event's message_id follows from its product's stream and its sequence, so that one announced again has the
    id that it had before.
    """

    def __init__(self, connection: Connection, stream_of: Callable[[str], UUID]) -> None:
        self._connection = connection
        self._stream_of = stream_of
        self._rows: list[tuple[object, ...]] = []

    def add(self, event: Event, cause: Message) -> None:
        type_, body = wire.write(event, cause)
        identity: tuple[UUID, str | None, int | None]
        if isinstance(event, CommandRejected):
            identity = (uuid4(), None, None)
        else:
            identity = (uuid5(self._stream_of(event.sku), str(event.sequence)), event.sku, event.sequence)
        message_id, sku, sequence = identity
        self._rows.append(
            (message_id, type_, sku, sequence, body, cause.correlation_id, cause.message_id, cause.traceparent)
        )

    def flush(self) -> None:
        """Write what was added."""
        if not self._rows:
            return
        names = (
            "message_ids",
            "types",
            "skus",
            "sequences",
            "bodies",
            "correlation_ids",
            "causation_ids",
            "traceparents",
        )
        columns = map(array, zip(*self._rows, strict=True))
        self._connection.execute(INSERT, dict(zip(names, columns, strict=True)))
        self._rows.clear()
