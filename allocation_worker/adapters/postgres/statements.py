"""The statements of the repository. Each takes arrays, so that it runs once for a whole group."""

import sqlalchemy as sa

from allocation_worker.adapters.postgres.writer import Write, new_rows

SKUS_OF_BATCHES = sa.text("SELECT reference, sku FROM batches WHERE reference = ANY(CAST(:refs AS text[]))")

# A batch that was pruned has left its reference.
LOCATE_BATCHES = sa.text("""
    SELECT reference, sku, false AS pruned FROM batches WHERE reference = ANY(CAST(:refs AS text[]))
    UNION ALL
    SELECT reference, sku, true FROM pruned_batches WHERE reference = ANY(CAST(:refs AS text[]))
""")

# In SKU order, so that two transactions wait for each other and never both for the other.
LOCK_PRODUCTS = sa.text("""
    SELECT sku, encode(uuid_send(stream), 'hex') AS stream, sequence, batches_arrived, smallest_waiting FROM products
    WHERE sku = ANY(CAST(:skus AS text[])) ORDER BY sku FOR UPDATE
""")

# Nearly every line has its sequence for its place. It stores no place then.
PLACE = "coalesce(place, sequence)"
# A line that counts as allocated from its batch, and may still be taken off it.
UNSHIPPED = "batchref IS NOT NULL AND shipped IS NOT TRUE"
# One of these for which the stock is only held, until it is allocated.
HELD = "held_until IS NOT NULL AND batchref IS NOT NULL"
WAITS = "wait AND batchref IS NULL AND NOT cancelled"
# A line that was shipped or cancelled, that is out of stock and does not wait, or whose hold has lapsed.
ENDED = "shipped OR batchref IS NULL AND (cancelled OR wait IS NOT TRUE)"
_LINE = f"""
    orderid, sku, lineid, qty, batchref, cancelled, sequence, {PLACE} AS place, wait, priority, needed_by, shipped,
    held_until AT TIME ZONE 'UTC' AS held_until, held_by
"""

LINES = sa.text(f"""
    SELECT {_LINE}, answer FROM order_lines
    WHERE id = ANY(CAST(:ids AS uuid[]))
""")  # noqa: S608 - the columns are constants

LINES_OF_BATCH = sa.text(f"""
    SELECT {_LINE}, answer FROM order_lines
    WHERE {UNSHIPPED} AND held_until IS NULL AND batchref = :batchref AND {PLACE} < :before
    ORDER BY {PLACE} DESC LIMIT :limit
""")  # noqa: S608 - as above

HELD_LINES_OF_BATCH = sa.text(f"""
    SELECT {_LINE}, answer FROM order_lines
    WHERE {HELD} AND batchref = :batchref AND {PLACE} < :before ORDER BY {PLACE} DESC LIMIT :limit
""")  # noqa: S608 - as above

# In one round trip, since most batches that shrink lose a few lines, none of them held.
LAST_LINES_OF_BATCH = sa.text(f"({HELD_LINES_OF_BATCH.text}) UNION ALL ({LINES_OF_BATCH.text})")

# The answers are not read: a line that is told or served gets another one.
LINES_OF_BATCH_FORWARDS = sa.text(f"""
    SELECT {_LINE}, NULL AS answer FROM order_lines
    WHERE {UNSHIPPED} AND batchref = :batchref AND {PLACE} > :after ORDER BY {PLACE} LIMIT :limit
""")  # noqa: S608 - as above

WAITING_LINES = sa.text(f"""
    SELECT {_LINE}, NULL AS answer FROM order_lines
    WHERE {WAITS} AND sku = :sku AND (-priority, {PLACE}) > (:urgency, :place) AND qty <= :at_most
    ORDER BY -priority, {PLACE} LIMIT :limit
""")  # noqa: S608 - as above

# The ETA of its creation is stored once it has another.
BATCH = """
    reference, sku, purchased, eta, arrival, created_qty,
    CASE WHEN eta_changed THEN created_eta ELSE eta END AS created_eta, sequence, allocated, shipped
"""

# A statement of its own, after the lock: joined to it, these rows would come from a snapshot older than the lock.
BATCHES = sa.text(f"""
    SELECT {BATCH} FROM batches
    WHERE in_stock AND sku = ANY(CAST(:skus AS text[]))
    UNION ALL
    SELECT {BATCH} FROM batches
    WHERE reference = ANY(CAST(:refs AS text[]))
""")  # noqa: S608 - as above

# A product that is locked for longer is set aside. The limit is set in the round trip of the locks, and the usual one
# again in that of the batches.
LOCK_PRODUCTS_SOON = sa.text(f"SET LOCAL lock_timeout = :limit; {LOCK_PRODUCTS.text}")
BATCHES_AND_USUAL_LIMIT = sa.text(f"SET LOCAL lock_timeout = :usual; {BATCHES.text}")

# `xmax` stands for the transaction that holds the lock.
LOCKED_PRODUCTS = sa.text("""
    WITH free AS MATERIALIZED
        (SELECT sku FROM products WHERE sku = ANY(CAST(:skus AS text[])) FOR UPDATE SKIP LOCKED)
    SELECT sku, CAST(xmax AS text) AS lock FROM products
    WHERE sku = ANY(CAST(:skus AS text[])) AND sku NOT IN (SELECT sku FROM free)
""")

# New products begin there after a restored backup, since subscribers may know events of a product of that name.
BEGINNING = sa.text("SELECT coalesce(max(sequence), 0) FROM restorations")

INSERT_PRODUCTS = new_rows(
    "products", {"sku": "text", "stream": "uuid", "sequence": "bigint", "batches_arrived": "integer"}
)

UPDATE_PRODUCTS = Write(
    "product",
    """
    UPDATE products SET sequence = new.sequence, batches_arrived = new.batches_arrived
    FROM unnest(CAST(:product0 AS text[]), CAST(:product1 AS bigint[]), CAST(:product2 AS integer[]))
        AS new (sku, sequence, batches_arrived)
    WHERE products.sku = new.sku
""",
)

UPDATE_SMALLEST_WAITING = Write(
    "queue",
    """
    UPDATE products SET smallest_waiting = new.smallest_waiting
    FROM unnest(CAST(:queue0 AS text[]), CAST(:queue1 AS bigint[])) AS new (sku, smallest_waiting)
    WHERE products.sku = new.sku
""",
)

INSERT_BATCHES = new_rows(
    "batches",
    {
        "reference": "text",
        "sku": "text",
        "purchased": "integer",
        "allocated": "integer",
        "eta": "date",
        "arrival": "integer",
        "created_qty": "integer",
        "sequence": "bigint",
    },
)

UPDATE_BATCHES = Write(
    "batch",
    """
    UPDATE batches SET purchased = new.purchased, allocated = new.allocated, ended_at = NULL
    FROM unnest(CAST(:batch0 AS text[]), CAST(:batch1 AS integer[]), CAST(:batch2 AS integer[]))
        AS new (reference, purchased, allocated)
    WHERE batches.reference = new.reference
""",
)

UPDATE_SHIPPED = Write(
    "shipped",
    """
    UPDATE batches SET shipped = new.shipped
    FROM unnest(CAST(:shipped0 AS text[]), CAST(:shipped1 AS integer[])) AS new (reference, shipped)
    WHERE batches.reference = new.reference
""",
)

UPDATE_ETAS = Write(
    "eta",
    """
    UPDATE batches SET eta = new.eta, created_eta = new.created_eta, eta_changed = true, ended_at = NULL
    FROM unnest(CAST(:eta0 AS text[]), CAST(:eta1 AS date[]), CAST(:eta2 AS date[]))
        AS new (reference, eta, created_eta)
    WHERE batches.reference = new.reference
""",
)

_LINE_COLUMNS = {
    "id": "uuid",
    "orderid": "text",
    "sku": "text",
    "lineid": "text",
    "qty": "integer",
    "batchref": "text",
    "cancelled": "boolean",
    "sequence": "bigint",
}
_SPECIAL_COLUMNS = {
    "place": "bigint",
    "wait": "boolean",
    "priority": "smallint",
    "needed_by": "date",
    "shipped": "boolean",
    "answer": "text",
    "held_until": "timestamptz",
    "held_by": "text",
    "waits_since": "timestamptz",
}
INSERT_LINES = new_rows("order_lines", _LINE_COLUMNS)
INSERT_SPECIAL_LINES = new_rows("order_lines", {**_LINE_COLUMNS, **_SPECIAL_COLUMNS}, name="special_lines")

# A line that has ended when it is inserted gets its time later: pruning sees to it, and a plain line costs no more.
UPDATE_LINES = Write(
    "line",
    f"""
    UPDATE order_lines
    SET qty = new.qty, batchref = new.batchref, cancelled = new.cancelled, sequence = new.sequence, place = new.place,
        wait = new.wait, priority = new.priority, needed_by = new.needed_by, shipped = new.shipped,
        answer = new.answer, held_until = new.held_until, held_by = new.held_by,
        waits_since = CASE WHEN new.waits THEN coalesce(order_lines.waits_since, now()) END,
        ended_at = CASE WHEN new.ended THEN now() END
    FROM (SELECT *, {WAITS} AS waits, {ENDED} AS ended FROM unnest(
        CAST(:line0 AS uuid[]), CAST(:line1 AS integer[]), CAST(:line2 AS text[]), CAST(:line3 AS boolean[]),
        CAST(:line4 AS bigint[]), CAST(:line5 AS bigint[]), CAST(:line6 AS boolean[]), CAST(:line7 AS smallint[]),
        CAST(:line8 AS date[]), CAST(:line9 AS boolean[]), CAST(:line10 AS text[]), CAST(:line11 AS timestamptz[]),
        CAST(:line12 AS text[])) AS sent
            (id, qty, batchref, cancelled, sequence, place, wait, priority, needed_by, shipped, answer, held_until,
            held_by)) AS new
    WHERE order_lines.id = new.id
""",  # noqa: S608 - a constant
)
