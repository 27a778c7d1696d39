"""The compose file: each service has a login of its own and may do no more, and all connections are encrypted."""

import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager

import psycopg2
import pytest

from allocation_contracts import Allocate, CreateBatch
from allocation_contracts.amqp import Publisher, RefusedError
from allocation_worker.testing.waiting import wait_until
from tests.containers.stack import Stack, run

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

SERVICES = ("worker", "relay", "project")


@contextmanager
def superuser(stack: Stack) -> Iterator[psycopg2.extensions.cursor]:
    with closing(psycopg2.connect(stack.dsn)) as connection, connection.cursor() as cursor:
        yield cursor


def ctl(stack: Stack, *words: str) -> str:
    command = ["docker", "exec", stack.container("rabbitmq"), "rabbitmqctl", "--quiet", "--no-table-headers"]
    return run([*command, *words])


def test_an_order_goes_through_from_the_shop_to_the_read_model(stack: Stack) -> None:
    with Publisher(stack.amqp_url("purchasing")) as purchasing, Publisher(stack.amqp_url("shop")) as shop:
        purchasing.publish(CreateBatch(batchref="lamps", sku="LAMP", qty=10))
        shop.publish(Allocate(orderid="order-17", sku="LAMP", qty=3), message_id="order-17/1")
        with pytest.raises(RefusedError, match="ACCESS_REFUSED"):
            shop.publish(CreateBatch(batchref="stolen", sku="LAMP", qty=10))
    wait_until(
        lambda: "lamps" in stack.operator("show", "order", "order-17").stdout,
        within=60,
        otherwise=lambda: stack.compose("logs", "--no-color", "--tail=20"),
    )
    for words in (("explain", "order-17/1"), ("topology", "--check"), ("status", "--check"), ("verify",)):
        done = stack.operator(*words)
        assert done.returncode == 0, (words, done.stdout, done.stderr)


def test_each_service_has_a_login_of_its_own_and_encrypts(stack: Stack) -> None:
    expected = {("allocation-consume", "true"), ("allocation-relay", "true"), ("allocation-project", "true")}
    listed = ctl(stack, "list_connections", "user", "ssl")
    assert expected <= {tuple(line.split()) for line in listed.splitlines()}
    with superuser(stack) as cursor:
        cursor.execute(
            "SELECT DISTINCT usename, ssl FROM pg_stat_activity JOIN pg_stat_ssl USING (pid) WHERE usename LIKE 'shop%'"
        )
        assert set(cursor.fetchall()) == {("shop_consume", True), ("shop_relay", True), ("shop_project", True)}
        cursor.execute("SELECT DISTINCT tableowner FROM pg_tables WHERE schemaname = 'public'")
        assert cursor.fetchall() == [("shop_owner",)]
        cursor.execute("SELECT rolname FROM pg_roles WHERE rolname LIKE 'shop%' AND (rolsuper OR rolcreaterole)")
        assert cursor.fetchall() == []


def test_no_server_talks_without_encryption_or_password(stack: Stack) -> None:
    plain = stack.dsn.replace("verify-full", "disable")
    with pytest.raises(psycopg2.OperationalError, match=r"no pg_hba.conf entry.*no encryption"):
        psycopg2.connect(plain)
    listeners = run(["docker", "exec", stack.container("rabbitmq"), "rabbitmq-diagnostics", "--quiet", "listeners"])
    assert "protocol: amqp/ssl" in listeners
    assert "protocol: amqp," not in listeners
    assert "protocol: http," not in listeners
    redis = ["docker", "exec", stack.container("redis"), "redis-cli"]
    answer = run([*redis, "--tls", "--cacert", "/run/secrets/ca.pem", "GET", "allocation:generation"])
    assert answer.startswith("NOAUTH")
    refused = subprocess.run([*redis, "ping"], capture_output=True, text=True, timeout=60, check=False)
    assert "PONG" not in refused.stdout


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_sees_no_password_but_its_own(stack: Stack, service: str) -> None:
    name = stack.container(service)
    folder = stack.secrets / {"worker": "consume"}.get(service, service)
    assert run(["docker", "exec", name, "ls", "/run/secrets"]).split() == sorted(path.name for path in folder.iterdir())
    environment = run(["docker", "inspect", "--format", "{{json .Config.Env}}", name])
    assert "://" not in environment
    assert "PASSWORD" not in environment


def test_nobody_else_on_the_host_reads_the_secrets(stack: Stack) -> None:
    assert stack.secrets.stat().st_mode & 0o077 == 0


def test_a_second_start_keeps_passwords_and_certificates(stack: Stack) -> None:
    kept = ("passwords.json", "ca.pem", "postgres/tls.pem", "consume/allocation_amqp_url")
    before = [(stack.secrets / name).read_text() for name in kept]
    stack.compose("up", "--no-build", "--detach")
    assert [(stack.secrets / name).read_text() for name in kept] == before


def test_the_broker_limits_the_queues_of_commands(stack: Stack) -> None:
    assert "max-length-bytes" in ctl(stack, "list_operator_policies", "--vhost", "allocation")
