"""Each program logs in to the database and to Redis as a role that may do what `docker/` says, and no more."""

import secrets
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest
from psycopg2.errors import InsufficientPrivilege
from redis import Redis
from redis.exceptions import NoPermissionError
from sqlalchemy import make_url

from allocation_contracts import Allocate, Allocated, ChangeBatchQuantity, CreateBatch, Deallocate, Hold
from allocation_worker.adapters.postgres.prune import DELETE_BATCHES, DELETE_LINES
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.redis_server import LocalRedis, local_redis
from allocation_worker.testing.waiting import wait_until
from harness.checker import read_model as comparing
from harness.client import ExternalClient
from harness.processes import run_verb
from harness.service import RunningService

DOCKER = Path(__file__).parents[2] / "docker"
GROUPS = ("allocation_consume", "allocation_relay", "allocation_project", "allocation_reader")
PASSWORD = secrets.token_hex(8)

Urls = Mapping[str, str]


@pytest.fixture(scope="module")
def service(servers: Servers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningService]:
    if servers.how != "programs":
        pytest.skip("only a database that is ours gets other roles")
    with RunningService(servers, tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture(scope="module")
def databases(service: RunningService) -> Iterator[Urls]:
    """The address of a login in each of the groups."""
    owner = make_url(service.database_url)
    logins = {group: f"{group}_{owner.database}" for group in GROUPS}
    with closing(psycopg2.connect(service.database_url.replace("+psycopg2", ""))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        # Roles are those of the whole server, and another test may be making them at this moment.
        cursor.execute("SELECT pg_advisory_lock(20261126)")
        cursor.execute((DOCKER / "sql" / "roles.sql").read_text("utf-8"))
        cursor.execute("SELECT pg_advisory_unlock(20261126)")
        for group, login in logins.items():
            cursor.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{PASSWORD}' IN ROLE {group}")
        yield {
            group: owner.set(username=login, password=PASSWORD).render_as_string(hide_password=False)
            for group, login in logins.items()
        }
        for process in service.processes:
            process.kill()
        for login in logins.values():
            cursor.execute(f"DROP ROLE {login}")


@pytest.fixture(scope="module")
def redis_server() -> Iterator[LocalRedis]:
    with local_redis() as server:
        yield server


@pytest.fixture(scope="module")
def redis_urls(redis_server: LocalRedis) -> Urls:
    """The address of each user of `docker/redis-users.acl`."""
    url = redis_server.new_database()
    with Redis.from_url(url) as client:
        for line in (DOCKER / "redis-users.acl").read_text("utf-8").splitlines():
            _, name, *rules = line.replace(">PASSWORD", f">{PASSWORD}").split()
            if name == "default":
                continue  # it is the one that does this
            client.execute_command("ACL", "SETUSER", name, *rules)
            client.execute_command("ACL", "SETUSER", name, "resetpass", f">{PASSWORD}")
    return {
        name: url.replace("redis://", f"redis://{name}:{PASSWORD}@")
        for name in ("allocation-project", "allocation-show")
    }


def test_every_program_works_as_its_own_role(
    service: RunningService, databases: Urls, redis_urls: Urls, tmp_path: Path
) -> None:
    def settings(group: str, redis: str = "allocation-project") -> dict[str, str]:
        return {
            "ALLOCATION_DATABASE_URL": databases[group],
            "ALLOCATION_REDIS_URL": redis_urls[redis],
            "ALLOCATION_GRACE_DELAY": "1",
            "ALLOCATION_METRICS_FOLDER": str(tmp_path / "metrics"),
            "ALLOCATION_METRICS_INTERVAL": "1",
        }

    for verb in ("consume", "relay", "project"):
        service.start(verb, settings=settings(f"allocation_{verb}")).wait_for("ready")
    with service.client() as client:
        early = client.send(Allocate(orderid="early", sku="LAMP", qty=1))  # before its product
        client.ask(CreateBatch(batchref="b", sku="LAMP", qty=20))
        for number in range(10):
            client.send(Allocate(orderid=f"o{number}", sku="LAMP", qty=2))
        client.wait_answered([early])
        client.ask(Deallocate(orderid="o1", sku="LAMP"))
        client.ask(ChangeBatchQuantity(batchref="b", qty=3))
        client.ask(CreateBatch(batchref="v", sku="VASE", qty=1))
        client.ask(Hold(orderid="basket", sku="VASE", qty=1, until=datetime.now(UTC) + timedelta(seconds=2)))
        client.ask(Allocate(orderid="waits", sku="VASE", qty=1, wait=True))
        wait_until(lambda: served(client, "waits"), within=30, otherwise=service.logs)
        assert service.judge(client).faults == []
        order = next(event for event in client.received if event.type == Allocated.TYPE)
    [metrics] = (tmp_path / "metrics").glob("allocation-relay-*.prom")
    wait_until(lambda: "allocation_outbox_depth" in metrics.read_text(), within=30, otherwise=service.logs)
    assert "gauges_unreadable" not in service.logs()
    wait_until(
        lambda: (
            not comparing.compare(
                comparing.read_model(redis_urls["allocation-show"]), comparing.write_model(service.database_url)
            )
        ),
        within=60,
        otherwise=service.logs,
    )
    reader = {**service.settings, **settings("allocation_reader", "allocation-show")}
    for arguments in (
        ("verify",),
        ("explain", order.causation_id),
        ("show", "order", order.data["orderid"]),
        ("show", "sku", "LAMP"),
        ("show", "waiting", "--sku", "VASE"),
        ("status",),
    ):
        done = run_verb(*arguments, settings=reader)
        assert (done.returncode, done.stderr) == (0, ""), (arguments, done.stdout, done.stderr)
    assert "permission denied" not in service.logs()


def served(client: ExternalClient, orderid: str) -> bool:
    return any(event.type == Allocated.TYPE and event.data["orderid"] == orderid for event in client.received)


FORBIDDEN = [
    ("allocation_consume", "DELETE FROM products"),
    ("allocation_consume", "DELETE FROM order_lines"),
    ("allocation_consume", "SELECT events FROM outbox_pages"),
    ("allocation_consume", "UPDATE outbox_pages SET published_at = now()"),
    ("allocation_consume", "UPDATE schema_revision SET version_num = '1'"),
    ("allocation_relay", "INSERT INTO products (sku) VALUES ('LAMP')"),
    ("allocation_relay", "DELETE FROM order_lines"),
    ("allocation_relay", "INSERT INTO inbox_entries (key) VALUES (gen_random_uuid())"),
    ("allocation_project", "UPDATE products SET sequence = 1"),
    ("allocation_project", "SELECT FROM inbox_entries"),
    ("allocation_project", "DELETE FROM outbox_pages"),
    ("allocation_reader", "UPDATE products SET sequence = 1"),
    ("allocation_reader", "DELETE FROM inbox_entries"),
    ("allocation_reader", "INSERT INTO restorations (number, sequence) VALUES (1, 1)"),
    *((group, "CREATE TABLE products_too (sku text)") for group in GROUPS),
    *((group, "TRUNCATE outbox_pages") for group in GROUPS),
]


def test_the_grants_for_pruning_lines_are_enough(service: RunningService, databases: Urls) -> None:
    grants = (DOCKER / "sql" / "roles.sql").read_text("utf-8").partition("-- Only if ALLOCATION_LINES_DAYS is set")[2]
    with closing(psycopg2.connect(service.database_url.replace("+psycopg2", ""))) as connection:
        cursor = connection.cursor()
        # Undone at the end: roles are those of the whole server.
        for line in grants.splitlines()[1:]:
            cursor.execute(line.removeprefix("-- "))
        cursor.execute("INSERT INTO products VALUES ('PRUNED', gen_random_uuid(), 2, 1)")
        cursor.execute(
            "INSERT INTO order_lines (id, orderid, sku, lineid, qty, cancelled, sequence, ended_at) "
            "VALUES (gen_random_uuid(), 'o', 'PRUNED', '', 1, true, 2, now() - interval '40 days')"
        )
        cursor.execute(f"SET LOCAL ROLE {make_url(databases['allocation_relay']).username}")
        cursor.execute("SELECT sku FROM products WHERE sku = 'PRUNED' FOR UPDATE SKIP LOCKED")
        cursor.execute(DELETE_LINES.format(due="sku = 'PRUNED'"))
        assert cursor.fetchall() == [(1,)]
        cursor.execute(DELETE_BATCHES.format(due="sku = 'PRUNED'"))
        connection.rollback()


@pytest.mark.parametrize(("group", "statement"), FORBIDDEN)
def test_a_role_may_do_no_more(databases: Urls, group: str, statement: str) -> None:
    with closing(psycopg2.connect(databases[group].replace("+psycopg2", ""))) as connection:
        cursor = connection.cursor()
        with pytest.raises(InsufficientPrivilege):
            cursor.execute(statement)


@pytest.mark.parametrize(
    ("user", "command"),
    [
        ("allocation-show", ("SET", "allocation:generation", "9")),
        ("allocation-show", ("DEL", "allocation:generation")),
        ("allocation-show", ("EVAL", "redis.call('DEL', KEYS[1])", "1", "allocation:generation")),
        ("allocation-show", ("GET", "sessions:1")),
        ("allocation-project", ("SET", "sessions:1", "mine")),
        ("allocation-project", ("FLUSHALL",)),
        ("allocation-project", ("CONFIG", "GET", "*")),
        ("allocation-project", ("ACL", "LIST")),
    ],
)
def test_a_redis_user_may_do_no_more(redis_urls: Urls, user: str, command: tuple[str, ...]) -> None:
    with Redis.from_url(redis_urls[user]) as client, pytest.raises(NoPermissionError):
        client.execute_command(*command)
