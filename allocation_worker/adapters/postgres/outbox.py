"""Write events to the outbox, within the transaction that decides them."""

from collections.abc import Callable
from hashlib import sha1
from uuid import uuid4

from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres import page
from allocation_worker.adapters.postgres.page import CHARACTERS_A_PAGE, EVENTS_A_PAGE, StoredEvent
from allocation_worker.adapters.postgres.rows import Stream
from allocation_worker.adapters.postgres.writer import Write, Writer
from allocation_worker.domain.events import CommandRejected, Event
from allocation_worker.service_layer.messages import CommandMessage

# A notification reaches every listener of the database, so each schema has a channel of its own.
CHANNEL = "'allocation_outbox_' || CAST(CAST('outbox_pages' AS regclass) AS oid)"

# Pages are numbered as they are inserted, under the locks of their products: each product's events in its own order.
INSERT = Write(
    "page",
    f"""
    WITH written AS (INSERT INTO outbox_pages (count, events, product) VALUES (:page0, :page1, :page2))
    SELECT pg_notify({CHANNEL}, '')
""",  # noqa: S608 - the channel is a constant
)


class PostgresOutbox:
    """The outbox of one transaction.

    The message_id of an event follows from its product's stream and its sequence, so an event that is announced again
    has the same id. A line says whether it is a repetition, because the original may have been pruned.

    From its second page on, a transaction names the product of a page whose events are all of one. The relay lets the
    events of other products pass such pages.
    """

    def __init__(self, writer: Writer, stream_of: Callable[[str], Stream]) -> None:
        self._writer = writer
        self._stream_of = stream_of
        self._last: dict[str, int] = {}
        self._lines: list[str] = []
        self._characters = 0
        self._products: set[str | None] = set()
        self._first_page = True

    def add(self, event: Event, cause: CommandMessage) -> None:
        type_, body = wire.write(event, cause)
        if isinstance(event, CommandRejected):
            sku = None
            message_id = str(uuid4())
            repeated = False
        else:
            sku, sequence = event.sku, event.sequence
            stream = self._stream_of(sku)
            message_id = event_id(stream.namespace, sequence)
            last = self._last.get(sku, stream.last)
            repeated = sequence <= last
            if not repeated:
                self._last[sku] = sequence
        line = page.line(
            StoredEvent(
                message_id,
                type_,
                body,
                cause.message_id,
                cause.correlation_id,
                cause.traceparent,
                repeated,
                cause.tracestate,
            )
        )
        self._lines.append(line)
        self._characters += len(line)
        self._products.add(sku)
        # A shrinking batch of 50,000 lines has 100,000 events. They are not all kept in memory.
        if len(self._lines) == EVENTS_A_PAGE or self._characters >= CHARACTERS_A_PAGE:
            self.flush()
            self._writer.flush()

    def flush(self) -> None:
        """Pass the added events to the writer, as one page."""
        if self._lines:
            product = next(iter(self._products)) if len(self._products) == 1 and not self._first_page else None
            self._writer.add_row(INSERT, (len(self._lines), page.text(self._lines), product))
            self._lines.clear()
            self._products.clear()
            self._characters = 0
            self._first_page = False


def event_id(stream: bytes, sequence: int) -> str:
    """Return the text of `uuid5(UUID(bytes=stream), str(sequence))` (RFC 9562, 5.5), in a third of the time."""
    digest = sha1(stream + str(sequence).encode(), usedforsecurity=False).hexdigest()
    variant = "89ab"[int(digest[16], 16) & 3]
    return f"{digest[:8]}-{digest[8:12]}-5{digest[13:16]}-{variant}{digest[17:20]}-{digest[20:32]}"
