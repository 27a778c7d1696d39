"""Which messages are set aside while somebody holds a product."""

from collections.abc import Sequence
from random import Random

import pytest

from allocation_worker.domain.commands import (
    Allocate,
    BatchCommand,
    ChangeBatchQuantity,
    Command,
    CreateBatch,
    Deallocate,
)
from allocation_worker.service_layer.aside import Aside
from allocation_worker.service_layer.groups import PATIENT_FOR, GroupProcessor
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import Done, LockedProduct, Outcome, SetAside
from tests.fakes import policies
from tests.fakes.locks import LOCK_TIMEOUT, LOCKED_FOR_LONG, ImpatientLocks
from tests.fakes.messages import message
from tests.fakes.unit_of_work import FakeDatabase

BUS = MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS)
CHAIR = LockedProduct("CHAIR", "1")


def order(orderid: str, sku: str) -> Allocate:
    return Allocate(orderid=orderid, sku=sku, qty=1)


def create(batchref: str, sku: str) -> CreateBatch:
    return CreateBatch(batchref=batchref, sku=sku, qty=50)


def change(batchref: str, qty: int = 50) -> ChangeBatchQuantity:
    return ChangeBatchQuantity(batchref=batchref, qty=qty)


def processor(database: FakeDatabase) -> GroupProcessor:
    return GroupProcessor(BUS, database.unit_of_work, policies.USUAL, sleep=lambda _: None)


@pytest.fixture
def database() -> FakeDatabase:
    """A chair, a table and a lamp, and nobody who waits for a lock."""
    database = FakeDatabase()
    database.locks = ImpatientLocks()
    batches = [create("c1", "CHAIR"), create("t1", "TABLE"), create("l1", "LAMP")]
    processor(database).process([message(batch) for batch in batches])
    return database


def sorted_out(aside: Aside, *commands: Command) -> list[str]:
    """The SKU that each waits for, or a dash."""
    return [product.sku if product else "-" for product in aside.sort_out([message(each) for each in commands])]


def waiting_for(sku: str) -> Aside:
    aside = Aside()
    aside.learn({"c1": "CHAIR", "t1": "TABLE"})
    aside.add(message(order("first", sku)), LockedProduct(sku, "1"))
    return aside


def test_while_nothing_waits_all_go_on() -> None:
    assert sorted_out(Aside(), order("1", "CHAIR"), change("c1")) == ["-", "-"]


def test_what_is_about_the_product_waits_and_all_else_goes_on() -> None:
    found = sorted_out(
        waiting_for("CHAIR"),
        order("1", "CHAIR"),
        order("1", "TABLE"),
        Deallocate(orderid="2", sku="CHAIR"),
        create("c2", "CHAIR"),
        change("c1"),
        change("t1"),
    )
    assert found == ["CHAIR", "-", "CHAIR", "CHAIR", "CHAIR", "-"]


def test_a_batch_that_waits_holds_up_what_changes_it() -> None:
    assert sorted_out(waiting_for("CHAIR"), create("new", "CHAIR"), change("new")) == ["CHAIR", "CHAIR"]


def test_a_command_about_two_products_holds_up_both() -> None:
    found = sorted_out(waiting_for("CHAIR"), create("c1", "TABLE"), order("1", "TABLE"), order("1", "LAMP"))
    assert found == ["CHAIR", "CHAIR", "-"]


def test_one_message_id_keeps_its_order() -> None:
    aside = Aside()
    aside.add(message(order("1", "CHAIR"), "m"), CHAIR)
    assert aside.sort_out([message(order("2", "TABLE"), "m")]) == [CHAIR]


def test_a_held_product_sets_aside_its_own_messages_and_leaves_nothing_of_them(database: FakeDatabase) -> None:
    database.locks.take(("sku", "CHAIR"), "somebody")
    messages = [message(order("1", "CHAIR"), "m1"), message(order("2", "TABLE"), "m2"), message(change("c1"), "m3")]
    held = SetAside(LockedProduct("CHAIR", "somebody"))
    assert processor(database).process(messages) == [held, Done(), held]
    assert database.taken() & {"m1", "m2", "m3"} == {"m2"}
    assert [event.body["orderid"] for event in database.published()[3:]] == ["2"]


def test_a_stock_command_does_not_overtake_another_batch_of_its_product(database: FakeDatabase) -> None:
    """Though the lock is free again, and the command names no SKU."""
    before = [(message(create("c2", "CHAIR")), CHAIR)]
    assert processor(database).process([message(change("c1")), message(change("t1"))], before) == [
        SetAside(CHAIR),
        Done(),
    ]


def test_what_was_set_aside_is_processed_once_the_product_is_free(database: FakeDatabase) -> None:
    again = [message(order("1", "CHAIR")), message(order("2", "CHAIR"))]
    assert processor(database).process(again, [], {"CHAIR": "somebody"}) == [Done(), Done()]


def test_a_product_with_another_lock_than_before_is_waited_for_in_line_for_a_while(database: FakeDatabase) -> None:
    waited: list[float] = []

    class WatchedLocks(ImpatientLocks):
        def take(self, key: tuple[str, str], owner: object, timeout: float = 0) -> None:
            if key == ("sku", "CHAIR"):
                waited.append(timeout)
            super().take(key, owner, timeout)

    database.locks = WatchedLocks()
    database.locks.take(("sku", "CHAIR"), "another")
    waited.clear()
    held = SetAside(LockedProduct("CHAIR", "another"))
    seconds = 0.0
    service = GroupProcessor(BUS, database.unit_of_work, policies.USUAL, clock=lambda: seconds)
    assert service.process([message(order("1", "CHAIR"))], [], {"CHAIR": "another"}) == [held]
    assert waited == []
    assert service.process([message(order("1", "CHAIR"))], [], {"CHAIR": "somebody"}) == [held]
    assert service.process([message(order("1", "CHAIR"))]) == [held]
    assert waited == [LOCK_TIMEOUT] * 2
    seconds = PATIENT_FOR
    assert service.process([message(order("1", "CHAIR"))]) == [held]
    assert waited == [LOCK_TIMEOUT] * 2 + [LOCKED_FOR_LONG]


@pytest.mark.parametrize("seed", range(100))
def test_any_history_keeps_the_order_of_each_product(seed: int, database: FakeDatabase) -> None:
    random = Random(seed)
    messages = [message(command, f"m{number}") for number, command in enumerate(_history(random))]
    waiting: list[tuple[CommandMessage, LockedProduct]] = []
    service = processor(database)
    holders = {sku: f"holder of {sku}" for sku in ("CHAIR", "TABLE", "LAMP")}
    left = list(messages)
    answered: list[CommandMessage] = []
    while left or waiting:
        for sku, holder in holders.items():
            database.locks.release(holder)
            if left and random.random() < 0.4:
                database.locks.take(("sku", sku), holder)
        size = random.randint(0, 5)
        group, left = left[:size], left[size:]
        outcomes = service.process(group, waiting) if group else []
        waiting += _kept(group, outcomes)
        answered += [each for each, outcome in zip(group, outcomes, strict=True) if outcome == Done()]
        if not left or random.random() < 0.5:
            again = [each for each, _ in waiting]
            locks = {product.sku: product.lock for _, product in waiting}
            outcomes = service.process(again, [], locks) if again else []
            waiting = _kept(again, outcomes)
            answered += [each for each, outcome in zip(again, outcomes, strict=True) if outcome == Done()]
    assert sorted(each.message_id for each in answered) == sorted(each.message_id for each in messages)
    for sku in holders:
        about = [each.message_id for each in messages if _sku(each.command) == sku]
        assert [each.message_id for each in answered if each.message_id in about] == about


def _kept(group: Sequence[CommandMessage], outcomes: Sequence[Outcome]) -> list[tuple[CommandMessage, LockedProduct]]:
    pairs = zip(group, outcomes, strict=True)
    return [(each, outcome.product) for each, outcome in pairs if isinstance(outcome, SetAside)]


def _history(random: Random) -> list[Command]:
    """Commands that are answered at once whatever their order."""
    commands: list[Command] = []
    for number in range(20):
        sku = random.choice(["CHAIR", "TABLE", "LAMP"])
        batchref = random.choice(["c", "t", "l"]) + "1"
        kinds: list[Command] = [
            order(f"o{number}", sku),
            Deallocate(orderid=f"x{number}", sku=sku),
            create(f"{sku[0].lower()}-{number}", sku),
            change(batchref, 50 + number),
        ]
        commands.append(random.choice(kinds))
    return commands


def _sku(command: Command) -> str:
    letters = {"c": "CHAIR", "t": "TABLE", "l": "LAMP"}
    return letters[command.batchref[0]] if isinstance(command, BatchCommand) else command.sku
