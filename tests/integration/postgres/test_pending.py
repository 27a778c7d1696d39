"""The outbox as the relay reads it."""

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from time import monotonic

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from allocation_worker.adapters.postgres import pending as pending_module
from allocation_worker.adapters.postgres.pending import PendingEvents, open_pending
from allocation_worker.domain.commands import Deallocate
from allocation_worker.entrypoints.relay import Waker
from allocation_worker.service_layer.outgoing import OutgoingEvent
from allocation_worker.service_layer.ports import StoreUnavailable
from tests.fakes.messages import message
from tests.integration.postgres.staging import DEADLINE, create, order, process, terminate, until
from tests.integration.postgres.store import PostgresStore

LONG = 60.0


@pytest.fixture
def waker() -> Waker:
    return Waker()


def write(connection: Connection, *types: str) -> list[int]:
    """Rows of the outbox in a transaction of the test's own; their ids."""
    inserted = connection.execute(
        sa.text(
            "INSERT INTO outbox (message_id, type, body, correlation_id, causation_id) "
            "SELECT gen_random_uuid(), type, '{}', 'c', 'm' FROM unnest(CAST(:types AS text[])) AS type RETURNING id"
        ),
        {"types": list(types)},
    )
    return [row.id for row in inserted]


def ids(events: Iterable[OutgoingEvent]) -> list[int]:
    return [event.id for event in events]


def fill(store: PostgresStore, *types: str) -> list[int]:
    with store.engine.begin() as connection:
        return write(connection, *types)


class TestTheOneReader:
    def test_only_one_session_at_a_time_is_active(self, store: PostgresStore) -> None:
        with open_pending(store.engine) as first, open_pending(store.engine) as second:
            assert first.acquire()
            assert not second.acquire()
            assert not second.acquire()

    def test_the_next_becomes_active_when_the_first_leaves(self, store: PostgresStore) -> None:
        with open_pending(store.engine) as second:
            with open_pending(store.engine) as first:
                assert first.acquire()
                assert not second.acquire()
            until(second.acquire)

    def test_the_next_becomes_active_when_the_first_dies(self, store: PostgresStore) -> None:
        with open_pending(store.engine) as second, open_pending(store.engine) as first:
            assert first.acquire()
            terminate(store.engine, first._driver.info.backend_pid)
            until(second.acquire)
            with pytest.raises(StoreUnavailable):
                first.fetch(10, [])

    def test_of_many_that_try_at_once_one_succeeds(self, store: PostgresStore) -> None:
        barrier = Barrier(5, timeout=DEADLINE)

        def acquire(session: PendingEvents) -> bool:
            barrier.wait()
            return session.acquire()

        with ExitStack() as stack, ThreadPoolExecutor(5) as pool:
            sessions = [stack.enter_context(open_pending(store.engine)) for _ in range(5)]
            assert sum(pool.map(acquire, sessions)) == 1

    def test_workers_are_not_hindered(self, store: PostgresStore) -> None:
        with open_pending(store.engine) as session:
            session.acquire()
            session.fetch(10, [])
            process(store.unit_of_work, message(create("b", 10)))
            assert len(session.fetch(10, [])) == 1


class TestFetch:
    def test_an_event_comes_as_it_was_written(self, store: PostgresStore) -> None:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        process(store.unit_of_work, message(create("b", 10), "cause", correlation_id="talk", traceparent=trace))
        with open_pending(store.engine) as session:
            (event,) = session.fetch(10, [])
        (row,) = store.published()
        assert event.body == b'{"batchref":"b","sku":"LAMP","qty":10,"eta":null,"sequence":1}'
        assert (event.routing_key, event.type, event.message_id) == (
            "batch-created",
            "batch-created.v1",
            row.message_id,
        )
        assert (event.correlation_id, event.causation_id, event.traceparent) == ("talk", "cause", trace)
        assert event.timestamp > 1_700_000_000

    def test_events_come_in_order_and_no_more_than_asked_for(self, store: PostgresStore) -> None:
        written = fill(store, *["allocated.v1"] * 5)
        with open_pending(store.engine) as session:
            assert ids(session.fetch(3, [])) == written[:3]
            assert ids(session.fetch(3, written[:3])) == written[3:]

    def test_what_is_in_flight_is_left_out(self, store: PostgresStore) -> None:
        written = fill(store, *["allocated.v1"] * 5)
        with open_pending(store.engine) as session:
            assert ids(session.fetch(10, [written[1], written[3]])) == [written[0], written[2], written[4]]

    def test_what_is_published_never_comes_again(self, store: PostgresStore) -> None:
        written = fill(store, *["allocated.v1"] * 3)
        with open_pending(store.engine) as session:
            session.mark_published([written[1]])
            assert ids(session.fetch(10, [])) == [written[0], written[2]]
        with open_pending(store.engine) as session:
            assert ids(session.fetch(10, [])) == [written[0], written[2]]

    def test_what_was_fetched_and_not_marked_comes_again(self, store: PostgresStore) -> None:
        written = fill(store, *["allocated.v1"] * 3)
        with open_pending(store.engine) as session:
            assert ids(session.fetch(10, [])) == ids(session.fetch(10, [])) == written

    def test_a_transaction_that_commits_late_is_seen(self, store: PostgresStore) -> None:
        """Its rows were numbered before those that have been fetched."""
        with open_pending(store.engine) as session:
            with store.engine.begin() as slow:
                late = write(slow, "allocated.v1")
                early = fill(store, "allocated.v1")
                assert late < early
                assert ids(session.fetch(10, [])) == early
                session.mark_published(early)
            assert ids(session.fetch(10, [])) == late

    def test_one_that_commits_very_late_is_seen_within_a_second_or_so(
        self, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Even further back than the usual look goes."""
        monkeypatch.setattr(pending_module, "_LOOK_BACK", 2)
        monkeypatch.setattr(pending_module, "_FULL_LOOK_EVERY", 0.2)
        with open_pending(store.engine) as session:
            with store.engine.begin() as slow:
                late = write(slow, "allocated.v1")
                early = fill(store, *["allocated.v1"] * 10)
                assert ids(session.fetch(20, [])) == early
                session.mark_published(early)
            until(lambda: ids(session.fetch(20, [])) == late)

    def test_what_was_rolled_back_leaves_a_gap_that_nobody_waits_for(self, store: PostgresStore) -> None:
        with store.engine.connect() as connection:
            write(connection, "allocated.v1")
        written = fill(store, "allocated.v1")
        with open_pending(store.engine) as session:
            assert ids(session.fetch(10, [])) == written

    def test_each_products_events_come_in_the_order_of_their_sequence(self, store: PostgresStore) -> None:
        process(store.unit_of_work, *(message(create(sku, 100, sku)) for sku in ("A", "B")))
        for number in range(5):
            process(
                store.unit_of_work,
                message(order(f"o{number}", 1, "B")),
                message(order(f"o{number}", 1, "A")),
                message(Deallocate(orderid=f"o{number}", sku="B")),
            )
        with open_pending(store.engine) as session:
            fetched = session.fetch(100, [])
        sequences = {row.message_id: (row.sku, row.sequence) for row in store.published()}
        for sku, total in (("A", 6), ("B", 11)):
            order_of_sku = [
                sequences[event.message_id][1] for event in fetched if sequences[event.message_id][0] == sku
            ]
            assert order_of_sku == list(range(1, total + 1))


class TestSetAside:
    def test_what_is_set_aside_is_not_fetched(self, store: PostgresStore) -> None:
        written = fill(store, *["allocated.v1"] * 3)
        with open_pending(store.engine) as session:
            session.set_aside(written[:2])
            assert ids(session.fetch(10, [])) == written[2:]

    def test_the_oldest_of_each_type_can_be_had(self, store: PostgresStore) -> None:
        written = fill(store, "deallocated.v1", "allocated.v1", "deallocated.v1", "allocated.v1", "out-of-stock.v1")
        with open_pending(store.engine) as session:
            assert session.oldest_set_aside() == []
            session.set_aside(written[:4])
            assert sorted(ids(session.oldest_set_aside())) == written[:2]

    def test_taken_up_they_are_fetched_in_order_again_and_others_stay(self, store: PostgresStore) -> None:
        written = fill(store, "allocated.v1", "deallocated.v1", "allocated.v1", "allocated.v1")
        with open_pending(store.engine) as session:
            session.fetch(10, [])
            session.set_aside(written[:3])
            session.take_up(["allocated.v1"])
            assert ids(session.fetch(10, [])) == [written[0], written[2], written[3]]
            assert ids(session.oldest_set_aside()) == [written[1]]

    def test_taken_up_they_are_fetched_at_once_however_old(
        self, store: PostgresStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(pending_module, "_LOOK_BACK", 0)
        monkeypatch.setattr(pending_module, "_FULL_LOOK_EVERY", LONG)
        written = fill(store, "deallocated.v1", *["allocated.v1"] * 5)
        with open_pending(store.engine) as session:
            session.set_aside(written[:1])
            assert ids(session.fetch(10, [])) == written[1:]
            session.take_up(["deallocated.v1"])
            assert ids(session.fetch(10, [])) == written

    def test_one_that_is_published_after_all_is_not_set_aside_any_more(self, store: PostgresStore) -> None:
        written = fill(store, "allocated.v1")
        with open_pending(store.engine) as session:
            session.set_aside(written)
            session.mark_published(written)
            session.set_aside(written)
            session.take_up(["allocated.v1"])
            assert (session.fetch(10, []), session.oldest_set_aside()) == ([], [])


class TestWait:
    def seconds_waited(self, session: PendingEvents, waker: Waker, timeout: float) -> float:
        started = monotonic()
        session.wait(timeout, waker.fd)
        return monotonic() - started

    def test_wakes_when_an_event_is_committed(self, store: PostgresStore, waker: Waker) -> None:
        with open_pending(store.engine) as session, ThreadPoolExecutor(1) as pool:
            assert session.acquire()
            waiting = pool.submit(self.seconds_waited, session, waker, LONG)
            process(store.unit_of_work, message(create("b", 10)))
            assert waiting.result(timeout=DEADLINE) < LONG / 2
            assert len(session.fetch(10, [])) == 1

    def test_does_not_sleep_through_what_was_committed_before_it_waited(
        self, store: PostgresStore, waker: Waker
    ) -> None:
        with open_pending(store.engine) as session:
            assert session.acquire()
            assert session.fetch(10, []) == []
            process(store.unit_of_work, message(create("b", 10)))
            assert self.seconds_waited(session, waker, LONG) < LONG / 2

    def test_wakes_when_it_is_told_to(self, store: PostgresStore, waker: Waker) -> None:
        with open_pending(store.engine) as session, ThreadPoolExecutor(1) as pool:
            assert session.acquire()
            waiting = pool.submit(self.seconds_waited, session, waker, LONG)
            waker.wake()
            assert waiting.result(timeout=DEADLINE) < LONG / 2

    def test_wakes_after_the_timeout_where_nothing_happens(self, store: PostgresStore, waker: Waker) -> None:
        with open_pending(store.engine) as session:
            assert session.acquire()
            assert self.seconds_waited(session, waker, 0.02) >= 0.02

    def test_one_notice_wakes_once(self, store: PostgresStore, waker: Waker) -> None:
        with open_pending(store.engine) as session:
            assert session.acquire()
            process(store.unit_of_work, message(create("b", 10)))
            assert self.seconds_waited(session, waker, LONG) < LONG / 2
            assert self.seconds_waited(session, waker, 0.02) >= 0.02

    def test_a_server_that_goes_away_meanwhile_is_unavailable(self, store: PostgresStore, waker: Waker) -> None:
        def wait_twice(session: PendingEvents) -> None:
            """The server's last words may wake the first; then it says no more."""
            session.wait(LONG, waker.fd)
            session.wait(LONG, waker.fd)

        with open_pending(store.engine) as session, ThreadPoolExecutor(1) as pool:
            assert session.acquire()
            waiting = pool.submit(wait_twice, session)
            terminate(store.engine, session._driver.info.backend_pid)
            with pytest.raises(StoreUnavailable):
                waiting.result(timeout=DEADLINE)

    def test_a_wake_fd_that_was_closed_is_a_mistake_that_shows(self, store: PostgresStore) -> None:
        readable, writable = os.pipe()
        os.close(readable)
        os.close(writable)
        with open_pending(store.engine) as session, pytest.raises(StoreUnavailable):
            session.wait(LONG, readable)
