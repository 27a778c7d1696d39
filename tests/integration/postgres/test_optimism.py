"""What is taken for new and is not is found by its primary key, and then looked for."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from allocation_worker.adapters.postgres.unit_of_work import Optimism, PostgresUnitOfWork
from allocation_worker.domain.commands import ChangeBatchQuantity, Deallocate
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import DeadLettered, Done
from allocation_worker.service_layer.ports import Receipt, StoreContentionError
from tests.fakes.messages import message
from tests.integration.postgres.staging import DEADLINE, backend_of, create, order, process, until_blocked
from tests.integration.postgres.store import PostgresStore

SIZES = [1, 300]
"""How many further messages are in a group: few are inserted, many are copied."""


@pytest.fixture
def optimistic(store: PostgresStore) -> PostgresStore:
    """A store with a batch, whose last transaction has found all new."""
    store.optimism = Optimism()
    process(store.unit_of_work, message(create("b", 1000)))
    assert store.optimism.justified
    return store


def is_optimistic(store: PostgresStore) -> bool:
    assert store.optimism is not None
    return store.optimism.justified


def fillers(size: int) -> list[CommandMessage]:
    return [message(order(f"filler-{number}")) for number in range(size)]


def types(store: PostgresStore, orderid: str) -> list[str]:
    return [event.type for event in store.published() if event.body.get("orderid") == orderid]


def test_the_first_transaction_asks(store: PostgresStore) -> None:
    store.optimism = Optimism()
    assert not is_optimistic(store)


@pytest.mark.parametrize("size", SIZES)
def test_a_repeat_has_no_effect(optimistic: PostgresStore, size: int) -> None:
    once = message(order("o"), "m")
    process(optimistic.unit_of_work, once)
    assert process(optimistic.unit_of_work, *fillers(size), once) == [Done()] * (size + 1)
    assert not is_optimistic(optimistic)
    assert types(optimistic, "o") == ["allocated.v1"]
    assert optimistic.stock() == {"b": (1000, 1 + size)}


@pytest.mark.parametrize("size", SIZES)
def test_another_message_under_the_id_is_a_conflict(optimistic: PostgresStore, size: int) -> None:
    process(optimistic.unit_of_work, message(order("o"), "m"))
    *_, outcome = process(optimistic.unit_of_work, *fillers(size), message(order("another"), "m"))
    assert isinstance(outcome, DeadLettered)
    assert types(optimistic, "another") == []


@pytest.mark.parametrize("size", SIZES)
def test_a_line_that_is_there_is_announced_again(optimistic: PostgresStore, size: int) -> None:
    process(optimistic.unit_of_work, message(order("o", 7)))
    assert is_optimistic(optimistic)
    assert process(optimistic.unit_of_work, *fillers(size), message(order("o", 7))) == [Done()] * (size + 1)
    assert not is_optimistic(optimistic)
    first, again = [event for event in optimistic.published() if event.body.get("orderid") == "o"]
    assert (again.message_id, again.body) == (first.message_id, first.body)
    assert optimistic.stock() == {"b": (1000, 7 + size)}


def test_a_line_that_was_cancelled_before_its_product_had_a_batch_stays_so(optimistic: PostgresStore) -> None:
    process(optimistic.unit_of_work, message(Deallocate(orderid="o", sku="VASE")))
    assert is_optimistic(optimistic)
    process(optimistic.unit_of_work, message(order("o", 1, "VASE")))
    rejected = optimistic.published()[-1]
    assert (rejected.type, rejected.body["reason"]) == ("command-rejected.v1", "line-cancelled")


def test_a_shrinking_batch_takes_off_a_line_that_is_allocated_again_later_in_the_group(
    optimistic: PostgresStore,
) -> None:
    process(optimistic.unit_of_work, message(order("o", 7)))
    assert is_optimistic(optimistic)
    process(optimistic.unit_of_work, message(ChangeBatchQuantity(batchref="b", qty=0)), message(order("o", 7)))
    assert types(optimistic, "o") == ["allocated.v1", "deallocated.v1", "out-of-stock.v1", "out-of-stock.v1"]
    assert optimistic.stock() == {"b": (0, 0)}


def test_it_is_taken_up_again_once_all_was_new(optimistic: PostgresStore) -> None:
    once = message(order("o"))
    for _ in range(2):
        process(optimistic.unit_of_work, once)
    assert not is_optimistic(optimistic)
    process(optimistic.unit_of_work, message(order("new")))
    assert is_optimistic(optimistic)


def receive_and_lock(uow: PostgresUnitOfWork, messages: Sequence[CommandMessage]) -> list[Receipt]:
    """Begin with a group. A few entries of the inbox are sent with the locks."""
    receipts = uow.inbox.receive(messages)
    uow.products.lock_for(each.command for each in messages)
    return receipts


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("committed", [True, False], ids=["commit", "rollback"])
def test_a_message_that_another_transaction_is_receiving_is_waited_for(
    optimistic: PostgresStore,
    committed: bool,  # noqa: FBT001 - pytest gives it
    size: int,
) -> None:
    group = [*fillers(size), message(order("o"))]
    with ThreadPoolExecutor(1) as pool, optimistic.unit_of_work() as first, optimistic.unit_of_work() as second:
        receive_and_lock(first, group[-1:])
        pid = backend_of(second._connection)
        answer = pool.submit(receive_and_lock, second, group)
        until_blocked(optimistic.engine, pid)
        if committed:
            first.commit()
            with pytest.raises(StoreContentionError):
                answer.result(timeout=DEADLINE)
        else:
            first._connection.rollback()
            assert answer.result(timeout=DEADLINE) == [Receipt.FRESH] * (size + 1)
