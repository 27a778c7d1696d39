"""Checks the tables against each other, and what the guarantees rest on.

The tables are compared by counters and lines, sequences and outbox, inbox and outbox.

The view `events` shows the pages of the outbox event by event.

All checks run in one read-only transaction at REPEATABLE READ. So they see one snapshot of a running service and do not
block it. Each check is one statement that returns the rows that are wrong.

An event may be published again after its first row was pruned. So the checks on the order of events compare the first
row of each event.
"""

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple
from uuid import UUID

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from allocation_worker.adapters.postgres.durability import examine
from allocation_worker.adapters.postgres.outbox import event_id
from allocation_worker.adapters.postgres.statements import HELD, WAITS
from allocation_worker.adapters.postgres.weaknesses import MISSING_TABLES, NO_ORDINARY_TABLES
from allocation_worker.service_layer.durability import Weakness
from allocation_worker.service_layer.verify import Audit, Fault

EXAMPLES = 10
"""The number of rows shown for each fault; further rows are only counted."""

# Without these tables the statements on rows fail, or read something else.
_NO_ROWS = {MISSING_TABLES.kind, NO_ORDINARY_TABLES.kind}

# Rows are pruned in no particular order, and a row's time is the start of its transaction. So rows that are this close
# to being pruned are not checked.
_MARGIN_HOURS = 1


class Check(NamedTuple):
    """A statement that returns the wrong rows, the kind of their fault, and the sentence for each."""

    kind: str
    sentence: str
    sql: str


CHECKS = (
    Check(
        "allocated-miscounted",
        "Batch {reference} counts {allocated} as allocated, and its lines hold {held}.",
        """
        SELECT reference, allocated, coalesce(held, 0) + pruned AS held FROM batches LEFT JOIN (
            SELECT batchref, sum(qty) AS held FROM order_lines WHERE batchref IS NOT NULL GROUP BY batchref
        ) AS lines ON batchref = reference
        WHERE allocated <> coalesce(held, 0) + pruned
        """,
    ),
    Check(
        "oversold",
        "Batch {reference} is oversold: {allocated} of {purchased} are allocated.",
        "SELECT reference, allocated, purchased FROM batches WHERE allocated NOT BETWEEN 0 AND purchased",
    ),
    Check(
        "shipped-miscounted",
        "Batch {reference} counts {shipped} as shipped, and {sent} were by its lines.",
        """
        SELECT reference, shipped, coalesce(sent, 0) + pruned AS sent FROM batches LEFT JOIN (
            SELECT batchref, sum(qty) AS sent FROM order_lines WHERE batchref IS NOT NULL AND shipped GROUP BY batchref
        ) AS lines ON batchref = reference
        WHERE shipped <> coalesce(sent, 0) + pruned
        """,
    ),
    Check(
        "shipped-before-arrival",
        "Line (order {orderid}, SKU {sku}, lineid {lineid!r}) was shipped of batch {batchref}, which is due on {eta}.",
        """
        SELECT orderid, line.sku, lineid, batchref, eta FROM order_lines AS line JOIN batches ON reference = batchref
        WHERE line.shipped AND eta IS NOT NULL
        """,
    ),
    Check(
        "stock-of-no-batch",
        "Line (order {orderid}, SKU {sku}, lineid {lineid!r}) holds stock of batch {batchref}, {of}.",
        """
        SELECT orderid, line.sku, lineid, batchref, coalesce('a batch of SKU ' || batch.sku, 'which is not there') AS of
        FROM order_lines AS line LEFT JOIN batches AS batch ON reference = batchref
        WHERE batchref IS NOT NULL AND (batch.sku IS DISTINCT FROM line.sku OR cancelled)
        """,
    ),
    Check(
        "waits-in-vain",
        "Line (order {orderid}, SKU {sku}, lineid {lineid!r}) waits for {qty}, and batch {reference} has {left} left.",
        f"""
        SELECT orderid, sku, lineid, qty, reference, purchased - allocated AS left
        FROM order_lines JOIN (SELECT reference, sku, purchased, allocated, eta FROM batches) AS batch USING (sku)
        WHERE {WAITS} AND purchased - allocated >= qty AND (needed_by IS NULL OR eta IS NULL OR eta <= needed_by)
        """,  # noqa: S608 - a constant
    ),
    Check(
        "smallest-waiting-miscounted",
        "SKU {sku} counts {smallest_waiting} as the smallest quantity that waits, and {qty} waits.",
        f"""
        SELECT sku, coalesce(CAST(smallest_waiting AS text), 'nothing') AS smallest_waiting, qty FROM products JOIN (
            SELECT sku, min(qty) AS qty FROM order_lines WHERE {WAITS} GROUP BY sku
        ) AS waiting USING (sku)
        WHERE smallest_waiting IS NULL OR smallest_waiting > qty
        """,  # noqa: S608 - as above
    ),
    Check(
        "batches-miscounted",
        "SKU {sku} counts {batches_arrived} batches, and has {there}.",
        """
        SELECT sku, batches_arrived, coalesce(there, 0) AS there FROM products LEFT JOIN (
            SELECT sku, count(*) AS there
            FROM (SELECT sku FROM batches UNION ALL SELECT sku FROM pruned_batches) AS every_batch GROUP BY sku
        ) AS arrived USING (sku)
        WHERE batches_arrived <> coalesce(there, 0)
        """,
    ),
    Check(
        "answer-beyond-counter",
        "Line (order {orderid}, SKU {sku}, lineid {lineid!r}) was answered by event {sequence} of {counted}.",
        """
        SELECT orderid, sku, lineid, line.sequence, coalesce(products.sequence, 0) AS counted
        FROM order_lines AS line LEFT JOIN products USING (sku)
        WHERE line.sequence NOT BETWEEN 1 AND coalesce(products.sequence, 0)
        """,
    ),
    Check(
        "events-missing",
        "SKU {sku} counts {counted} events; {kept} of those from {first} on are in the outbox, the last is {last}.",
        # A restoration skips numbers. So the events before it and those after it are counted apart.
        """
        WITH restored AS (SELECT coalesce(array_agg(sequence ORDER BY sequence), '{}') AS sequences FROM restorations)
        SELECT sku, products.sequence AS counted, first, last, kept FROM products JOIN (
            SELECT sku, min(sequence) AS first, max(sequence) AS last, count(DISTINCT sequence) AS kept,
                max(max(sequence)) OVER (PARTITION BY sku) AS last_of_all
            FROM events JOIN (
                SELECT sku, min(sequence) AS oldest FROM events
                WHERE created_at >= now() - make_interval(hours => :kept_hours) AND NOT repeated GROUP BY sku
            ) AS recent USING (sku)
            WHERE sequence >= oldest
            GROUP BY sku, width_bucket(sequence - 1, (SELECT sequences FROM restored))
        ) AS kept_events USING (sku)
        WHERE kept <> last - first + 1 OR last = last_of_all AND last <> products.sequence
            AND products.sequence <> ALL ((SELECT sequences FROM restored)::bigint[])
        """,
    ),
    Check(
        "sequence-used-twice",
        "SKU {sku} has {different} different events with the sequence {sequence}.",
        """
        SELECT sku, sequence, count(DISTINCT (message_id, type, body)) AS different FROM events
        WHERE sku IS NOT NULL GROUP BY sku, sequence HAVING count(DISTINCT (message_id, type, body)) > 1
        """,
    ),
    Check(
        "out-of-order",
        "SKU {sku}: event {sequence} stands in the outbox before event {before}.",
        """
        SELECT sku, sequence, before FROM (
            SELECT sku, sequence, id, lag(sequence) OVER by_sequence AS before, lag(id) OVER by_sequence AS id_before
            FROM (
                SELECT sku, sequence, min(id) AS id FROM events
                WHERE sku IS NOT NULL AND NOT repeated GROUP BY sku, sequence
            ) AS firsts
            WINDOW by_sequence AS (PARTITION BY sku ORDER BY sequence)
        ) AS neighbours WHERE id < id_before
        """,
    ),
    Check(
        "line-unlike-its-event",
        "Line (order {orderid}, SKU {sku}, lineid {lineid!r}) holds {held}, and event {sequence} says {told}.",
        """
        SELECT orderid, sku, lineid, sequence, coalesce(batchref, 'no stock') AS held,
            type || ' of order ' || (event ->> 'orderid') || ', ' || coalesce(event ->> 'batchref', 'no stock') AS told
        FROM order_lines JOIN (
            SELECT DISTINCT ON (sku, sequence) sku, sequence, type, CAST(body AS jsonb) AS event
            FROM events WHERE sku IS NOT NULL AND created_at >= now() - make_interval(hours => :kept_hours)
            ORDER BY sku, sequence
        ) AS answers USING (sku, sequence)
        WHERE (event ->> 'orderid', event ->> 'lineid') IS DISTINCT FROM (orderid, lineid)
            OR batchref IS DISTINCT FROM CASE
                WHEN type NOT IN ('deallocated.v1', 'hold-lapsed.v1') THEN event ->> 'batchref' END
            OR qty <> CASE WHEN type <> 'hold-lapsed.v1' THEN CAST(event ->> 'qty' AS integer) ELSE 0 END
        """,
    ),
    Check(
        "batch-unlike-its-event",
        "Batch {reference} has {purchased} purchased, and its last event says {told}.",
        """
        SELECT reference, purchased, told FROM batches JOIN (
            SELECT DISTINCT ON (event ->> 'batchref') event ->> 'batchref' AS reference,
                CAST(event ->> 'qty' AS integer) AS told
            FROM (
                SELECT sequence, CAST(body AS jsonb) AS event FROM events
                WHERE type IN ('batch-created.v1', 'batch-quantity-changed.v1') AND NOT repeated
                    AND created_at >= now() - make_interval(hours => :kept_hours)
            ) AS changes ORDER BY event ->> 'batchref', sequence DESC
        ) AS latest USING (reference)
        WHERE purchased <> told
        """,
    ),
    Check(
        "eta-unlike-its-event",
        "Batch {reference} has the ETA {eta}, and its last event says {told}.",
        """
        SELECT reference, coalesce(CAST(eta AS text), 'none') AS eta, coalesce(told, 'none') AS told FROM batches JOIN (
            SELECT DISTINCT ON (event ->> 'batchref') event ->> 'batchref' AS reference, event ->> 'eta' AS told
            FROM (
                SELECT sequence, CAST(body AS jsonb) AS event FROM events
                WHERE type IN ('batch-created.v1', 'batch-eta-changed.v1') AND NOT repeated
                    AND created_at >= now() - make_interval(hours => :kept_hours)
            ) AS changes ORDER BY event ->> 'batchref', sequence DESC
        ) AS latest USING (reference)
        WHERE eta IS DISTINCT FROM CAST(told AS date)
        """,
    ),
    Check(
        "answer-missing",
        "The command taken at {received_at:%Y-%m-%d %H:%M:%S} under the inbox key {key} has no event in the outbox.",
        """
        SELECT key, received_at FROM inbox_entries
        WHERE received_at >= now() - make_interval(hours => :kept_hours)
            AND NOT EXISTS (SELECT FROM events WHERE inbox_key(causation_id) = inbox_entries.key)
        """,
    ),
    Check(
        "cause-missing",
        "{type} {message_id} was caused by command {causation_id}, which is not in the inbox.",
        """
        SELECT type, message_id, causation_id FROM (
            SELECT type, message_id, causation_id,
                bool_or(type = 'hold-lapsed.v1') OVER (PARTITION BY causation_id) AS may_be_forgotten
            FROM events
            WHERE created_at >= now() - make_interval(hours => :known_hours)
                AND NOT EXISTS (SELECT FROM inbox_entries WHERE key = inbox_key(causation_id))
        ) AS missing
        -- A hold lapses long after its message, which the inbox may have forgotten by then.
        WHERE NOT may_be_forgotten
        """,
    ),
    Check(
        "hold-of-nothing",
        "Line (order {orderid}, SKU {sku}, lineid {lineid!r}) is held until {held_until}, and holds no stock, or was "
        "shipped.",
        """
        SELECT orderid, sku, lineid, held_until FROM order_lines
        WHERE held_until IS NOT NULL AND (batchref IS NULL OR cancelled OR shipped)
        """,
    ),
    Check(
        "hold-overdue",
        "Line (order {orderid}, SKU {sku}, lineid {lineid!r}) was held until {held_until}; "
        "is `allocation-worker relay` running?",
        f"""
        SELECT orderid, sku, lineid, held_until FROM order_lines
        WHERE {HELD} AND held_until < now() - make_interval(secs => :stuck_after)
        """,  # noqa: S608 - as above
    ),
    Check(
        "event-stuck",
        "{type} {message_id} has waited to be published for {waited} s; is `allocation-worker relay` running?",
        """
        SELECT type, message_id, extract(epoch FROM now() - created_at)::bigint AS waited FROM events
        WHERE published_at IS NULL AND NOT unrouted AND created_at < now() - make_interval(secs => :stuck_after)
        """,
    ),
)

_NOTICES = (
    Check(
        "restored",
        "The database was restored from a backup at {restored_at:%Y-%m-%d %H:%M:%S}; events go on after {sequence}.",
        "SELECT restored_at, sequence FROM restorations ORDER BY number",
    ),
    Check(
        "no-queue-bound",
        "Events of type {type} are kept, since no queue is bound for them: {count}.",
        """
        SELECT type, count(*) AS count FROM outbox_unrouted GROUP BY type
        """,
    ),
)

WRONG_IDS = Check(
    "wrong-message-id",
    "Event {sequence} of SKU {sku} has the message_id {message_id}, which is not its own.",
    "SELECT sku, uuid_send(stream) AS stream, events.sequence, message_id FROM events JOIN products USING (sku)",
)

_COUNTS = {
    "products": "products",
    "batches": "batches",
    "order_lines": "order_lines",
    "inbox": "inbox_entries",
    "outbox": "events",
}


def audit(engine: Engine, *, history_days: int, inbox_days: int, stuck_after: float) -> Audit:
    """Run all checks once.

    Args:
        engine: The database, with a statement_timeout that suits its size.
        history_days: The days for which events are kept; older events are not checked.
        inbox_days: The days for which message_ids are kept.
        stuck_after: Seconds after which an unpublished event counts as stuck.

    Raises:
        StoreUnavailableError: The database is unreachable, or a statement took too long.
    """
    parameters = {
        "kept_hours": 24 * history_days - _MARGIN_HOURS,
        "known_hours": 24 * min(history_days, inbox_days) - _MARGIN_HOURS,
        "stuck_after": stuck_after,
    }
    with _one_moment(engine) as connection:
        rests_on = examine(connection)
        faults = list(_weakened(rests_on.weaknesses))
        notices = [weakness.sentence for weakness in rests_on.weaknesses if not weakness.is_fault]
        if _NO_ROWS & {fault.kind for fault in faults}:
            notices.append("The rows were not checked.")
            return Audit(faults=faults, notices=notices, counts={}, durability=rests_on.facts)
        faults += [fault for check in CHECKS if (fault := _look(connection, check, parameters))]
        if wrong_ids := _look_at_ids(connection):
            faults.append(wrong_ids)
        notices += [example for check in _NOTICES for example in _examples(connection, check, parameters)]
        counts = {
            name: connection.scalar(sa.text(f"SELECT count(*) FROM {table}")) or 0  # noqa: S608 - names of our own
            for name, table in _COUNTS.items()
        }
    return Audit(faults=faults, notices=notices, counts=counts, durability=rests_on.facts)


def _weakened(weaknesses: Iterable[Weakness]) -> Iterator[Fault]:
    """One fault for each kind of weakness that is one."""
    of_kind: dict[str, list[str]] = {}
    for weakness in weaknesses:
        if weakness.is_fault:
            of_kind.setdefault(weakness.kind, []).append(weakness.sentence)
    for kind, sentences in of_kind.items():
        yield Fault(kind=kind, count=len(sentences), examples=sentences[:EXAMPLES])


@contextmanager
def _one_moment(engine: Engine) -> Iterator[Connection]:
    with engine.connect() as connection:
        yield connection.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        connection.rollback()


def _look(connection: Connection, check: Check, parameters: Mapping[str, float]) -> Fault | None:
    examples = _examples(connection, check, parameters)
    if len(examples) < EXAMPLES:
        return Fault(kind=check.kind, count=len(examples), examples=examples) if examples else None
    count = connection.scalar(_bound(f"SELECT count(*) FROM ({check.sql}) AS faults", parameters))  # noqa: S608 - ours
    return Fault(kind=check.kind, count=count or 0, examples=examples)


def _examples(connection: Connection, check: Check, parameters: Mapping[str, float]) -> list[str]:
    limited = f"SELECT * FROM ({check.sql}) AS faults LIMIT {EXAMPLES}"  # noqa: S608 - ours
    rows = connection.execute(_bound(limited, parameters))
    return [check.sentence.format_map(row._asdict()) for row in rows]


def _bound(sql: str, parameters: Mapping[str, float]) -> sa.TextClause:
    statement = sa.text(sql)
    return statement.bindparams(**{name: value for name, value in parameters.items() if f":{name}" in sql})


def _look_at_ids(connection: Connection) -> Fault | None:
    """Check the message_ids of events. They are computed here, since PostgreSQL has no SHA-1."""
    count = 0
    examples: list[str] = []
    rows = connection.execution_options(stream_results=True, max_row_buffer=1000).execute(sa.text(WRONG_IDS.sql))
    for sku, stream, sequence, message_id in rows:
        if UUID(event_id(bytes(stream), sequence)) != message_id:
            count += 1
            if len(examples) < EXAMPLES:
                examples.append(WRONG_IDS.sentence.format(sequence=sequence, sku=sku, message_id=message_id))
    return Fault(kind=WRONG_IDS.kind, count=count, examples=examples) if count else None
