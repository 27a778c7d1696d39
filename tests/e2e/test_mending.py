"""What no message can cause, and somebody mends, ends no process and costs no message."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
import pytest
from sqlalchemy import make_url

from allocation_contracts import Allocate, CreateBatch
from harness.client import ExternalClient
from harness.processes import WorkerProcess
from harness.service import RunningService


@contextmanager
def broken(service: RunningService, *statements: str, mended_by: str) -> Iterator[None]:
    with closing(psycopg2.connect(service.database_url.replace("+psycopg2", ""))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(";".join(statements))
            yield
            cursor.execute(mended_by)


def start_all(service: RunningService, settings: dict[str, str] | None = None) -> list[WorkerProcess]:
    processes = [service.start("consume", settings=settings), service.start("relay", settings=settings)]
    for process in processes:
        process.wait_for("ready")
    return processes


def send_orders(client: ExternalClient, name: str) -> None:
    for number in range(20):
        client.send(Allocate(orderid=f"{name}-{number}", sku="SKU", qty=1))
    client.wait_confirmed()


def check_that_all_went_on(service: RunningService, client: ExternalClient, processes: list[WorkerProcess]) -> None:
    client.wait_answered()
    assert service.judge(client).faults == []
    assert service.count_dead_letters() == 0
    assert [process.exit_code for process in processes] == [None] * len(processes)
    assert "retry_scheduled" not in service.logs()


@pytest.mark.parametrize(
    ("table", "who"),
    [("batches", "consume"), ("outbox_pages", "relay")],
)
def test_a_table_that_is_away_for_a_while_holds_the_queue(fresh_service: RunningService, table: str, who: str) -> None:
    """As while a backup is restored beside it, and the tables are renamed."""
    with fresh_service.client() as client:
        consume, relay = start_all(fresh_service)
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=1000))
        with broken(
            fresh_service, f"ALTER TABLE {table} RENAME TO away", mended_by=f"ALTER TABLE away RENAME TO {table}"
        ):
            send_orders(client, "meanwhile")
            {"consume": consume, "relay": relay}[who].wait_for("waiting")
        send_orders(client, "after")
        check_that_all_went_on(fresh_service, client, [consume, relay])
        assert f'relation \\"{table}\\" does not exist' in fresh_service.logs()


@pytest.fixture
def limited_role(fresh_service: RunningService) -> Iterator[str]:
    """The processes log in as a role of their own, which has every grant at first."""
    url = make_url(fresh_service.database_url)
    role = f"limited_{url.database}"
    grants = (
        f"CREATE ROLE {role} LOGIN PASSWORD 'hush'",
        f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
        f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}",
    )
    with broken(fresh_service, *grants, mended_by=f"DROP OWNED BY {role}; DROP ROLE {role}"):
        yield role
        for process in fresh_service.processes:
            process.kill()


@pytest.mark.parametrize(
    ("grant", "who"),
    [
        ("SELECT, INSERT, UPDATE, DELETE ON TABLE order_lines", "consume"),
        ("SELECT, INSERT, UPDATE, DELETE ON TABLE outbox_pages", "relay"),
        ("SELECT, USAGE ON SEQUENCE outbox_pages_id_seq", "relay"),
    ],
)
def test_a_role_that_loses_a_grant_is_told_the_statement_that_gives_it_back(
    fresh_service: RunningService, limited_role: str, grant: str, who: str
) -> None:
    url = make_url(fresh_service.database_url).set(username=limited_role, password="hush")
    with fresh_service.client() as client:
        consume, relay = start_all(
            fresh_service, {"ALLOCATION_DATABASE_URL": url.render_as_string(hide_password=False)}
        )
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=1000))
        gives_it_back = f"GRANT {grant} TO {limited_role}"
        with broken(fresh_service, f"REVOKE {grant} FROM {limited_role}", mended_by=gives_it_back):
            send_orders(client, "meanwhile")
            {"consume": consume, "relay": relay}[who].wait_for_log(f"run {gives_it_back}")
        check_that_all_went_on(fresh_service, client, [consume, relay])


def test_a_log_on_a_full_disk_stops_nobody(fresh_service: RunningService) -> None:
    with fresh_service.client() as client:
        full = Path("/dev/full")
        processes = [fresh_service.start("consume", log=full), fresh_service.start("relay", log=full)]
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=1000))
        fresh_service.servers.broker.close_connections(fresh_service.amqp_url)  # each logs that, and connects again
        send_orders(client, "after")
        check_that_all_went_on(fresh_service, client, processes)
        assert [process.terminate() for process in processes] == [0, 0]
