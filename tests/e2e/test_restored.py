"""A base backup is restored while the broker and the subscribers are ahead of it."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import psycopg2
import pytest

from allocation_contracts import Allocate, Command, CreateBatch, Position
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.local_database import LocalDatabase
from allocation_worker.testing.servers.programs import missing_programs, private_folder
from allocation_worker.testing.servers.redis_server import RedisServer
from allocation_worker.testing.waiting import wait_until
from harness.checker import read_model as comparing
from harness.client import ExternalClient
from harness.processes import run_verb
from harness.service import RunningService


@dataclass
class Shop:
    """A service whose database can be backed up and restored."""

    service: RunningService
    client: ExternalClient
    server: LocalDatabase

    def start(self) -> None:
        for verb in ("consume", "relay", "project"):
            self.service.start(verb).wait_for("ready")

    def stop(self) -> None:
        for process in self.service.processes:
            process.terminate()

    def back_up(self) -> LocalDatabase:
        """As by pg_basebackup."""
        return LocalDatabase(self.server.folder.parent, name="backup", primary=self.server)

    def restore(self, backup: LocalDatabase) -> None:
        """The server is lost, and what was backed up takes its place."""
        self.stop()
        self.server.kill()
        backup.start()
        backup.execute("SELECT pg_promote()")
        address = self.service.database_url.replace(f":{self.server.port}/", f":{backup.port}/")
        self.service.database_url = self.service.settings["ALLOCATION_DATABASE_URL"] = address
        self.server = backup

    def ask(self, orders: dict[str, Command]) -> None:
        """Publish these under their names as message_ids, and wait for one more answer to each."""
        before = {name: len(self.client.answers(name)) for name in orders}
        for name, command in orders.items():
            self.client.send(command, message_id=name)
        self.client.wait_confirmed()
        wait_until(
            lambda: all(len(self.client.answers(name)) > count for name, count in before.items()),
            within=60,
            otherwise=lambda: self.service.logs()[-3000:],
        )

    def differences(self) -> list[str]:
        return comparing.compare(
            comparing.read_model(self.service.settings["ALLOCATION_REDIS_URL"]),
            comparing.write_model(self.service.database_url),
        )

    def wait_until_the_read_model_is_level(self, *, but: Sequence[str] = ()) -> None:
        wait_until(
            lambda: self.differences() == list(but),
            within=60,
            otherwise=lambda: "\n".join([*self.differences(), self.service.logs()[-3000:]]),
        )


@pytest.fixture
def shop(servers: Servers, redis_server: RedisServer, tmp_path: Path) -> Iterator[Shop]:
    if missing := missing_programs():
        pytest.skip(f"only an installed server can be backed up here; missing: {', '.join(missing)}")
    with private_folder() as folder:
        server = LocalDatabase(folder)
        server.start()
        settings = {"ALLOCATION_REDIS_URL": redis_server.new_database()}
        with (
            RunningService(replace(servers, database=server), tmp_path, settings) as service,
            service.client() as client,
        ):
            shop = Shop(service, client, server)
            yield shop
        shop.server.stop("immediate")


def orders(sku: str, *names: str) -> dict[str, Command]:
    return {name: Allocate(orderid=name, sku=sku, qty=1) for name in names}


def test_everything_new_is_new_to_everyone(shop: Shop) -> None:
    shop.start()
    shop.ask({"b": CreateBatch(batchref="b", sku="OLD", qty=100), **orders("OLD", "1", "2", "3")})
    shop.wait_until_the_read_model_is_level()
    backup = shop.back_up()

    # What the backup does not have: orders, and a product.
    since: dict[str, Command] = {"late": CreateBatch(batchref="late", sku="NEW", qty=9), **orders("NEW", "4", "5")}
    shop.ask(since | orders("OLD", "6", "7", "8"))
    shop.wait_until_the_read_model_is_level()
    seen = list(shop.client.received)
    shop.restore(backup)
    before = run_verb("restored", settings=shop.service.settings)
    assert (before.returncode, before.stderr) == (0, "")
    assert "Restoration 1. Products: 1. The next event of each has the sequence 2000000001.\n" in before.stdout

    shop.start()
    # The product that was lost is shown without stock. Its number stays, so that its next event follows.
    shop.wait_until_the_read_model_is_level(but=["SKU NEW: the read model says 2000000000, the write model None."])
    # The orders come again in another order, and are decided anew.
    shop.ask(since | orders("OLD", "8", "9"))
    new = shop.client.received[len(seen) :]
    assert len(new) == 5
    assert {event.message_id for event in new}.isdisjoint(event.message_id for event in seen)
    for sku in ("OLD", "NEW"):
        position = Position(max(event.data["sequence"] for event in seen if event.data["sku"] == sku))
        for event in (event for event in new if event.data["sku"] == sku):
            assert not position.has_seen(event.data["sequence"])
            position = position.after(event.data["sequence"])
        assert len(position.missing) == 1, "a subscriber is to see one gap"
    shop.wait_until_the_read_model_is_level()
    found = run_verb("verify", settings=shop.service.settings)
    assert (found.returncode, found.stderr) == (0, ""), found.stdout
    assert "Notice: The database was restored from a backup at" in found.stdout


def test_it_refuses_while_a_process_is_connected(shop: Shop) -> None:
    for verb in ("consume", "relay", "project"):
        process = shop.service.start(verb)
        process.wait_for("ready")
        refused = run_verb("restored", settings=shop.service.settings)
        process.terminate()
        assert refused.returncode == 1
        assert refused.stderr == (
            f"Processes are connected to the database (allocation-worker {verb}); stop consume, relay and project, "
            "then run `allocation-worker restored` again.\n"
        )
    assert run_verb("restored", settings=shop.service.settings).returncode == 0


def test_it_can_be_repeated_and_keeps_an_older_program_away(shop: Shop) -> None:
    numbers = [run_verb("restored", "--json", settings=shop.service.settings).stdout for _ in range(2)]
    assert ['"number": 1' in numbers[0], '"number": 2' in numbers[1]] == [True, True]
    assert '"sequence": 4000000000' in numbers[1]
    with closing(psycopg2.connect(shop.service.database_url.replace("+psycopg2", ""))) as connection:
        cursor = connection.cursor()
        cursor.execute("SELECT oldest_program FROM schema_revision")
        assert cursor.fetchall() == [("0004",)]
