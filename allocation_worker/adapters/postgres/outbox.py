"""Write events to the outbox, within the transaction that decides them."""

from collections.abc import Callable
from hashlib import sha1
from uuid import uuid4

from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres.rows import Stream
from allocation_worker.adapters.postgres.writer import ROWS_AT_A_TIME, Write, Writer
from allocation_worker.domain.events import CommandRejected, Event
from allocation_worker.service_layer.messages import CommandMessage

CHANNEL = "allocation_outbox"

# Rows are numbered as they are inserted, under their product's lock: each product's events in its own order.
INSERT = Write(
    "event",
    f"""
    WITH written AS (
        INSERT INTO outbox (message_id, type, sku, sequence, body, correlation_id, causation_id, traceparent,
            repeated)
        SELECT * FROM unnest(
            CAST(:event0 AS uuid[]), CAST(:event1 AS text[]), CAST(:event2 AS text[]), CAST(:event3 AS bigint[]),
            CAST(:event4 AS text[]), CAST(:event5 AS text[]), CAST(:event6 AS text[]), CAST(:event7 AS text[]),
            CAST(:event8 AS boolean[]))
    )
    SELECT pg_notify('{CHANNEL}', '')
""",  # noqa: S608 - the channel is a constant
)


class PostgresOutbox:
    """The outbox of one transaction.

    The message_id of an event follows from its product's stream and its sequence, so an event that is announced again
    has the same id. A row says whether it is a repetition, because the original may have been pruned.
    """

    def __init__(self, writer: Writer, stream_of: Callable[[str], Stream]) -> None:
        self._writer = writer
        self._stream_of = stream_of
        self._last: dict[str, int] = {}
        self._rows: list[tuple[object, ...]] = []

    def add(self, event: Event, cause: CommandMessage) -> None:
        type_, body = wire.write(event, cause)
        if isinstance(event, CommandRejected):
            sku = sequence = None
            message_id = uuid4().hex
            repeated = False
        else:
            sku, sequence = event.sku, event.sequence
            stream = self._stream_of(sku)
            message_id = event_id(stream.namespace, sequence)
            last = self._last.get(sku, stream.last)
            repeated = sequence <= last
            if not repeated:
                self._last[sku] = sequence
        context = (cause.correlation_id, cause.message_id, cause.traceparent)
        self._rows.append((message_id, type_, sku, sequence, body, *context, repeated))
        # A shrinking batch of 50,000 lines has 100,000 events. They are not all kept in memory.
        if len(self._rows) == ROWS_AT_A_TIME:
            self.flush()
            self._writer.flush()

    def flush(self) -> None:
        """Pass the added events to the writer."""
        self._writer.add(INSERT, self._rows)
        self._rows.clear()


def event_id(stream: bytes, sequence: int) -> str:
    """Return `uuid5(UUID(bytes=stream), str(sequence))` in hexadecimal (RFC 9562, 5.5), in a third of the time."""
    digest = sha1(stream + str(sequence).encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:12]}5{digest[13:16]}{variant}{digest[17:32]}"
