"""The inbox: one entry for each message that was received, under a key that stands for its message_id."""

from collections.abc import Sequence
from hashlib import sha256

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from allocation_worker.adapters.postgres.arrays import array
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.ports import Receipt

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
    """The inbox of one transaction."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def receive(self, messages: Sequence[CommandMessage]) -> list[Receipt]:
        # One statement must not contain a key twice, and all transactions must use the same key order.
        keys = [inbox_key(message.message_id) for message in messages]
        first: dict[str, bytes] = {}
        for key, message in zip(keys, messages, strict=True):
            first.setdefault(key, message.fingerprint)
        in_order = sorted(first)
        rows = self._connection.execute(
            RECEIVE, {"keys": array(in_order), "fingerprints": array([first[key] for key in in_order])}
        )
        taken = {key: bytes(fingerprint) for key, fingerprint in rows.all()}
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

    def forget(self, message: CommandMessage) -> None:
        self._connection.execute(FORGET, {"key": inbox_key(message.message_id)})
