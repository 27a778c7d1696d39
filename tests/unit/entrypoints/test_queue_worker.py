"""The life of a delivery, from its feed and back."""

from threading import Event

import pytest

from allocation_worker.adapters import wire
from allocation_worker.domain.commands import Allocate, CreateBatch
from allocation_worker.entrypoints.consume import QueueWorker
from allocation_worker.service_layer.groups import CONTENTION_ATTEMPTS, GroupProcessor
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.messagebus import MessageBus
from allocation_worker.service_layer.outcomes import DeadLetter, Done, Retry
from allocation_worker.service_layer.ports import StoreContentionError, StoreUnavailableError
from tests.fakes import policies
from tests.fakes.feed import FakeFeed
from tests.fakes.messages import FakeDelivery, FakeProperties, delivery
from tests.fakes.unit_of_work import CommitFailure, FakeDatabase, FakeUnitOfWork

CREATE = delivery(CreateBatch(batchref="b", sku="LAMP", qty=10))


class QuickEvent(Event):
    """Time passes at once."""

    def wait(self, timeout: float | None = None) -> bool:
        assert timeout is not None
        return self.is_set()


def order(orderid: str, sku: str = "LAMP") -> FakeDelivery:
    return delivery(Allocate(orderid=orderid, sku=sku, qty=1))


class ClosedDatabase(FakeDatabase):
    def unit_of_work(self) -> FakeUnitOfWork:
        raise AssertionError("nobody was to open a transaction")


def work(feed: FakeFeed, database: FakeDatabase, *, stopping: Event | None = None) -> None:
    processor = GroupProcessor(MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS), database.unit_of_work, policies.USUAL)
    QueueWorker(feed, wire.read, processor, group_limit=7, stopping=stopping or QuickEvent()).run()


def test_takes_answers_and_settles_until_the_feed_ends() -> None:
    one, two = order("1"), order("2")
    feed = FakeFeed([CREATE], [one, two])
    work(feed, FakeDatabase())
    assert feed.story == ["take 7", "settle 1", "take 7", "settle 2", "take 7", "finished"]
    assert feed.settled == [(CREATE, Done()), (one, Done()), (two, Done())]


def test_a_broken_contract_is_a_dead_letter_and_needs_no_database() -> None:
    broken = FakeDelivery(body=b"{")
    nameless = FakeDelivery(body=b"{}", properties=FakeProperties(message_id=None))
    feed = FakeFeed([broken, nameless])
    work(feed, ClosedDatabase())
    assert [delivery for delivery, _ in feed.settled] == [broken, nameless]
    reasons = [outcome.reason for _, outcome in feed.settled if isinstance(outcome, DeadLetter)]
    assert reasons == ["invalid-json", "missing-message-id"]


def test_a_broken_contract_harms_no_neighbour() -> None:
    broken, good, early = FakeDelivery(body=b"[]"), order("1"), order("1", sku="?")
    feed = FakeFeed([CREATE], [broken, good, early])
    work(feed, FakeDatabase())
    outcomes = {id(delivery): outcome for delivery, outcome in feed.settled}
    assert isinstance(outcomes[id(broken)], DeadLetter)
    assert outcomes[id(good)] == Done()
    assert outcomes[id(early)] == Retry(after=1, attempts=1)


@pytest.mark.parametrize("durable", [False, True])
def test_holds_the_feed_while_the_database_is_away_and_goes_on_when_it_is_back(durable: bool) -> None:  # noqa: FBT001
    database = FakeDatabase()
    database.failures.extend([CommitFailure(StoreUnavailableError("gone"), durable=durable)] * 3)
    feed = FakeFeed([CREATE], [order("1")])
    work(feed, database)
    assert feed.story == [
        "take 7",
        *["hold"] * 3,
        "release",
        "settle 1",
        "take 7",
        "settle 1",
        "take 7",
        "finished",
    ]
    assert [outcome for _, outcome in feed.settled] == [Done(), Done()]
    assert [event.type for event in database.published()] == ["batch-created.v1", "allocated.v1"]


def test_contention_without_end_holds_the_feed_too() -> None:
    database = FakeDatabase()
    database.failures.extend([CommitFailure(StoreContentionError("lock timeout"))] * CONTENTION_ATTEMPTS)
    feed = FakeFeed([CREATE])
    work(feed, database)
    assert feed.story == ["take 7", "hold", "release", "settle 1", "take 7", "finished"]


def test_told_to_stop_while_the_database_is_away_it_settles_nothing() -> None:
    database, stopping = FakeDatabase(), Event()
    stopping.set()
    database.failures.append(CommitFailure(StoreUnavailableError("gone")))
    feed = FakeFeed([CREATE], [order("1")])
    work(feed, database, stopping=stopping)
    assert feed.story == ["take 7", "hold", "finished"]
    assert feed.settled == []


def test_an_error_of_the_feed_itself_is_handed_over() -> None:
    class BrokenFeed(FakeFeed):
        def take(self, limit: int) -> list[FakeDelivery]:
            raise RuntimeError(f"no {limit} for you")

    feed = BrokenFeed()
    work(feed, FakeDatabase())
    assert feed.story == ["failed"]
    assert str(feed.error) == "no 7 for you"
