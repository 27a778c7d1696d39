"""A batch that is too small for every line that waits, beside one of a product for which none waits."""

import random
from contextlib import closing

import psycopg2

from allocation_contracts import CreateBatch
from allocation_worker.testing.servers import Servers
from bench import large, seeds
from bench.broker import Watch
from bench.progress import ProgressBar
from bench.results import Result
from bench.sides import WorkerSide, plain
from bench.traffic import OrderStream
from bench.workloads import InitialBatch, encoded

WAITING = 100_000
BATCHES = 300
"""Of each product."""
RATE = 30
GOAL = 1.1

# Those of the index are rows that a command has read. `waiting_lines_in_turn` is read for nothing else.
_READ = """
    SELECT (SELECT seq_tup_read FROM pg_stat_user_tables WHERE relname = 'order_lines')
        + (SELECT sum(idx_tup_read) FROM pg_stat_user_indexes WHERE relname = 'order_lines')
"""


def small_batch(servers: Servers, shown: ProgressBar) -> Result:
    """Batches of 4 are created for a product whose 100,000 lines wait for 5 each, and for one without any."""
    work = f"a small batch of a product with {WAITING:,} lines that wait for more"
    shown.say(f"{work}: filling")
    rng = random.Random(6)
    side = WorkerSide(servers)
    side.seed([InitialBatch(reference=sku, sku=sku, qty=1) for sku in ("BIG", "NONE")])
    seeds.by_commands(side.database_url, (encoded(it, rng) for it in large.orders(WAITING, wait=True)))
    batches = [
        (sku, encoded(CreateBatch(batchref=f"{sku}-{number}", sku=sku, qty=4), rng))
        for number in range(BATCHES)
        for sku in ("BIG", "NONE")
    ]
    with Watch(side.amqp_url) as watch:
        watch.subscribe()
    before = _rows_read(side)
    with side.running():
        side.wait_until_consuming()
        traffic = OrderStream(side.amqp_url, [command for _, command in batches], RATE)
        traffic.run(lambda: traffic.finished)
    read = _rows_read(side) - before
    servers.database.drop(side.database_url)
    of_each = {sku: {it.message_id for name, it in batches if name == sku} for sku in ("BIG", "NONE")}
    waiting, none = (traffic.latency(traffic.began + large.WARM_UP, only=ids) for ids in of_each.values())
    ratio = waiting.median / none.median
    return Result(
        work=work,
        goal=f"<= {GOAL} of one for which none waits; no line is read",
        found=f"{ratio:.2f} (median {waiting.median:.1f} ms, {none.median:.1f}); {read} lines read",
        met=ratio <= GOAL and read == 0,
        figures={"ratio": ratio, "ratios": [ratio], "goal": GOAL, "lines_read": read},
    )


def _rows_read(side: WorkerSide) -> int:
    with closing(psycopg2.connect(plain(side.database_url))) as connection, connection.cursor() as cursor:
        cursor.execute(_READ)
        [(rows,)] = cursor.fetchall()
        return int(rows)
