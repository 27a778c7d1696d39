"""The inbox: one row for each message that was received."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from allocation_worker.adapters.postgres.arrays import array
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.ports import Receipt

# The update makes a repeat wait for a transaction that is still receiving the same message. A plain read would not.
RECEIVE = sa.text("""
    WITH taken AS (
        INSERT INTO inbox AS known (message_id, fingerprint)
        SELECT * FROM unnest(CAST(:message_ids AS text[]), CAST(:fingerprints AS bytea[]))
        ON CONFLICT (message_id) DO UPDATE SET deliveries = known.deliveries + 1
        RETURNING message_id, fingerprint, deliveries
    )
    SELECT message_id, fingerprint FROM taken WHERE deliveries > 1
""")

FORGET = sa.text("DELETE FROM inbox WHERE message_id = :message_id")


class PostgresInbox:
    """The inbox of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def receive(self, messages: Sequence[CommandMessage]) -> list[Receipt]:
        # One statement must not contain a key twice, and all transactions must use the same key order.
        first = {message.message_id: message for message in reversed(messages)}
        message_ids = sorted(first)
        rows = self._connection.execute(
            RECEIVE,
            {"message_ids": array(message_ids), "fingerprints": array([first[key].fingerprint for key in message_ids])},
        )
        taken = {message_id: bytes(fingerprint) for message_id, fingerprint in rows.all()}
        seen = set(taken)
        receipts = []
        for message in messages:
            known = taken.setdefault(message.message_id, message.fingerprint)
            if known != message.fingerprint:
                receipts.append(Receipt.CONFLICT)
            elif message.message_id in seen:
                receipts.append(Receipt.REPEAT)
            else:
                receipts.append(Receipt.FRESH)
            seen.add(message.message_id)
        return receipts

    def forget(self, message: CommandMessage) -> None:
        self._connection.execute(FORGET, {"message_id": message.message_id})
