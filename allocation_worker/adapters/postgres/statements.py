"""The statements of the repository. Each takes arrays, so that it runs once for a whole group."""

import sqlalchemy as sa

SKUS_OF_BATCHES = sa.text("SELECT reference, sku FROM batches WHERE reference = ANY(CAST(:refs AS text[]))")

# In SKU order, so that two transactions wait for each other and never both for the other.
LOCK_PRODUCTS = sa.text("""
    SELECT sku, stream, sequence, batches_arrived FROM products
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

INSERT_PRODUCTS = sa.text("""
    INSERT INTO products (sku, stream, sequence, batches_arrived)
    SELECT * FROM unnest(CAST(:c0 AS text[]), CAST(:c1 AS uuid[]), CAST(:c2 AS bigint[]), CAST(:c3 AS integer[]))
""")

UPDATE_PRODUCTS = sa.text("""
    UPDATE products SET sequence = new.sequence, batches_arrived = new.batches_arrived
    FROM unnest(CAST(:c0 AS text[]), CAST(:c1 AS bigint[]), CAST(:c2 AS integer[]))
        AS new (sku, sequence, batches_arrived)
    WHERE products.sku = new.sku
""")

INSERT_BATCHES = sa.text("""
    INSERT INTO batches (reference, sku, purchased, allocated, eta, arrival, created_qty, sequence)
    SELECT * FROM unnest(
        CAST(:c0 AS text[]), CAST(:c1 AS text[]), CAST(:c2 AS integer[]), CAST(:c3 AS integer[]), CAST(:c4 AS date[]),
        CAST(:c5 AS integer[]), CAST(:c6 AS integer[]), CAST(:c7 AS bigint[]))
""")

UPDATE_BATCHES = sa.text("""
    UPDATE batches SET purchased = new.purchased, allocated = new.allocated
    FROM unnest(CAST(:c0 AS text[]), CAST(:c1 AS integer[]), CAST(:c2 AS integer[]))
        AS new (reference, purchased, allocated)
    WHERE batches.reference = new.reference
""")

INSERT_LINES = sa.text("""
    INSERT INTO order_lines (id, orderid, sku, lineid, qty, batchref, cancelled, sequence)
    SELECT * FROM unnest(
        CAST(:c0 AS uuid[]), CAST(:c1 AS text[]), CAST(:c2 AS text[]), CAST(:c3 AS text[]), CAST(:c4 AS integer[]),
        CAST(:c5 AS text[]), CAST(:c6 AS boolean[]), CAST(:c7 AS bigint[]))
""")

UPDATE_LINES = sa.text("""
    UPDATE order_lines
    SET qty = new.qty, batchref = new.batchref, cancelled = new.cancelled, sequence = new.sequence
    FROM unnest(
        CAST(:c0 AS uuid[]), CAST(:c1 AS integer[]), CAST(:c2 AS text[]), CAST(:c3 AS boolean[]), CAST(:c4 AS bigint[]))
        AS new (id, qty, batchref, cancelled, sequence)
    WHERE order_lines.id = new.id
""")
