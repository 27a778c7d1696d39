"""What `show` asks the database, for the fake and for PostgreSQL."""

from dataclasses import replace
from datetime import UTC, date, datetime

from allocation_worker.domain.commands import (
    Allocate,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CreateBatch,
    Deallocate,
    Hold,
    Ship,
)
from allocation_worker.service_layer.outcomes import Done
from allocation_worker.service_layer.ports.show import BatchUse, LineQueue, SkuQueue, WaitingLine
from tests.contract.conftest import Store
from tests.fakes.messages import message
from tests.integration.postgres.staging import create, order, process

DAY = date(2030, 1, 5)
LONG_AGO = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 1, 1, 13, tzinfo=UTC)


def given(store: Store, *commands: Command) -> None:
    """One transaction for each."""
    for command in commands:
        assert process(store.unit_of_work, message(command)) == [Done()]


def wait(orderid: str, qty: int, *, sku: str = "LAMP", priority: int = 0, needed_by: date | None = None) -> Allocate:
    return replace(order(orderid, qty, sku), wait=True, priority=priority, needed_by=needed_by)


def hold(orderid: str, qty: int, *, until: datetime = LONG_AGO) -> Hold:
    return Hold(orderid=orderid, sku="LAMP", qty=qty, until=until)


def queue(store: Store, sku: str = "LAMP", limit: int = 9) -> LineQueue:
    with store.open_lines() as lines:
        return lines.queue(sku, limit)


def waiting(store: Store, *orderids: str) -> list[WaitingLine]:
    with store.open_lines() as lines:
        return list(lines.waiting([(orderid, "LAMP", "") for orderid in orderids]))


def test_the_queue_stands_in_the_order_in_which_it_is_served(store: Store) -> None:
    given(
        store,
        create("b", 1),
        wait("first", 2),
        wait("second", 3),
        wait("urgent", 4, priority=9, needed_by=DAY),
        order("no-wait", 5),
        create("v", 1, "VASE"),
        wait("other", 6, sku="VASE"),
    )
    found = queue(store)
    assert [(line.orderid, line.qty, line.priority, line.needed_by, line.before) for line in found.lines] == [
        ("urgent", 4, 9, DAY, 0),
        ("first", 2, 0, None, 1),
        ("second", 3, 0, None, 2),
    ]
    since = {line.orderid: line.since for line in found.lines}
    assert (found.total, found.qty, found.since) == (3, 9, since["first"])
    shortened = queue(store, limit=1)
    assert ([line.orderid for line in shortened.lines], shortened[1:]) == (["urgent"], found[1:])
    assert queue(store, "NEVER-SEEN") == LineQueue([], 0, 0, None)


def test_a_sku_is_known_from_its_first_batch_on(store: Store) -> None:
    given(store, create("b", 1), order("o", 1, sku="NEVER-SEEN"))
    with store.open_lines() as lines:
        assert [lines.knows(sku) for sku in ("LAMP", "NEVER-SEEN")] == [True, False]


def test_a_line_has_its_turn_behind_those_that_are_served_before_it(store: Store) -> None:
    given(store, create("b", 1), wait("second", 2), wait("third", 3), wait("first", 4, priority=1), order("fits", 1))
    lines = waiting(store, "third", "first", "fits", "never-seen")
    assert [(line.orderid, line.before) for line in lines] == [("first", 0), ("third", 2)]
    assert lines == [line for line in sorted(queue(store).lines) if line.orderid != "second"]


def test_a_line_waits_since_it_began_to_whatever_is_asked_for_it_meanwhile(store: Store) -> None:
    def since(orderid: str) -> datetime:
        [line] = waiting(store, orderid)
        assert line.since
        return line.since

    given(store, create("b", 1), wait("o", 5), wait("later", 5))
    began = since("o")
    assert began < since("later")
    given(
        store,
        wait("o", 4),
        wait("o", 9),
        ChangeLineQuantity(orderid="o", sku="LAMP", qty=8),
        ChangeBatchQuantity(batchref="b", qty=2),
    )
    assert since("o") == began
    given(store, order("o", 8), wait("o", 8))
    assert since("o") > since("later")


def test_a_line_that_lost_its_stock_waits_since_then(store: Store) -> None:
    given(store, create("b", 9), wait("o", 5), wait("later", 9), ChangeBatchQuantity(batchref="b", qty=1))
    [victim, later] = queue(store).lines
    assert (victim.orderid, later.orderid) == ("o", "later")
    assert victim.since
    assert later.since
    assert victim.since > later.since
    given(store, ChangeBatchQuantity(batchref="b", qty=9))
    assert [line.orderid for line in queue(store).lines] == ["later"]


def test_lines_that_begin_to_wait_in_one_large_group_have_their_time_too(store: Store) -> None:
    process(store.unit_of_work, message(create("b", 1)), *(message(wait(f"o{number}", 2)) for number in range(150)))
    found = queue(store, limit=150)
    assert {line.since for line in found.lines} == {found.since}
    assert found.since is not None


def test_the_skus_with_most_waiting_lines_come_first(store: Store) -> None:
    skus = ("LAMP", "VASE", "BOWL")
    given(store, *(create(sku, 1, sku) for sku in skus), wait("a", 2), wait("b", 2), wait("c", 3))
    given(store, wait("a", 4, sku="VASE"))
    with store.open_lines() as lines:
        found, count = lines.queues(9)
        assert found == [SkuQueue("LAMP", *queue(store)[1:]), SkuQueue("VASE", *queue(store, "VASE")[1:])]
        assert lines.queues(1) == ([found[0]], count)
    assert count == 2


def test_no_sku_has_a_queue_where_no_line_waits(store: Store) -> None:
    given(store, create("b", 1), order("o", 1))
    with store.open_lines() as lines:
        assert lines.queues(9) == ([], 0)


def test_a_hold_is_known_with_its_time(store: Store) -> None:
    given(store, create("b", 9), hold("o1", 2), hold("o2", 3, until=LATER), order("o3", 1))
    with store.open_lines() as lines:
        found = lines.held([(orderid, "LAMP", "") for orderid in ("o3", "o2", "o1", "never-seen")])
    assert [line[:-1] for line in found] == [
        ("o1", "LAMP", "", 2, "b", LONG_AGO),
        ("o2", "LAMP", "", 3, "b", LATER),
    ]
    first, second = found
    assert second.seconds_left - first.seconds_left == 3600
    given(store, order("o1", 2), Deallocate(orderid="o2", sku="LAMP"))
    with store.open_lines() as lines:
        assert lines.held([("o1", "LAMP", ""), ("o2", "LAMP", "")]) == []


def test_of_a_batch_it_is_known_what_is_held_and_what_was_shipped(store: Store) -> None:
    given(
        store,
        create("b", 9),
        CreateBatch(batchref="ship", sku="LAMP", qty=9, eta=DAY),
        hold("o1", 2),
        hold("o2", 3, until=LATER),
        order("o3", 4),
        Ship(orderid="o3", sku="LAMP"),
    )
    with store.open_lines() as lines:
        assert lines.use(["b", "ship", "never-seen"]) == {
            "b": BatchUse(held=5, holds=2, next_lapse=LONG_AGO, shipped=4),
            "ship": BatchUse(held=0, holds=0, next_lapse=None, shipped=0),
        }
