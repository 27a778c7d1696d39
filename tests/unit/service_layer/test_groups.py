"""One transaction for a group of messages, and parts if the group fails."""

from random import Random

import pytest

from allocation_worker.adapters import wire
from allocation_worker.domain.commands import Allocate, ChangeBatchQuantity, Command, CreateBatch
from allocation_worker.service_layer.groups import CONTENTION_ATTEMPTS, GroupProcessor
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS, allocate
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import DeadLettered, Done, Outcome, Retry
from allocation_worker.service_layer.ports import StoreContentionError, StoreUnavailableError, UnitOfWork
from allocation_worker.service_layer.retries import RetryPolicy
from tests.fakes.messages import FakeDelivery, message
from tests.fakes.unit_of_work import CommitFailure, FakeDatabase, FakeUnitOfWork

POLICY = RetryPolicy(grace_attempts=2, grace_delay=1, delays=(1, 5))


def order(orderid: str, qty: int = 1, sku: str = "LAMP") -> Allocate:
    return Allocate(orderid=orderid, sku=sku, qty=qty)


def allocate_unless_poisonous(command: Allocate, uow: UnitOfWork) -> None:
    """Do half of the work, then fail."""
    allocate(command, uow)
    if command.orderid == "poison":
        raise ZeroDivisionError("poisonous")


class CountingDatabase(FakeDatabase):
    """Counts transactions."""

    transactions = 0

    def unit_of_work(self) -> FakeUnitOfWork:
        self.transactions += 1
        return super().unit_of_work()


@pytest.fixture
def database() -> CountingDatabase:
    """A batch of 10 lamps."""
    database = CountingDatabase()
    process(database, message(CreateBatch(batchref="b", sku="LAMP", qty=10)))
    database.transactions = 0
    return database


def process(database: FakeDatabase, *messages: CommandMessage) -> list[Outcome]:
    bus = MessageBus({**COMMAND_HANDLERS, Allocate: allocate_unless_poisonous}, EVENT_HANDLERS)
    return GroupProcessor(bus, database.unit_of_work, POLICY).process(messages)


def test_nothing_to_do_takes_no_transaction(database: CountingDatabase) -> None:
    assert process(database) == []
    assert database.transactions == 0


def test_a_group_takes_one_transaction(database: CountingDatabase) -> None:
    assert process(database, *(message(order(f"o{number}")) for number in range(8))) == [Done()] * 8
    assert database.transactions == 1
    assert database.stock() == {"b": (10, 8)}


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        (order("o", 2), "line-quantity-conflict"),
        (CreateBatch(batchref="b", sku="LAMP", qty=11), "batch-exists"),
        (ChangeBatchQuantity(batchref="nothing", qty=11), "unknown-batch"),
    ],
)
def test_a_refusal_is_answered_with_the_commands_own_body(
    database: CountingDatabase, command: Command, reason: str
) -> None:
    process(database, message(order("o", 1)))
    refused = message(command)
    assert process(database, refused) == [Done()]
    answer = database.published()[-1]
    assert answer.type == "command-rejected.v1"
    assert (answer.body["command"], answer.body["reason"]) == (refused.type, reason)
    assert answer.body["detail"].endswith(".")
    assert set(answer.body["data"]) >= {"qty"}
    assert answer.causation_id == refused.message_id


def test_a_rejection_gives_back_fields_that_are_none_of_our_business(database: CountingDatabase) -> None:
    body = b'{"orderid": "o", "sku": "?", "qty": 1, "note": {"for": ["us", 1.5, null]}}'
    refused = wire.read(FakeDelivery(body=body, attempts=2))
    process(database, refused)
    assert database.published()[-1].body["data"] == {
        "orderid": "o",
        "sku": "?",
        "qty": 1,
        "note": {"for": ["us", 1.5, None]},
    }


def test_an_unknown_sku_is_tried_again_then_rejected(database: CountingDatabase) -> None:
    outcomes = [process(database, message(order("o", sku="?"), "early", attempts=attempts)) for attempts in range(3)]
    assert outcomes == [[Retry(after=1, attempts=1)], [Retry(after=1, attempts=2)], [Done()]]
    assert [event.body.get("reason") for event in database.published()[1:]] == ["unknown-sku"]
    assert "early" in database.taken()


def test_an_unknown_sku_that_becomes_known_in_time_is_allocated(database: CountingDatabase) -> None:
    assert process(database, message(order("o", sku="VASE"), "early")) == [Retry(after=1, attempts=1)]
    process(database, message(CreateBatch(batchref="v", sku="VASE", qty=1)))
    assert process(database, message(order("o", sku="VASE"), "early", attempts=1)) == [Done()]
    assert database.published()[-1].type == "allocated.v1"


def test_a_message_that_fails_harms_no_other(database: CountingDatabase) -> None:
    outcomes = process(database, message(order("1")), message(order("poison")), message(order("2")))
    assert outcomes == [Done(), Retry(after=1, attempts=1), Done()]
    assert database.stock() == {"b": (10, 2)}
    assert [event.body["orderid"] for event in database.published()[1:]] == ["1", "2"]


@pytest.mark.parametrize("position", [0, 1, 499, 500, 777, 999])
def test_one_that_fails_among_a_thousand_costs_few_transactions(database: CountingDatabase, position: int) -> None:
    names = [f"{number}" for number in range(1000)]
    names[position] = "poison"
    outcomes = process(database, *(message(order(name)) for name in names))
    assert outcomes == [Retry(after=1, attempts=1) if name == "poison" else Done() for name in names]
    assert database.transactions <= 5
    answers = [event.body["orderid"] for event in database.published()[1:]]
    assert answers == [name for name in names if name != "poison"]


class UnwritableUnitOfWork(FakeUnitOfWork):
    """Fails as it writes, if the message `poison` is among the others."""

    def commit(self) -> None:
        if "poison" in self._transaction.receipts:
            raise ZeroDivisionError("unwritable")
        super().commit()


@pytest.mark.parametrize("position", [0, 1, 499, 500, 777, 999])
def test_one_that_cannot_be_written_is_found_by_halves(database: CountingDatabase, position: int) -> None:
    transactions = 0

    def unit_of_work() -> FakeUnitOfWork:
        nonlocal transactions
        transactions += 1
        return UnwritableUnitOfWork(database)

    messages = [message(order(str(number)), f"m{number}") for number in range(1000)]
    messages[position] = message(order("p"), "poison")
    outcomes = GroupProcessor(MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS), unit_of_work, POLICY).process(messages)
    assert outcomes == [Retry(after=1, attempts=1) if each.message_id == "poison" else Done() for each in messages]
    assert transactions <= 21
    answers = [event.causation_id for event in database.published()[1:]]
    assert answers == [each.message_id for each in messages if each.message_id != "poison"]


def test_if_all_fail_each_is_tried_alone_once(database: CountingDatabase) -> None:
    assert process(database, *(message(order("poison")) for _ in range(64))) == [Retry(after=1, attempts=1)] * 64
    assert database.transactions < 2 * 64
    assert database.lines() == set()


@pytest.mark.parametrize("bad", range(1, 10))
def test_whichever_fail_the_others_are_answered_in_their_order(database: CountingDatabase, bad: int) -> None:
    names = [str(number) for number in range(16)]
    for number in Random(bad).sample(range(16), bad):
        names[number] = "poison"
    outcomes = process(database, *(message(order(name)) for name in names))
    assert [isinstance(outcome, Retry) for outcome in outcomes] == [name == "poison" for name in names]
    answers = [event.body["orderid"] for event in database.published()[1:]]
    assert answers == [name for name in names if name != "poison"]


def test_a_message_that_fails_leaves_nothing_of_itself(database: CountingDatabase) -> None:
    process(database, message(order("1")), message(order("poison"), "poison"))
    assert "poison" not in database.taken()
    assert {line[0] for line in database.lines()} == {"1"}


def test_messages_of_a_failing_group_are_answered_in_their_order(database: CountingDatabase) -> None:
    process(database, *(message(order(name)) for name in ("5", "4", "poison", "3", "2")))
    assert [event.body["orderid"] for event in database.published()[1:]] == ["5", "4", "3", "2"]


def test_a_message_that_keeps_failing_is_a_dead_letter_in_the_end(database: CountingDatabase) -> None:
    outcomes = [process(database, message(order("poison"), "p", attempts=attempts))[0] for attempts in range(3)]
    assert outcomes[:2] == [Retry(after=1, attempts=1), Retry(after=5, attempts=2)]
    assert outcomes[2] == DeadLettered(
        reason="handler-failed",
        detail="allocate.v1 'p' failed 3 times; fix the cause, then redrive it.",
        attempts=3,
        exception="ZeroDivisionError: poisonous",
    )


def test_another_message_under_a_known_id_is_a_dead_letter(database: CountingDatabase) -> None:
    outcomes = process(database, message(order("1"), "m"), message(order("2"), "m"), message(order("1"), "m"))
    assert outcomes == [
        Done(),
        DeadLettered(
            reason="message-id-conflict",
            detail="Another message was taken under the message_id 'm'; send this one under an id of its own.",
        ),
        Done(),
    ]
    assert database.stock() == {"b": (10, 1)}


def test_contention_is_tried_again_at_once(database: CountingDatabase) -> None:
    database.failures.extend([CommitFailure(StoreContentionError("deadlock"))] * 2)
    assert process(database, message(order("1")), message(order("2"))) == [Done(), Done()]
    assert database.transactions == 3
    assert database.stock() == {"b": (10, 2)}


def test_contention_without_end_is_for_the_caller_to_wait_out(database: CountingDatabase) -> None:
    database.failures.extend([CommitFailure(StoreContentionError("deadlock"))] * CONTENTION_ATTEMPTS)
    messages = [message(order("1")), message(order("2"))]
    with pytest.raises(StoreContentionError, match="deadlock"):
        process(database, *messages)
    assert database.transactions == CONTENTION_ATTEMPTS
    assert process(database, *messages) == [Done(), Done()]


@pytest.mark.parametrize("durable", [False, True])
def test_a_store_that_goes_away_is_asked_again_without_harm(database: CountingDatabase, durable: bool) -> None:  # noqa: FBT001
    """Whether or not the commit took place before the store went away."""
    messages = [message(order("1")), message(order("2"))]
    database.failures.append(CommitFailure(StoreUnavailableError("gone"), durable=durable))
    with pytest.raises(StoreUnavailableError, match="gone"):
        process(database, *messages)
    assert database.transactions == 1
    assert process(database, *messages) == [Done(), Done()]
    assert database.stock() == {"b": (10, 2)}
    assert len(database.published()) == 3


def test_a_store_that_goes_away_between_the_halves_of_a_group(database: CountingDatabase) -> None:
    messages = [message(order(name)) for name in ("1", "poison", "2")]
    # The group fails before it commits; then the first message commits, and the third finds the store gone.
    database.failures.extend([None, CommitFailure(StoreUnavailableError("gone"), durable=True)])
    with pytest.raises(StoreUnavailableError):
        process(database, *messages)
    assert process(database, *messages) == [Done(), Retry(after=1, attempts=1), Done()]
    assert [event.body["orderid"] for event in database.published()[1:]] == ["1", "2"]
