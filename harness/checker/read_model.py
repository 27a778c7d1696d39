"""Compares the read model with the write model: the state of each line, the numbers of each batch, each sequence.

Use it at the end of a run, when all events are applied: `compare(read_model(redis_url), write_model(url))`.
"""

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from itertools import islice
from typing import TypeVar

import psycopg2
from redis import Redis
from sqlalchemy import make_url

from allocation_worker.adapters.redis import scripts
from allocation_worker.adapters.redis.views import parse_batch, parse_line

Line = tuple[str, str, str]
"""(orderid, sku, lineid)."""

State = tuple[str, int, str | None]
"""(status, qty, batchref)."""

Numbers = tuple[str, int, int, str | None]
"""(sku, purchased, allocated, eta)."""

K = TypeVar("K")
V = TypeVar("V")

MOST_FAULTS = 20
AT_A_TIME = 1000


@dataclass(frozen=True, kw_only=True)
class Contents:
    """The contents of a model."""

    lines: Mapping[Line, State] = field(default_factory=dict)
    batches: Mapping[str, Numbers] = field(default_factory=dict)
    sequences: Mapping[str, int] = field(default_factory=dict)


def compare(read: Contents, write: Contents) -> list[str]:
    """Return the differences of the read model, one sentence each, the first few of each kind; [] if equal."""
    return [
        *_differences("Line", read.lines, write.lines),
        *_differences("Batch", read.batches, write.batches),
        *_differences("SKU", read.sequences, write.sequences),
    ]


def _differences(kind: str, read: Mapping[K, V], write: Mapping[K, V]) -> list[str]:
    keys = [key for key in read.keys() | write.keys() if read.get(key) != write.get(key)]
    return [
        f"{kind} {key}: the read model says {read.get(key)}, the write model {write.get(key)}."
        for key in sorted(keys, key=str)[:MOST_FAULTS]
    ]


def read_model(redis_url: str) -> Contents:
    """Return the contents of Redis."""
    with Redis.from_url(redis_url, decode_responses=True) as client:
        root = f"{scripts.PREFIX}{client.get(scripts.SHOWN)}:"
        orders = [
            parse_line(name, *pair) for name, fields in _hashes(client, f"{root}order:") for pair in fields.items()
        ]
        sequences = {sku: int(sequence) for sku, sequence in client.hscan_iter(f"{root}sequences", count=AT_A_TIME)}
        listed = {reference for sku in sequences for reference in client.zrange(f"{root}sku:{sku}", 0, -1)}
        batches = [
            parse_batch((name, *map(fields.get, ("sku", "purchased", "allocated", "eta", "sequence"))))
            for name, fields in _hashes(client, f"{root}batch:")
        ]
    return Contents(
        lines={(line.orderid, line.sku, line.lineid): (line.status, line.qty, line.batchref) for line in orders},
        batches={
            batch.reference: (batch.sku, batch.purchased, batch.allocated, str(batch.eta) if batch.eta else None)
            for batch in batches
            if batch.reference in listed
        },
        sequences=sequences,
    )


def write_model(database_url: str) -> Contents:
    """Return the contents of the tables, without any code of the worker."""
    dsn = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        cursor.execute("""
            SELECT orderid, sku, lineid, qty, batchref, CASE
                WHEN cancelled THEN 'cancelled'
                WHEN shipped THEN 'shipped'
                WHEN held_until IS NOT NULL THEN 'held'
                WHEN batchref IS NOT NULL THEN 'allocated'
                WHEN qty = 0 THEN 'lapsed'
                WHEN wait THEN 'waiting'
                ELSE 'out-of-stock'
            END
            FROM order_lines
        """)
        lines = {
            (orderid, sku, lineid): (status, qty, batchref) for orderid, sku, lineid, qty, batchref, status in cursor
        }
        cursor.execute("SELECT reference, sku, purchased, allocated, eta::text FROM batches")
        batches = {reference: tuple(numbers) for reference, *numbers in cursor}
        cursor.execute("SELECT sku, sequence FROM products")
        sequences = dict(cursor.fetchall())
    return Contents(lines=lines, batches=batches, sequences=sequences)


def _hashes(client: Redis, prefix: str) -> Iterator[tuple[str, dict[str, str]]]:
    keys = client.scan_iter(f"{prefix}*", count=AT_A_TIME)
    while chunk := list(islice(keys, AT_A_TIME)):
        pipeline = client.pipeline(transaction=False)
        for key in chunk:
            pipeline.hgetall(key)
        yield from zip((key.removeprefix(prefix) for key in chunk), pipeline.execute(), strict=True)
