"""Settings of the database and of the role that would weaken the guarantees."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import make_url

from allocation_contracts import Allocate, CreateBatch
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.local_database import LocalDatabase
from allocation_worker.testing.servers.programs import private_folder
from allocation_worker.testing.waiting import wait_until
from harness.service import RunningService

CRASHES = 4
ORDERS = 100


@pytest.fixture
def own_database() -> Iterator[LocalDatabase]:
    with private_folder() as folder:
        # What is not flushed by a commit stays in memory for long, and is lost in a crash.
        database = LocalDatabase(folder, settings={"wal_writer_delay": "10s", "synchronous_commit": "off"})
        database.start()
        yield database
        database.stop("immediate")


@pytest.fixture
def weakened(servers: Servers, own_database: LocalDatabase, tmp_path: Path) -> Iterator[RunningService]:
    """A service whose database and role say that commits need not be durable."""
    with RunningService(replace(servers, database=own_database), tmp_path) as service:
        url = make_url(service.database_url)
        with closing(psycopg2.connect(own_database.dsn)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(f'ALTER DATABASE "{url.database}" SET synchronous_commit = off')
                cursor.execute(f'ALTER ROLE "{url.username}" SET synchronous_commit = off')
        yield service


def test_crashes_of_a_database_with_synchronous_commit_off_lose_nothing(
    weakened: RunningService, own_database: LocalDatabase
) -> None:
    with weakened.client() as client:
        weakened.start("consume")
        client.send(CreateBatch(batchref="b", sku="SKU", qty=CRASHES * ORDERS))
        for crash in range(CRASHES):
            for number in range(ORDERS):
                client.send(Allocate(orderid=f"o{crash}-{number}", sku="SKU", qty=1))
            client.wait_confirmed()
            wait_until(
                lambda: not sum(weakened.servers.broker.queue_depths(weakened.amqp_url).values()),
                within=60,
                every=0.02,
                otherwise=weakened.logs,
            )
            own_database.stop("immediate")
            own_database.start()
        weakened.start("relay")  # its synchronous commits would have flushed everything
        client.wait_answered()
        assert weakened.judge(client).faults == []
