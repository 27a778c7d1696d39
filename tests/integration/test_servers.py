"""The private servers that other tests use."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pika
import psycopg2
import pytest
from sqlalchemy import make_url
from tenacity import Retrying, stop_after_delay, wait_fixed

from allocation_worker.testing.servers import Broker, Database, NoServersError, NotOursError, Servers, start_servers
from allocation_worker.testing.servers.local import LocalBroker, local_servers
from allocation_worker.testing.servers.local_database import LocalDatabase
from allocation_worker.testing.servers.programs import ProgramError, missing_programs, private_folder
from allocation_worker.testing.servers.reaper import processes_of

needs_programs = pytest.mark.skipif(bool(missing_programs()), reason="RabbitMQ or PostgreSQL is not installed")


@pytest.fixture(scope="module")
def local() -> Iterator[tuple[LocalBroker, LocalDatabase]]:
    with local_servers() as servers:
        yield servers


def publish(amqp_url: str, queue: str) -> None:
    with closing(pika.BlockingConnection(pika.URLParameters(amqp_url))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum"})
        channel.basic_publish("", queue, b"{}", pika.BasicProperties(delivery_mode=2), mandatory=True)


def ask(database_url: str, question: str) -> object:
    dsn = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(question)
        row = cursor.fetchone() if cursor.description else None
        return row[0] if row else None


def test_no_two_servers_are_given_the_same_port() -> None:
    ask_for_many = (
        "from allocation_worker.testing.servers.programs import free_port\n"
        "print(*[free_port() for _ in range(400)], flush=True)\n"
        "input()"  # until the other has its own
    )
    askers = [
        subprocess.Popen([sys.executable, "-c", ask_for_many], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(2)
    ]
    ports = [port for asker in askers if asker.stdout for port in asker.stdout.readline().split()]
    for asker in askers:
        asker.communicate(b"\n")
    assert len(ports) == 800
    assert len(set(ports)) == 800


def test_virtual_hosts_are_separate(servers: Servers) -> None:
    one, other = servers.broker.new_vhost(), servers.broker.new_vhost()

    publish(one, "orders")

    assert servers.broker.queue_depths(one) == {"orders": 1}
    assert servers.broker.queue_depths(other) == {}


def test_databases_are_separate_and_can_be_dropped(servers: Servers) -> None:
    one, other = servers.database.new_database(), servers.database.new_database()

    ask(one, "CREATE TABLE batches ()")

    assert ask(one, "SELECT count(*) FROM pg_tables WHERE tablename = 'batches'") == 1
    assert ask(other, "SELECT count(*) FROM pg_tables WHERE tablename = 'batches'") == 0
    servers.database.drop(one)
    with pytest.raises(psycopg2.OperationalError, match="does not exist"):
        ask(one, "SELECT 1")


@needs_programs
def test_a_killed_broker_comes_back_with_its_messages(local: tuple[LocalBroker, LocalDatabase]) -> None:
    broker, _ = local
    vhost = broker.new_vhost()
    publish(vhost, "orders")
    broker.save_queue_names()

    broker.kill()
    broker.start()

    for attempt in Retrying(stop=stop_after_delay(20), wait=wait_fixed(0.1), reraise=True):
        with attempt:  # until the queue has elected its leader, it counts as empty
            assert broker.queue_depths(vhost) == {"orders": 1}


@pytest.mark.long
@needs_programs
def test_a_stopped_broker_refuses_connections_until_it_is_started(local: tuple[LocalBroker, LocalDatabase]) -> None:
    broker, _ = local
    broker.stop()
    with pytest.raises(ConnectionRefusedError):
        broker.check()

    broker.start()

    broker.check()


@needs_programs
def test_a_broker_takes_commands(local: tuple[LocalBroker, LocalDatabase]) -> None:
    broker, _ = local

    assert broker.new_vhost().rpartition("/")[2] in broker.ctl("list_vhosts")
    with pytest.raises(ProgramError, match="no-such-command"):
        broker.ctl("no-such-command")


@needs_programs
@pytest.mark.parametrize("mode", ["fast", "immediate"])
def test_a_stopped_database_comes_back_with_its_rows(local: tuple[LocalBroker, LocalDatabase], mode: str) -> None:
    _, database = local
    url = database.new_database()
    ask(url, "CREATE TABLE batches AS SELECT 10 AS qty")

    database.stop("fast" if mode == "fast" else "immediate")
    with pytest.raises(psycopg2.OperationalError):
        ask(url, "SELECT 1")
    database.start()

    assert ask(url, "SELECT qty FROM batches") == 10


@needs_programs
def test_the_database_is_durable(local: tuple[LocalBroker, LocalDatabase]) -> None:
    _, database = local

    assert [ask(database.admin_url, f"SHOW {name}") for name in ("fsync", "synchronous_commit")] == ["on", "on"]


@needs_programs
def test_nothing_is_left_after_an_exception() -> None:
    with pytest.raises(MishapError) as mishap:
        start_and_fail()

    (folder,) = mishap.value.args
    assert not folder.exists()
    assert processes_of(folder) == []


class MishapError(Exception):
    """Carries the folder of the servers that it interrupted."""


def start_and_fail() -> None:
    with local_servers() as (broker, _):
        assert processes_of(broker.folder.parent)
        raise MishapError(broker.folder.parent)


@needs_programs
@pytest.mark.parametrize(
    "sign", [signal.SIGKILL, *(pytest.param(sign, marks=pytest.mark.long) for sign in (signal.SIGTERM, signal.SIGINT))]
)
def test_nothing_is_left_of_a_process_that_was_ended(sign: signal.Signals, tmp_path: Path) -> None:
    environment = {**os.environ, "ALLOCATION_TEST_SERVERS": "programs", "TMPDIR": "/tmp"}  # noqa: S108 - short, and open
    command = [sys.executable, "-m", "allocation_worker.testing.servers"]
    log = (tmp_path / "errors").open("w")
    with log, subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(4)]
        (folder,) = (found for found in Path("/tmp").glob("allocation-servers-*") if opened_by(process.pid, found))  # noqa: S108
        process.send_signal(sign)

    assert [line.split("=")[0] for line in lines[1:]] == [
        "export ALLOCATION_MANAGEMENT_URL",
        "export ALLOCATION_AMQP_URL",
        "export ALLOCATION_DATABASE_URL",
    ]
    for attempt in Retrying(stop=stop_after_delay(20), wait=wait_fixed(0.1), reraise=True):
        with attempt:
            assert not folder.exists()
            assert processes_of(folder) == []


def test_who_asks_for_help_gets_no_servers() -> None:
    command = [sys.executable, "-m", "allocation_worker.testing.servers", "--help"]
    told = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60).stdout
    assert "Start both servers, print their addresses" in told
    assert "export " not in told


def opened_by(pid: int, folder: Path) -> bool:
    """Whether one of the folder's processes is a child of this process."""
    return any(f"PPid:\t{pid}\n" in Path(f"/proc/{child}/status").read_text() for child in processes_of(folder))


def test_without_any_way_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOCATION_TEST_SERVERS", "given")
    monkeypatch.delenv("ALLOCATION_AMQP_URL", raising=False)

    with pytest.raises(NoServersError, match="install rabbitmq-server and postgresql"), start_servers():
        pass


def test_an_unknown_way_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALLOCATION_TEST_SERVERS", "magic")

    with pytest.raises(NoServersError, match="containers, programs, given"), start_servers():
        pass


@needs_programs
def test_servers_that_are_only_named_are_never_used(monkeypatch: pytest.MonkeyPatch) -> None:
    """The addresses are those of production, too."""
    monkeypatch.delenv("ALLOCATION_TEST_SERVERS", raising=False)
    monkeypatch.setenv("ALLOCATION_AMQP_URL", "amqp://production.example.net")
    monkeypatch.setenv("ALLOCATION_DATABASE_URL", "postgresql://production.example.net/stock")
    with start_servers() as servers:
        assert servers.how in {"containers", "programs"}
        assert "production" not in servers.amqp_url + servers.database_url


@needs_programs
def test_given_servers_are_left_as_they_were(
    local: tuple[LocalBroker, LocalDatabase], monkeypatch: pytest.MonkeyPatch
) -> None:
    broker, database = local
    monkeypatch.setenv("ALLOCATION_TEST_SERVERS", "given")
    monkeypatch.setenv("ALLOCATION_AMQP_URL", broker.amqp_url)
    monkeypatch.setenv("ALLOCATION_MANAGEMENT_URL", broker.management_url)
    monkeypatch.setenv("ALLOCATION_DATABASE_URL", database.admin_url)
    before = (broker.ctl("list_vhosts"), ask(database.admin_url, "SELECT count(*) FROM pg_database"))

    with start_servers() as servers:
        assert servers.how == "given"
        publish(servers.amqp_url, "orders")
        with pytest.raises(NotOursError):
            servers.database.stop()

    assert (broker.ctl("list_vhosts"), ask(database.admin_url, "SELECT count(*) FROM pg_database")) == before


def test_a_folder_without_servers_is_removed_as_well() -> None:
    with private_folder() as folder:
        assert folder.is_dir()

    assert not folder.exists()


def test_a_server_that_is_not_ours_takes_no_orders() -> None:
    broker, database = Broker(amqp_url="amqp://", management_url="http://"), Database(admin_url="postgresql://")

    for order in (broker.stop, broker.start, broker.kill, broker.ctl, database.stop, database.start):
        with pytest.raises(NotOursError):
            order()
