"""Inserts the initial data of a run, without the broker: a million commands would take minutes."""

from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import closing
from functools import partial
from itertools import islice
from typing import NamedTuple

import psycopg2
import sqlalchemy as sa
from pika.spec import BasicProperties
from psycopg2.extras import execute_values

from allocation_worker.adapters import wire
from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.unit_of_work import Optimism, PostgresUnitOfWork
from allocation_worker.bootstrap.consume import processor
from allocation_worker.service_layer.outcomes import Done
from allocation_worker.service_layer.retries import RetryPolicy
from bench.workloads import EncodedCommand, InitialBatch


def bare(dsn: str, stock: Sequence[InitialBatch]) -> None:
    """The bare loop's batches."""
    rows = [(it.reference, it.sku, number, it.eta, it.qty, 0) for number, it in enumerate(stock)]
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        execute_values(cursor, "INSERT INTO products VALUES %s", [(sku, 0) for sku in {it.sku for it in stock}])
        execute_values(cursor, "INSERT INTO batches VALUES %s", rows)
        cursor.execute("ANALYZE")


def worker(dsn: str, stock: Sequence[InitialBatch]) -> None:
    """The worker's batches, as `create-batch` leaves them once their events are published and pruned."""
    arrived = Counter[str]()
    rows = []
    for it in stock:
        arrived[it.sku] += 1
        number = arrived[it.sku]
        rows.append((it.reference, it.sku, it.qty, 0, it.eta, number, it.qty, number))
    products = [(sku, count, count) for sku, count in arrived.items()]
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        execute_values(
            cursor,
            "INSERT INTO products (sku, stream, sequence, batches_arrived) VALUES %s",
            products,
            template="(%s, gen_random_uuid(), %s, %s)",
        )
        execute_values(
            cursor,
            """INSERT INTO batches (reference, sku, purchased, allocated, eta, arrival, created_qty, sequence)
            VALUES %s""",
            rows,
        )
        cursor.execute("ANALYZE")


HISTORY = (
    # A thousand lines of five on each of the SKUs, on a batch that is used up.
    """
    INSERT INTO batches (reference, sku, purchased, allocated, eta, arrival, created_qty, sequence)
    SELECT 'old/' || sku, sku, 5 * {per_sku}, 5 * {per_sku}, NULL, batches_arrived + 1, 5 * {per_sku}, sequence + 1
    FROM products
    """,
    """
    INSERT INTO order_lines (id, orderid, sku, lineid, qty, batchref, cancelled, sequence)
    SELECT md5('old-' || number || '/' || sku)::uuid, 'old-' || number, sku, '', 5, 'old/' || sku, false,
        sequence + 1 + number
    FROM generate_series(1, {per_sku}) AS number, products
    """,
    """
    INSERT INTO outbox_pages (published_at, count, events)
    SELECT {published}, count(*), string_agg(
        concat_ws(E'\\t', md5(random()::text), 'allocated.v1', id, '', '', '', '',
            json_build_object('orderid', orderid, 'sku', sku, 'lineid', '', 'qty', qty, 'batchref', batchref,
                'eta', NULL, 'sequence', sequence)), E'\\n' ORDER BY sequence)
    FROM (
        SELECT *, row_number() OVER (ORDER BY sequence, id) / 1000 AS page
        FROM order_lines WHERE batchref LIKE 'old/%'
    ) AS lines GROUP BY page ORDER BY page
    """,
    """
    INSERT INTO inbox_entries (key, fingerprint)
    SELECT gen_random_uuid(), sha256(id::text::bytea) FROM order_lines WHERE batchref LIKE 'old/%'
    """,
    "UPDATE products SET sequence = sequence + 1 + {per_sku}, batches_arrived = batches_arrived + 1",
    "VACUUM ANALYZE",
    "CHECKPOINT",
)


def history(dsn: str, *, per_sku: int, published: str = "now()") -> None:
    """So many allocated lines of every SKU, with their inbox rows and their events; `published` is an expression."""
    with closing(psycopg2.connect(dsn)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for statement in HISTORY:
                cursor.execute(statement.format(per_sku=per_sku, published=published))


ANSWERED = "UPDATE outbox_pages SET published_at = now() WHERE published_at IS NULL"
UNSEEN = "ALTER TABLE order_lines SET (autovacuum_enabled = off)"
GROUP = 1000


class _Incoming(NamedTuple):
    properties: BasicProperties
    body: bytes
    attempts: int = 0


def by_commands(database_url: str, messages: Iterable[EncodedCommand]) -> None:
    """Have the worker's own code answer commands, and mark their events as published.

    The lines are neither vacuumed nor analyzed afterwards, as if they had come a moment ago.
    """
    engine = create_engine(database_url, application_name="bench")
    service = processor(
        partial(PostgresUnitOfWork, engine, Optimism()), RetryPolicy(grace_attempts=0, grace_delay=0, delays=())
    )
    incoming = iter(wire.read(_Incoming(it.properties, it.body)) for it in messages)
    with engine.begin() as connection:
        connection.execute(sa.text(UNSEEN))
    while group := list(islice(incoming, GROUP)):
        if set(service.process(group)) != {Done()}:
            raise RuntimeError("A command was not done.")
    with engine.begin() as connection:
        connection.execute(sa.text(ANSWERED))
    engine.dispose()
