"""The statements of the repository. Each takes arrays, so that it runs once for a whole group."""

import sqlalchemy as sa

from allocation_worker.adapters.postgres.writer import Write, new_rows

SKUS_OF_BATCHES = sa.text("SELECT reference, sku FROM batches WHERE reference = ANY(CAST(:refs AS text[]))")

# In SKU order, so that two transactions wait for each other and never both for the other.
LOCK_PRODUCTS = sa.text("""
    SELECT sku, encode(uuid_send(stream), 'hex') AS stream, sequence, batches_arrived FROM products
    WHERE sku = ANY(CAST(:skus AS text[])) ORDER BY sku FOR UPDATE
""")

LINES = sa.text("""
    SELECT orderid, sku, lineid, qty, batchref, cancelled, sequence FROM order_lines
    WHERE id = ANY(CAST(:ids AS uuid[]))
""")

LINES_OF_BATCH = sa.text("""
    SELECT orderid, sku, lineid, qty, batchref, cancelled, sequence FROM order_lines
    WHERE batchref = :batchref AND sequence < :before ORDER BY sequence DESC LIMIT :limit
""")

# A statement of its own, after the lock: joined to it, these rows would come from a snapshot older than the lock.
BATCHES = sa.text("""
    SELECT reference, sku, purchased, allocated, eta, arrival, created_qty, sequence FROM batches
    WHERE in_stock AND sku = ANY(CAST(:skus AS text[]))
    UNION ALL
    SELECT reference, sku, purchased, allocated, eta, arrival, created_qty, sequence FROM batches
    WHERE reference = ANY(CAST(:refs AS text[]))
""")

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
    UPDATE batches SET purchased = new.purchased, allocated = new.allocated
    FROM unnest(CAST(:batch0 AS text[]), CAST(:batch1 AS integer[]), CAST(:batch2 AS integer[]))
        AS new (reference, purchased, allocated)
    WHERE batches.reference = new.reference
""",
)

INSERT_LINES = new_rows(
    "order_lines",
    {
        "id": "uuid",
        "orderid": "text",
        "sku": "text",
        "lineid": "text",
        "qty": "integer",
        "batchref": "text",
        "cancelled": "boolean",
        "sequence": "bigint",
    },
)

UPDATE_LINES = Write(
    "line",
    """
    UPDATE order_lines
    SET qty = new.qty, batchref = new.batchref, cancelled = new.cancelled, sequence = new.sequence
    FROM unnest(
        CAST(:line0 AS uuid[]), CAST(:line1 AS integer[]), CAST(:line2 AS text[]), CAST(:line3 AS boolean[]),
        CAST(:line4 AS bigint[]))
        AS new (id, qty, batchref, cancelled, sequence)
    WHERE order_lines.id = new.id
""",
)
