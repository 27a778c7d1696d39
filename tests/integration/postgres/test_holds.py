"""Holds lapse by the clock of the database, each once, whoever ends them."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

from allocation_worker.adapters.postgres.holds import PostgresDueHolds
from allocation_worker.domain.commands import Allocate, Hold
from allocation_worker.service_layer.lapse import LONG_QUEUE, HoldLapser
from tests.fakes.messages import message
from tests.integration.postgres.staging import BUS, create, process
from tests.integration.postgres.store import PostgresStore

LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


def hold(orderid: str, sku: str = "LAMP", until: datetime = LONG_AGO) -> Hold:
    return Hold(orderid=orderid, sku=sku, qty=1, until=until)


def lapser(store: PostgresStore) -> HoldLapser:
    return HoldLapser(PostgresDueHolds(store.engine), BUS, store.unit_of_work)


def lapsed(store: PostgresStore) -> list[tuple[str, str]]:
    published = store.published()
    return [(event.body["orderid"], event.causation_id) for event in published if event.type == "hold-lapsed.v1"]


def test_those_due_are_found_the_first_first(store: PostgresStore) -> None:
    later = LONG_AGO + timedelta(hours=1)
    process(
        store.unit_of_work,
        message(create("b", 9)),
        message(hold("second", until=later)),
        message(hold("first"), "m-first", correlation_id="basket"),
        message(hold("not-yet", until=datetime.now(UTC) + timedelta(hours=1))),
    )
    found = PostgresDueHolds(store.engine).find(9, ())
    assert [each.orderid for each in found] == ["first", "second"]
    assert found[0][3:5] == ("m-first", "basket")
    assert PostgresDueHolds(store.engine).find(9, {"LAMP"}) == []


def test_a_long_queue_is_seen(store: PostgresStore) -> None:
    process(
        store.unit_of_work,
        message(create("b", 1)),
        message(create("v", 1, "VASE")),
        message(hold("o1")),
        message(hold("o2", "VASE")),
    )
    waiting = [Allocate(orderid=f"w{number}", sku="LAMP", qty=1, wait=True) for number in range(LONG_QUEUE)]
    process(store.unit_of_work, *map(message, waiting[1:]))
    assert [each.has_long_queue for each in PostgresDueHolds(store.engine).find(9, ())] == [False, False]
    process(store.unit_of_work, message(waiting[0]))
    found = PostgresDueHolds(store.engine).find(9, ())
    assert {each.sku: each.has_long_queue for each in found} == {"LAMP": True, "VASE": False}


def test_each_lapses_once_however_many_end_holds(store: PostgresStore) -> None:
    orders = [f"o{number}" for number in range(20)]
    process(store.unit_of_work, message(create("b", 20)), *(message(hold(each), each) for each in orders))
    with ThreadPoolExecutor(4) as pool:
        for ended in [pool.submit(lapser(store).step) for _ in range(4)]:
            ended.result()
    while lapser(store).step():
        pass
    assert sorted(lapsed(store)) == sorted((each, each) for each in orders)
    assert store.stock() == {"b": (20, 0)}


def test_holds_of_a_locked_product_do_not_keep_others(store: PostgresStore) -> None:
    process(
        store.unit_of_work,
        message(create("b", 9)),
        message(create("v", 9, "VASE")),
        message(hold("o1")),
        message(hold("o2", "VASE"), "m2"),
    )
    ending = lapser(store)
    with store.unit_of_work() as uow:
        uow.products.get("LAMP")
        ending.step()
        assert lapsed(store) == [("o2", "m2")]
        assert not ending.step()


def test_a_hold_of_a_batch_of_another_sku_keeps_no_others(store: PostgresStore) -> None:
    """As after a write by another program: it seems each time as if somebody had just created that SKU."""
    process(
        store.unit_of_work,
        message(create("b", 9)),
        message(create("v", 9, "VASE")),
        message(hold("wrong")),
        message(hold("right", "VASE"), "m2"),
    )
    store.execute("UPDATE order_lines SET batchref = 'v' WHERE orderid = 'wrong'")
    ending = lapser(store)
    while ending.step():
        pass
    assert lapsed(store) == [("right", "m2")]
