"""The inbox: one entry for each message that was received, under a key that stands for its message_id."""

from collections.abc import Sequence
from hashlib import sha256

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from allocation_worker.adapters.postgres.arrays import array
from allocation_worker.adapters.postgres.writer import Writer, new_rows
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.ports import Receipt

INSERT = new_rows("inbox_entries", {"key": "uuid", "fingerprint": "bytea"})

# The update makes a repeat wait for a transaction that is still receiving the same message. A plain read would not.
RECEIVE = sa.text("""
    WITH taken AS (
        INSERT INTO inbox_entries AS known (key, fingerprint)
        SELECT * FROM unnest(CAST(:keys AS uuid[]), CAST(:fingerprints AS bytea[]))
        ON CONFLICT (key) DO UPDATE SET deliveries = known.deliveries + 1
        RETURNING key, fingerprint, deliveries
    )
    SELECT encode(uuid_send(key), 'hex'), fingerprint FROM taken WHERE deliveries > 1
""")

FORGET = sa.text("DELETE FROM inbox_entries WHERE key = CAST(:key AS uuid)")


def inbox_key(message_id: str) -> str:
    """Return the key of a message, 32 hexadecimal digits, as the function of the same name does in SQL."""
    return sha256(message_id.encode()).hexdigest()[:32]


class PostgresInbox:
    """The inbox of one transaction.

    Args:
        connection: The transaction.
        writer: Writes to it.
        optimistic: Whether messages are taken for new, so that one that is not raises StoreContentionError.

    Attributes:
        found_known: Whether any message that was received had been received before.
    """

    def __init__(self, connection: Connection, writer: Writer, *, optimistic: bool = False) -> None:
        self._connection = connection
        self._writer = writer
        self._optimistic = optimistic
        self.found_known = False

    def receive(self, messages: Sequence[CommandMessage]) -> list[Receipt]:
        # One statement must not contain a key twice, and all transactions must use the same key order.
        keys = [inbox_key(message.message_id) for message in messages]
        first: dict[str, bytes] = {}
        for key, message in zip(keys, messages, strict=True):
            first.setdefault(key, message.fingerprint)
        taken = self._take(sorted(first.items()))
        seen = set(taken)
        receipts = []
        for key, message in zip(keys, messages, strict=True):
            known = taken.setdefault(key, message.fingerprint)
            if known != message.fingerprint:
                receipts.append(Receipt.CONFLICT)
            elif key in seen:
                receipts.append(Receipt.REPEAT)
            else:
                receipts.append(Receipt.FRESH)
            seen.add(key)
        return receipts

    def _take(self, entries: Sequence[tuple[str, bytes]]) -> dict[str, bytes]:
        """Write these entries. Return those that were there before, with the fingerprint that they have there."""
        if self._optimistic:
            # The index makes an entry wait, too, for a transaction that is still receiving the same message.
            # They are written before any product is locked, in the round trip of the locks if they are few.
            self._writer.add(INSERT, entries)
            return {}
        parameters = {
            "keys": array([key for key, _ in entries]),
            "fingerprints": array([fingerprint for _, fingerprint in entries]),
        }
        rows = self._connection.execute(RECEIVE, parameters).all()
        self.found_known |= bool(rows)
        return {key: bytes(fingerprint) for key, fingerprint in rows}

    def forget(self, message: CommandMessage) -> None:
        self._writer.flush()
        self._connection.execute(FORGET, {"key": inbox_key(message.message_id)})
