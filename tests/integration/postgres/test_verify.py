"""`verify` finds no fault in a correct database, and describes each kind of damage."""

from collections.abc import Callable
from dataclasses import replace
from threading import Event, Thread
from uuid import UUID

import pytest

from allocation_worker.adapters.postgres.durability import durability
from allocation_worker.adapters.postgres.inbox import inbox_key
from allocation_worker.adapters.postgres.verify import CHECKS, WRONG_IDS, audit
from allocation_worker.domain.commands import Allocate, ChangeBatchQuantity, Command, CreateBatch, Deallocate
from allocation_worker.service_layer.verify import Audit
from tests.fakes.messages import message
from tests.integration.postgres.staging import create, order, process
from tests.integration.postgres.store import PostgresStore

OF_ROWS = {check.kind for check in CHECKS} | {WRONG_IDS.kind}


def look(store: PostgresStore, stuck_after: float = 300) -> Audit:
    """Run `verify` without what it says of the server, which is not made for safety here; see `test_durability`."""
    found = audit(store.engine, history_days=30, inbox_days=7, stuck_after=stuck_after)
    weaknesses = {weakness.sentence for weakness in durability(store.engine).weaknesses}
    return replace(
        found,
        faults=[fault for fault in found.faults if fault.kind in OF_ROWS],
        notices=[notice for notice in found.notices if notice not in weaknesses],
    )


def sentences(found: Audit) -> list[str]:
    return [example for fault in found.faults for example in fault.examples]


@pytest.fixture
def shop(store: PostgresStore) -> PostgresStore:
    """A little of everything: two batches, a shrink that moved lines, a cancellation, an out-of-stock, a refusal."""
    commands: list[Command] = [
        create("shelf", 10),
        CreateBatch(batchref="ship", sku="LAMP", qty=10),
        *(order(f"o{number}", qty=3) for number in range(4)),
        ChangeBatchQuantity(batchref="shelf", qty=4),
        Deallocate(orderid="o0", sku="LAMP"),
        Deallocate(orderid="never-seen", sku="LAMP"),
        Allocate(orderid="big", sku="LAMP", qty=1000),
        ChangeBatchQuantity(batchref="no-such-batch", qty=1),
    ]
    for number, command in enumerate(commands):
        process(store.unit_of_work, message(command, f"c{number}"))
    process(store.unit_of_work, message(order("o1", qty=3), "asked-again"))
    return store


def test_a_right_database_has_no_fault(shop: PostgresStore) -> None:
    found = look(shop)
    assert sentences(found) == []
    assert found.counts["batches"] == 2
    assert found.counts["inbox"] == 12


def test_an_empty_database_has_no_fault(store: PostgresStore) -> None:
    found = look(store)
    assert (found.faults, found.notices) == ([], [])
    assert found.counts == dict.fromkeys(["products", "batches", "order_lines", "inbox", "outbox"], 0)


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            "UPDATE batches SET allocated = allocated - 3 WHERE reference = 'ship'",
            "Batch ship counts 6 as allocated, and its lines hold 9.",
        ),
        (
            "UPDATE order_lines SET batchref = 'nowhere' WHERE orderid = 'o1'",
            "Line (order o1, SKU LAMP, lineid '') holds stock of batch nowhere, which is not there.",
        ),
        ("UPDATE products SET batches_arrived = 3", "SKU LAMP counts 3 batches, and has 2."),
        (
            "UPDATE order_lines SET sequence = 99 WHERE orderid = 'o1'",
            "Line (order o1, SKU LAMP, lineid '') was answered by event 99 of 14.",
        ),
        (
            "UPDATE order_lines SET batchref = NULL WHERE orderid = 'o1'",
            "Line (order o1, SKU LAMP, lineid '') holds no stock, and event 10 says allocated.v1 of order o1, ship.",
        ),
        (
            "UPDATE batches SET purchased = 40 WHERE reference = 'shelf'",
            "Batch shelf has 40 purchased, and its last event says 4.",
        ),
        (
            (
                "UPDATE order_lines SET batchref = NULL, wait = true WHERE orderid = 'o1'; "
                "UPDATE batches SET allocated = allocated - 3 WHERE reference = 'ship'"
            ),
            "Line (order o1, SKU LAMP, lineid '') waits for 3, and batch ship has 4 left.",
        ),
        (
            "UPDATE order_lines SET batchref = NULL, wait = true WHERE orderid = 'o1'",
            "SKU LAMP counts nothing as the smallest quantity that waits, and 3 waits.",
        ),
        (
            "UPDATE order_lines SET held_until = now() - interval '1 hour', held_by = 'm' WHERE orderid = 'o1'",
            "is `allocation-worker relay` running?",
        ),
        (
            "UPDATE order_lines SET held_until = now(), held_by = 'm', batchref = NULL WHERE orderid = 'o1'",
            "and holds no stock, or was shipped.",
        ),
        (
            "DELETE FROM inbox_entries WHERE key = inbox_key('c10')",
            "was caused by command c10, which is not in the inbox.",
        ),
    ],
)
def test_damage_is_told(shop: PostgresStore, damage: str, sentence: str) -> None:
    shop.execute(damage)
    found = sentences(look(shop))
    assert any(sentence in it for it in found), found


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        (
            "DELETE FROM history WHERE sequence = 3",
            "SKU LAMP counts 14 events; 13 of those from 1 on are in the outbox, the last is 14.",
        ),
        (
            "DELETE FROM history WHERE sequence = 14",
            "SKU LAMP counts 14 events; 13 of those from 1 on are in the outbox, the last is 13.",
        ),
        (
            "UPDATE history SET body = replace(body, '3', '4') WHERE causation_id = 'asked-again'",
            "SKU LAMP has 2 different events with the sequence 10.",
        ),
        (
            "UPDATE history SET page = 10000 - sequence WHERE sequence IN (1, 2)",
            "SKU LAMP: event 2 stands in the outbox before event 1.",
        ),
        ("DELETE FROM history WHERE causation_id = 'c10'", " has no event in the outbox."),
        (
            "UPDATE history SET message_id = gen_random_uuid() WHERE sequence = 14",
            "Event 14 of SKU LAMP has the message_id ",
        ),
        (
            "UPDATE history SET created_at = now() - interval '10 minutes' WHERE sequence = 14",
            "has waited to be published for 600 s; is `allocation-worker relay` running?",
        ),
    ],
)
def test_damage_of_the_outbox_is_told(shop: PostgresStore, damage: str, sentence: str) -> None:
    shop.edit(damage)
    found = sentences(look(shop))
    assert any(sentence in it for it in found), found


def test_a_command_without_an_event_is_told_with_the_key_of_its_message_id(shop: PostgresStore) -> None:
    shop.edit("DELETE FROM history WHERE causation_id = 'c10'")
    assert any(f"under the inbox key {UUID(inbox_key('c10'))} has no" in sentence for sentence in sentences(look(shop)))


def test_an_oversold_batch_is_told_even_where_the_constraint_is_gone(shop: PostgresStore) -> None:
    shop.execute("ALTER TABLE batches DROP CONSTRAINT never_oversold")
    try:
        shop.execute("UPDATE batches SET purchased = 1 WHERE reference = 'ship'")
        assert "Batch ship is oversold: 9 of 1 are allocated." in sentences(look(shop))
    finally:
        shop.execute("UPDATE batches SET purchased = 10 WHERE reference = 'ship'")
        shop.execute("ALTER TABLE batches ADD CONSTRAINT never_oversold CHECK (allocated BETWEEN 0 AND purchased)")


def test_many_faults_of_a_kind_are_counted_and_few_are_told(shop: PostgresStore) -> None:
    for number in range(30):
        process(shop.unit_of_work, message(create(f"b{number}", 5, f"SKU-{number}")))
    shop.execute("UPDATE products SET batches_arrived = 7 WHERE sku <> 'LAMP'")
    [fault] = look(shop).faults
    assert (fault.count, len(fault.examples)) == (30, 10)


def test_events_that_no_queue_wants_are_a_notice_and_no_fault(shop: PostgresStore) -> None:
    shop.edit("UPDATE history SET unrouted = true, created_at = now() - interval '1 day' WHERE sequence = 14")
    found = look(shop)
    assert found.faults == []
    assert found.notices == ["Events of type out-of-stock.v1 are kept, since no queue is bound for them: 1."]


def test_what_was_pruned_is_not_missed(shop: PostgresStore) -> None:
    shop.edit("UPDATE history SET published_at = now(), created_at = now() - interval '31 days' WHERE sequence < 12")
    old = [inbox_key(f"c{number}") for number in range(8)]
    shop.execute(
        "UPDATE inbox_entries SET received_at = now() - interval '31 days' WHERE key = ANY(CAST(:old AS uuid[]))",
        old=old,
    )
    shop.edit("DELETE FROM history WHERE sequence IN (1, 5, 8)")
    assert sentences(look(shop)) == []


@pytest.mark.parametrize("kept_from", [9, 99], ids=["the older ones are gone", "all are gone"])
def test_what_is_announced_again_after_its_first_time_was_pruned_is_no_fault(
    shop: PostgresStore, kept_from: int
) -> None:
    shop.edit("DELETE FROM history WHERE sequence < :kept_from", kept_from=kept_from)
    shop.execute("UPDATE inbox_entries SET received_at = now() - interval '31 days'")
    process(shop.unit_of_work, message(create("shelf", 10), "again"), message(order("o2", qty=3), "again, too"))
    process(shop.unit_of_work, message(create("shelf", 10), "and again"))
    assert sentences(look(shop)) == []


def test_the_outbox_says_which_events_are_repetitions(store: PostgresStore) -> None:
    process(store.unit_of_work, message(create("shelf", 10), "c1"), message(create("shelf", 10), "c2"))
    process(store.unit_of_work, message(order("o1"), "c3"), message(create("shelf", 10), "c4"))
    rows = store.rows("SELECT causation_id, sequence, repeated FROM events ORDER BY id")
    assert rows == [("c1", 1, False), ("c2", 1, True), ("c3", 2, False), ("c4", 1, True)]


def test_a_service_at_work_raises_no_false_alarm(store: PostgresStore) -> None:
    process(store.unit_of_work, message(create("shelf", 10_000)))
    stopping = Event()
    threads = [Thread(target=_busy(store, stopping, name)) for name in ("a", "b")]
    for thread in threads:
        thread.start()
    try:
        looks = [look(store) for _ in range(15)]
    finally:
        stopping.set()
        for thread in threads:
            thread.join()
    assert [sentences(found) for found in looks] == [[]] * 15
    assert looks[0].counts["order_lines"] < looks[-1].counts["order_lines"]


def _busy(store: PostgresStore, stopping: Event, name: str) -> Callable[[], None]:
    def run() -> None:
        number = 0
        while not stopping.is_set():
            number += 1
            process(
                store.unit_of_work,
                message(order(f"{name}{number}")),
                message(ChangeBatchQuantity(batchref="shelf", qty=20 + number % 40)),
            )

    return run


def test_each_check_has_a_kind_of_its_own() -> None:
    assert len(OF_ROWS) == len(CHECKS) + 1
