"""Rows that programs of the revisions between 0005 and the newest have written are gone on with."""

import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from uuid import UUID

import pytest

from allocation_worker.adapters.postgres import migrate as migration
from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.holds import PostgresDueHolds
from allocation_worker.adapters.postgres.migrate import migrate
from allocation_worker.adapters.postgres.rows import line_uuid
from allocation_worker.adapters.postgres.schema import REVISION as NEWEST
from allocation_worker.adapters.postgres.status import look_at_lines
from allocation_worker.domain.commands import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CreateBatch,
    Deallocate,
    Ship,
)
from allocation_worker.service_layer.lapse import HoldLapser
from tests.fakes.messages import message
from tests.integration.postgres.staging import BUS, create, order, process
from tests.integration.postgres.store import PostgresStore
from tests.integration.postgres.test_pruned_lines import prune, tables
from tests.integration.postgres.test_verify import look, sentences

WAS_DUE, WAS_LATER, IS_DUE = date(2030, 1, 1), date(2030, 1, 2), date(2030, 1, 3)
WAITS = Allocate(orderid="waits", sku="LAMP", qty=3, wait=True)
BACKORDERED = {
    "orderid": "waits",
    "sku": "LAMP",
    "lineid": "",
    "qty": 3,
    "largest_available": 2,
    "next_eta": None,
    "sequence": 10,
}

Row = tuple[str, Mapping[str, object]]
"""A statement, and its parameters."""


def row(table: str, **columns: object) -> Row:
    names, values = ", ".join(columns), ", ".join(f":{name}" for name in columns)
    return f"INSERT INTO {table} ({names}) VALUES ({values})", columns  # noqa: S608 - constants


def batch(reference: str, qty: int, arrival: int, **more: object) -> Row:
    """A batch of which all is allocated."""
    counted = {"purchased": qty, "allocated": qty, "created_qty": qty, "arrival": arrival, "sequence": arrival}
    return row("batches", reference=reference, sku="LAMP", **counted, **more)


def line(orderid: str, qty: int, sequence: int, **more: object) -> Row:
    key = line_uuid(("LAMP", (orderid, "")))
    columns = {"cancelled": False, **more}
    return row("order_lines", id=key, sku="LAMP", orderid=orderid, lineid="", qty=qty, sequence=sequence, **columns)


def product(**columns: object) -> Row:
    """A change of the product."""
    return f"UPDATE products SET {', '.join(f'{name} = :{name}' for name in columns)}", columns  # noqa: S608 - as above


# What was new in each revision, as its programs wrote it.
ROWS: Mapping[str, Sequence[Row]] = {
    "0006": [
        row("products", sku="LAMP", stream=str(UUID(int=1)), sequence=20, batches_arrived=2),
        batch("here", 10, 1),
        batch("coming", 4, 2, eta=WAS_LATER, created_eta=WAS_DUE, eta_changed=True),
        line("moved", 4, 9, batchref="here", place=3),
        line("asked-last", 6, 4, batchref="here"),
        line("told", 4, 5, batchref="coming"),
        line("cancelled", 1, 6, cancelled=True),
        line("sold-out", 99, 7),
    ],
    "0007": [
        line("waits", 3, 10, wait=True, priority=0, answer=f"backordered.v1 {json.dumps(BACKORDERED)}"),
        product(smallest_waiting=3),
    ],
    "0008": [
        batch("sent", 2, 3, shipped=2),
        line("shipped", 2, 13, batchref="sent", place=12, shipped=True),
        product(batches_arrived=3),
    ],
    "0009": [
        batch("shelf", 1, 4),
        line("basket", 1, 15, batchref="shelf", held_until=datetime(2026, 1, 1, tzinfo=UTC), held_by="m\nbasket"),
        product(batches_arrived=4),
    ],
    "0010": [
        row("pruned_batches", reference="gone", sku="LAMP"),
        ("UPDATE order_lines SET ended_at = now() - interval '1 day' WHERE shipped", {}),
        product(batches_arrived=5),
    ],
}


@pytest.fixture(params=ROWS)
def revision(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def shop(database_url: str, revision: str) -> Iterator[PostgresStore]:
    """A shop of that revision, upgraded to the newest."""
    engine = create_engine(database_url, application_name="tests", statement_timeout=None, lock_timeout=0)
    migration._upgrade(engine, revision)
    store = PostgresStore(engine)
    for statement, parameters in (row for since, rows in ROWS.items() if since <= revision for row in rows):
        store.execute(statement, **parameters)
    assert migrate(engine) == (revision, NEWEST)
    yield store
    engine.dispose()


def answers(store: PostgresStore, command: Command) -> list[tuple[str, object]]:
    """The events that a command leads to: the type, or the reason of a rejection, and the line or else the batch."""
    asked = message(command)
    process(store.unit_of_work, asked)
    return [
        (
            event.body["reason"] if event.type == "command-rejected.v1" else event.type,
            event.body.get("orderid") or event.body.get("batchref"),
        )
        for event in store.published()
        if event.causation_id == asked.message_id
    ]


def test_what_was_written_at_each_revision_is_gone_on_with(shop: PostgresStore, revision: str) -> None:
    waits, ships, holds, prunes = (revision >= since for since in ("0007", "0008", "0009", "0010"))

    # Announced again as it was.
    assert answers(shop, order("moved", 4)) == [("allocated.v1", "moved")]
    assert shop.published()[-1].sequence == 9
    again = CreateBatch(batchref="coming", sku="LAMP", qty=4, eta=WAS_DUE)
    assert answers(shop, again) == [("batch-created.v1", "coming")]
    assert answers(shop, order("cancelled", 1)) == [("line-cancelled", None)]
    assert look_at_lines(shop.engine).waiting == waits
    if waits:
        assert answers(shop, WAITS) == [("backordered.v1", "waits")]
        assert shop.published()[-1].body == BACKORDERED
    if ships:
        assert answers(shop, Ship(orderid="shipped", sku="LAMP")) == [("shipped.v1", "shipped")]
        assert answers(shop, Deallocate(orderid="shipped", sku="LAMP")) == [("line-shipped", None)]
    if prunes:
        assert answers(shop, create("gone", 1)) == [("batch-exists", None)]

    # The hold lapses, and whoever asked for it is told.
    HoldLapser(PostgresDueHolds(shop.engine), BUS, shop.unit_of_work).step()
    lapsed = [event for event in shop.published() if event.type == "hold-lapsed.v1"]
    assert [(event.causation_id, event.correlation_id) for event in lapsed] == holds * [("m", "basket")]
    assert sentences(look(shop)) == []

    # A line without a place has that of its last answer. So the one that was moved had asked first.
    assert answers(shop, ChangeBatchQuantity(batchref="here", qty=4)) == [
        ("batch-quantity-changed.v1", "here"),
        ("deallocated.v1", "asked-last"),
        ("out-of-stock.v1", "asked-last"),
    ]
    # A later day is told, with the one before it; the line that waits gets what is given back.
    assert answers(shop, ChangeBatchEta(batchref="coming", eta=IS_DUE)) == [
        ("batch-eta-changed.v1", "coming"),
        ("promise-changed.v1", "told"),
    ]
    assert shop.published()[-1].body["previous_eta"] == WAS_LATER.isoformat()
    served = waits * [("allocated.v1", "waits")]
    assert answers(shop, Deallocate(orderid="told", sku="LAMP")) == [("deallocated.v1", "told"), *served]
    assert look_at_lines(shop.engine).waiting == 0

    # What was new since is taken for the old rows as well.
    assert answers(shop, create("new", 20)) == [("batch-created.v1", "new")]
    more = ChangeLineQuantity(orderid="moved", sku="LAMP", qty=5)
    assert answers(shop, more) == [("line-quantity-changed.v1", "moved")]
    assert answers(shop, Ship(orderid="moved", sku="LAMP")) == [("shipped.v1", "moved")]
    assert sentences(look(shop)) == []

    # Those that have ended since go; of those from before, whose end was not noted, this round notes it.
    lines, _ = tables(shop)
    assert prune(shop, lines) == len(["asked-last", "told", "moved"]) + holds + prunes
    assert prune(shop, lines) == len(["cancelled", "sold-out"]) + (ships and not prunes)
    assert sentences(look(shop)) == []


class TestAnOlderProgramAnswersALineThatWaits:
    """It knows neither those that wait nor what the column `answer` is for."""

    @pytest.fixture
    def waiting(self, store: PostgresStore) -> PostgresStore:
        for command in (create("b", 1), order("holds"), WAITS):
            process(store.unit_of_work, message(command))
        return store

    def test_it_has_found_stock(self, waiting: PostgresStore) -> None:
        waiting.execute(
            "INSERT INTO batches (reference, sku, purchased, allocated, arrival, created_qty, sequence) "
            "VALUES ('new', 'LAMP', 3, 3, 2, 3, 4)"
        )
        waiting.execute("UPDATE order_lines SET batchref = 'new', sequence = 5 WHERE orderid = 'waits'")
        waiting.execute("UPDATE products SET batches_arrived = 2, sequence = 5")
        assert answers(waiting, WAITS) == [("allocated.v1", "waits")]
        assert waiting.published()[-1].sequence == 5

    def test_it_has_found_none(self, waiting: PostgresStore) -> None:
        waiting.execute("UPDATE order_lines SET sequence = 4 WHERE orderid = 'waits'")
        waiting.execute("UPDATE products SET sequence = 4")
        for _ in range(2):
            assert answers(waiting, WAITS) == [("backordered.v1", "waits")]
            assert waiting.published()[-1].sequence == 5
