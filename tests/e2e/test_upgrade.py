"""Programs of an earlier version beside this one on one database."""

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from tempfile import TemporaryFile
from typing import NamedTuple, Self
from uuid import UUID

import psycopg2
import pytest
import sqlalchemy as sa
from sqlalchemy import make_url

from allocation_contracts import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    CreateBatch,
    Deallocate,
    Deallocated,
    Hold,
    Ship,
)
from allocation_worker.adapters.postgres.outbox import event_id
from allocation_worker.adapters.postgres.schema import REVISION
from allocation_worker.bootstrap import topology
from allocation_worker.config import load
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.waiting import wait_until
from harness.checker.events import check
from harness.checker.tables import check_tables, count_holds
from harness.client import ExternalClient
from harness.earlier_version import unpack_version
from harness.processes import WorkerProcess, run_verb
from harness.service import RunningService

LAST_OF_0001 = "84aabce"
"""The last commit whose tables are those of revision 0001."""
LAST_OF_0005 = "c01b094"
"""The same of revision 0005. Its programs know no line that waits, and neither ship nor hold."""

SKUS = 5

OLD_EVENTS = 1_000_000
OLD_UNPUBLISHED = 200_000
OLD_SKUS = 100


@pytest.fixture(scope="session")
def version_before(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """The environment variables with which the programs of the version before are started."""
    return unpack_version(LAST_OF_0001, tmp_path_factory.mktemp("version-before"))


class Upgrade(RunningService):
    """A service whose database was made by the version before."""

    def __init__(
        self, servers: Servers, folder: Path, version_before: Mapping[str, str], revision: str = "0001"
    ) -> None:
        super().__init__(servers, folder)
        self.before = version_before
        self.revision = revision

    def __enter__(self) -> Self:
        assert self.verb_before("migrate").stdout == f"The schema was at nothing, and is at {self.revision}.\n"
        topology.declare_topology(load(amqp_url=self.amqp_url))
        return self

    def verb_before(self, verb: str) -> subprocess.CompletedProcess[str]:
        """Run a verb of the version before."""
        return run_verb(verb, settings={**self.settings, **self.before})

    def start_before(self, verb: str) -> WorkerProcess:
        """Start a process of the version before, and wait until it is ready."""
        process = self.start(verb, settings=self.before)
        process.wait_for("ready")
        return process

    def start_now(self, verb: str) -> WorkerProcess:
        """Start a process of this version, and wait until it is ready."""
        process = self.start(verb)
        process.wait_for("ready")
        return process

    def rows(self, statement: str) -> list[sa.Row[tuple[object, ...]]]:
        engine = sa.create_engine(self.database_url)
        with engine.connect() as connection:
            found = list(connection.execute(sa.text(statement)))
        engine.dispose()
        return found


@pytest.fixture
def upgrade(servers: Servers, tmp_path: Path, version_before: Mapping[str, str]) -> Iterator[Upgrade]:
    with Upgrade(servers, tmp_path, version_before) as running:
        yield running


@pytest.fixture
def upgrade_of_0005(servers: Servers, tmp_path: Path) -> Iterator[Upgrade]:
    with Upgrade(servers, tmp_path, unpack_version(LAST_OF_0005, tmp_path / "before"), "0005") as running:
        yield running


def without_old_rules(faults: Sequence[str]) -> list[str]:
    """Leave out what programs of 0001 did by their rules: the last answered lost its stock first."""
    old = ("which asked first", "before one that asked later", "came before its answer")
    return [fault for fault in faults if not any(words in fault for words in old)]


def trade(client: ExternalClient, round_: int) -> None:
    """Commands of every kind, for all SKUs, with repeats of those of an earlier round."""
    for number in range(SKUS):
        sku = f"SKU-{number}"
        client.send(
            CreateBatch(batchref=f"b{round_}-{number}", sku=sku, qty=30), message_id=f"create-{round_}-{number}"
        )
        for line in range(10):
            order = Allocate(orderid=f"o{round_}-{line}", sku=sku, qty=2)
            client.send(order, message_id=f"order-{round_}-{number}-{line}")
        client.send(Deallocate(orderid=f"o{round_}-1", sku=sku), message_id=f"cancel-{round_}-{number}")
        client.send(ChangeBatchQuantity(batchref=f"b{round_}-{number}", qty=5), message_id=f"shrink-{round_}-{number}")
        if round_:
            again = Allocate(orderid=f"o{round_ - 1}-5", sku=sku, qty=2)
            client.send(again, message_id=f"order-{round_ - 1}-{number}-5")
    client.wait_confirmed()


def test_all_programs_are_replaced_one_by_one_and_nothing_is_lost_doubled_or_reordered(upgrade: Upgrade) -> None:
    with upgrade.client() as client:
        old_consume, old_relay = upgrade.start_before("consume"), upgrade.start_before("relay")
        trade(client, 0)
        client.wait_answered()
        old_relay.terminate()
        trade(client, 1)  # its events wait
        assert (
            run_verb("migrate", settings=upgrade.settings).stdout == f"The schema was at 0001, and is at {REVISION}.\n"
        )
        trade(client, 2)
        consume, relay = upgrade.start_now("consume"), upgrade.start_now("relay")
        old_relay = upgrade.start_before("relay")  # it has nothing to publish
        trade(client, 3)
        client.wait_answered()
        old_consume.terminate()
        old_consume = upgrade.start_before("consume")
        relay.terminate()
        relay = upgrade.start_now("relay")
        trade(client, 4)
        client.wait_answered()
        old_consume.terminate()
        old_relay.terminate()
        trade(client, 5)
        client.wait_answered()
        assert without_old_rules(upgrade.judge(client).faults) == []
        assert (consume.exit_code, relay.exit_code) == (None, None)
        assert upgrade.rows("SELECT FROM outbox") == []


def trade_anew(client: ExternalClient, sku: str) -> None:
    """Commands that the version before does not know, about its lines and about new ones."""
    now = datetime.now(UTC)
    client.send(CreateBatch(batchref=f"ship-{sku}", sku=sku, qty=8, eta=date(2031, 1, 1)))
    client.send(Ship(orderid="o0-0", sku=sku))
    client.send(ChangeLineQuantity(orderid="o4-2", sku=sku, qty=1, from_qty=2))
    for number in range(4):
        client.send(Allocate(orderid=f"w{number}", sku=sku, qty=2 + number, wait=True, priority=number % 2))
    client.send(Hold(orderid="lapses", sku=sku, qty=1, until=now + timedelta(seconds=1)))
    client.send(Hold(orderid="held", sku=sku, qty=1, until=now + timedelta(hours=20)))
    client.send(Hold(orderid="ordered", sku=sku, qty=1, until=now + timedelta(hours=20)))
    client.send(Allocate(orderid="ordered", sku=sku, qty=1, needed_by=date(2031, 1, 1)))
    client.send(ChangeBatchEta(batchref=f"ship-{sku}", eta=date(2031, 2, 1)))
    client.send(Deallocate(orderid="o4-3", sku=sku))
    client.send(ChangeBatchQuantity(batchref=f"ship-{sku}", qty=4))
    client.wait_confirmed()


def test_the_new_commands_are_taken_once_the_programs_of_0005_are_replaced(upgrade_of_0005: Upgrade) -> None:
    upgrade = upgrade_of_0005
    with upgrade.client() as client:
        old_consume, old_relay = upgrade.start_before("consume"), upgrade.start_before("relay")
        trade(client, 0)
        with ThreadPoolExecutor() as beside:
            migrating = beside.submit(run_verb, "migrate", settings=upgrade.settings)
            trade(client, 1)
            assert migrating.result().stdout == f"The schema was at 0005, and is at {REVISION}.\n"
        trade(client, 2)
        client.wait_answered()
        upgrade.start_now("consume")
        old_relay.terminate()
        upgrade.start_now("relay")
        trade(client, 3)
        client.wait_answered()
        old_consume.terminate()
        trade(client, 4)
        for number in range(SKUS):
            trade_anew(client, f"SKU-{number}")
            trade_anew(client, f"NEW-{number}")
        client.wait_answered()
        wait_until(
            lambda: not count_holds(upgrade.database_url, timedelta(hours=1)),
            within=30,
            otherwise=lambda: "Holds do not lapse.",
        )
        faults = upgrade.judge(client).faults
        assert without_old_rules(faults) == []
        assert [fault for fault in faults if "NEW-" in fault] == []


def test_a_message_that_one_version_has_taken_is_a_repeat_for_the_other(upgrade: Upgrade) -> None:
    create, order = CreateBatch(batchref="b", sku="SKU", qty=10), Allocate(orderid="o", sku="SKU", qty=1)
    with upgrade.client() as client:
        old_consume = upgrade.start_before("consume")
        client.send(create, message_id="first")
        client.wait_confirmed()
        run_verb("migrate", settings=upgrade.settings)
        upgrade.start_now("relay")
        client.wait_answered()
        old_consume.terminate()
        consume = upgrade.start_now("consume")
        client.send(create, message_id="first")
        client.ask(order, message_id="second")
        consume.terminate()
        upgrade.start_before("consume")
        client.send(order, message_id="second")
        client.send(create, message_id="first")
        client.ask(Allocate(orderid="last", sku="SKU", qty=1), message_id="third")
        assert without_old_rules(upgrade.judge(client).faults) == []
        assert len(upgrade.rows("SELECT FROM events")) == 3


def test_the_version_before_migrates_and_starts_on_the_new_tables(upgrade: Upgrade) -> None:
    assert run_verb("migrate", settings=upgrade.settings).returncode == 0
    again = upgrade.verb_before("migrate")
    assert (again.returncode, again.stdout, again.stderr) == (0, "The schema was at 0001, and is at 0001.\n", "")
    for verb in ("consume", "relay"):
        assert upgrade.start_before(verb).exit_code is None


class OldEvent(NamedTuple):
    """An event that stands in the outbox of the version before."""

    sku: str
    stream: bytes
    sequence: int
    message_id: str
    cause: str

    @property
    def body(self) -> str:
        answer = {"orderid": self.cause, "sku": self.sku, "lineid": "", "qty": 1, "batchref": None}
        return json.dumps({**answer, "sequence": self.sequence})


def old_event(number: int) -> OldEvent:
    """Return an event by its place in the outbox."""
    sku, sequence = f"OLD-{number % OLD_SKUS}", 1 + number // OLD_SKUS
    stream = UUID(int=number % OLD_SKUS, version=4).bytes
    return OldEvent(sku, stream, sequence, event_id(stream, sequence), f"old-{number}")


def fill_with_old_rows(database_url: str) -> None:
    """Write inbox and outbox as they stand after a million commands. The last events are not published."""
    dsn = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    columns = "message_id, type, sku, sequence, body, correlation_id, causation_id, published_at"
    with closing(psycopg2.connect(dsn)) as database, database, database.cursor() as cursor:
        for event in map(old_event, range(OLD_EVENTS - OLD_SKUS, OLD_EVENTS)):
            product = event.sku, str(UUID(bytes=event.stream)), event.sequence
            cursor.execute("INSERT INTO products VALUES (%s, %s, %s, 0)", product)
        with TemporaryFile("w+") as outbox:
            for number in range(OLD_EVENTS):
                event = old_event(number)
                published = "now" if number < OLD_EVENTS - OLD_UNPUBLISHED else "\\N"
                fields = (event.message_id, Deallocated.TYPE, event.sku, event.sequence, event.body)
                print(*fields, event.cause, event.cause, published, sep="\t", file=outbox)
            outbox.seek(0)
            cursor.copy_expert(f"COPY outbox ({columns}) FROM STDIN", outbox)
        cursor.execute(
            "INSERT INTO inbox (message_id, fingerprint) SELECT causation_id, sha256('') FROM outbox "
            "WHERE causation_id LIKE 'old-%'"
        )


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_million_rows_are_moved_between_traffic_of_both_versions(upgrade: Upgrade) -> None:
    with upgrade.client() as client:
        old_consume, old_relay = upgrade.start_before("consume"), upgrade.start_before("relay")
        trade(client, 0)
        client.wait_answered()
        old_relay.terminate()
        fill_with_old_rows(upgrade.database_url)
        trade(client, 1)
        with ThreadPoolExecutor() as beside:
            migrating = beside.submit(run_verb, "migrate", settings=upgrade.settings, within=600)
            trade(client, 2)
            assert migrating.result().stdout == f"The schema was at 0001, and is at {REVISION}.\n"
        upgrade.start_now("consume")
        old_consume.terminate()
        upgrade.start_now("relay")
        trade(client, 3)
        client.wait_answered(within=300)

        came = [event for event in client.received if event.causation_id.startswith("old-")]
        waited = [old_event(number) for number in range(OLD_EVENTS - OLD_UNPUBLISHED, OLD_EVENTS)]
        assert [(event.message_id, event.body, event.causation_id) for event in came] == [
            (event.message_id, event.body.encode(), event.cause) for event in waited
        ]
        report = check(client.sent, [event for event in client.received if not event.causation_id.startswith("old-")])
        check_tables(report, upgrade.database_url)
        assert without_old_rules(report.faults) == []
        assert upgrade.rows("SELECT count(*) FROM outbox UNION ALL SELECT count(*) FROM inbox") == [(0,), (0,)]
        moved = upgrade.rows("SELECT count(*) FROM events WHERE causation_id LIKE 'old-%' AND published_at IS NOT NULL")
        assert moved == [(OLD_EVENTS,)]
