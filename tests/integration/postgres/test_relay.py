"""The relay's outbox in PostgreSQL, beyond the contract in `tests/contract/test_pending.py`."""

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from threading import Barrier
from time import monotonic

import pytest
import sqlalchemy as sa

from allocation_worker.adapters.postgres import relay
from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.relay import PendingEvents, open_pending
from allocation_worker.domain.commands import Deallocate
from allocation_worker.entrypoints.relay import Waker
from allocation_worker.service_layer.outgoing import Page
from allocation_worker.service_layer.ports import StoreUnavailableError
from tests.fakes.messages import message
from tests.integration.postgres.staging import DEADLINE, create, order, process, terminate, until
from tests.integration.postgres.store import PostgresStore, migrated_engine, write_pages

LONG = 60.0
ALLOCATED = ["allocated.v1"]


@pytest.fixture
def waker() -> Waker:
    return Waker()


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every look asks which rows need not be looked at any more."""
    monkeypatch.setattr(relay, "_RAISE_FLOOR_EVERY", 0.0)


def until_floor_is(id_: int, session: PendingEvents, in_flight: Sequence[int]) -> None:
    """Look again and again, while these are in flight, until no look passes this row any more."""

    def there() -> bool:
        assert session.fetch(100, in_flight) == []
        assert session._floor.id <= id_
        return session._floor.id == id_

    until(there)


def ids(pages: Iterable[Page]) -> list[int]:
    return [page.id for page in pages]


class TestTheOneReader:
    def test_the_next_becomes_active_when_the_first_dies(self, store: PostgresStore) -> None:
        with store.open_pending() as second, store.open_pending() as first:
            assert first.acquire()
            terminate(store.engine, first._driver.info.backend_pid)
            until(second.acquire)
            with pytest.raises(StoreUnavailableError):
                first.fetch(10, [])

    def test_the_next_becomes_active_when_the_first_says_nothing_for_its_lease(self, store: PostgresStore) -> None:
        with store.open_pending() as second, open_pending(store.engine, lease=0.5) as first:
            assert first.acquire()
            assert not second.acquire()
            until(second.acquire)
            with pytest.raises(StoreUnavailableError):
                first.fetch(10, [])

    def test_one_that_waits_keeps_its_place(self, store: PostgresStore, waker: Waker) -> None:
        with store.open_pending() as second, open_pending(store.engine, lease=0.3) as first:
            assert first.acquire()
            began = monotonic()
            while monotonic() < began + 1:
                first.wait(LONG, waker.fd)
            assert not second.acquire()
            assert first.fetch(10, []) == []

    def test_one_that_stands_by_has_no_lease(self, store: PostgresStore) -> None:
        with store.open_pending() as first, open_pending(store.engine, lease=0.2) as second:
            assert first.acquire()
            assert not second.acquire()
            first._connection.execute(sa.text("SELECT pg_sleep(0.5)"))
            assert not second.acquire()

    def test_of_many_that_try_at_once_one_succeeds(self, store: PostgresStore) -> None:
        barrier = Barrier(5, timeout=DEADLINE)

        def acquire(session: PendingEvents) -> bool:
            barrier.wait()
            return session.acquire()

        with ExitStack() as stack, ThreadPoolExecutor(5) as pool:
            sessions = [stack.enter_context(store.open_pending()) for _ in range(5)]
            assert sum(pool.map(acquire, sessions)) == 1


class TestFetch:
    def test_a_transaction_that_commits_late_is_seen(self, store: PostgresStore) -> None:
        """Its rows were numbered before those that have been fetched."""
        with store.open_pending() as session:
            with store.engine.begin() as slow:
                late = write_pages(slow, ALLOCATED)
                early = store.write_pages(ALLOCATED)
                assert late < early
                assert ids(session.fetch(10, [])) == early
                session.mark_published(early, [])
            assert ids(session.fetch(10, [])) == late

    def test_what_was_rolled_back_leaves_a_gap_that_nobody_waits_for(self, store: PostgresStore) -> None:
        with store.engine.connect() as connection:
            write_pages(connection, ALLOCATED)
        written = store.write_pages(ALLOCATED)
        with store.open_pending() as session:
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
        with store.open_pending() as session:
            fetched = [event for page in session.fetch(100, []) for event in page.events]
        sequences = {row.message_id: (row.sku, row.sequence) for row in store.published()}
        for sku, total in (("A", 6), ("B", 11)):
            order_of_sku = [
                sequences[event.message_id][1] for event in fetched if sequences[event.message_id][0] == sku
            ]
            assert order_of_sku == list(range(1, total + 1))


@pytest.mark.usefixtures("eager")
class TestFloor:
    """A look passes over what is published or in flight, and over nothing else."""

    LOOKS = 5

    def test_it_rises_once_all_is_in_flight_and_old_rows_are_not_looked_at(self, store: PostgresStore) -> None:
        written = store.write_pages(*[ALLOCATED] * 5)
        with store.open_pending() as session:
            assert ids(session.fetch(10, [])) == written
            until_floor_is(written[-1], session, written)
            assert session.fetch(10, []) == []
            more = store.write_pages(ALLOCATED)
            assert ids(session.fetch(10, [])) == more
            until_floor_is(more[-1], session, more)

    def test_it_does_not_rise_past_rows_that_a_look_had_no_room_for(self, store: PostgresStore) -> None:
        written = store.write_pages(*[ALLOCATED] * 10)
        with store.open_pending() as session:
            for start in (0, 2, 4, 6):
                for _ in range(self.LOOKS):
                    assert ids(session.fetch(2, written[:start])) == written[start : start + 2]
                    assert session._floor.id == 0
            assert ids(session.fetch(4, written[:8])) == written[8:]
            until_floor_is(written[-1], session, written)

    def test_it_stays_below_a_transaction_that_has_not_ended(self, store: PostgresStore) -> None:
        with store.open_pending() as session:
            with store.engine.begin() as slow:
                late = write_pages(slow, ALLOCATED)
                early = store.write_pages(*[ALLOCATED] * 3)
                assert ids(session.fetch(10, [])) == early
                for _ in range(self.LOOKS):
                    assert session.fetch(10, early) == []
                    assert session._floor.id < late[0]
                session.mark_published(early, [])
            assert ids(session.fetch(10, [])) == late
            until_floor_is(early[-1], session, late)

    @pytest.mark.parametrize("last_to_commit", [0, 1])
    def test_it_stays_below_transactions_of_which_none_younger_has_ended(
        self, store: PostgresStore, last_to_commit: int
    ) -> None:
        """A snapshot's xmax is that after the last one that has ended; those that run may be beyond it."""
        store.write_pages(ALLOCATED)
        store.execute("UPDATE outbox_pages SET published_at = now()")
        with store.open_pending() as session, ExitStack() as stack:
            slow = [stack.enter_context(store.engine.connect()) for _ in range(2)]
            late = [write_pages(connection, ALLOCATED) for connection in slow]
            for _ in range(self.LOOKS):
                assert session.fetch(10, []) == []
                assert session._floor.id < late[0][0]
            slow[1 - last_to_commit].commit()
            first = late[1 - last_to_commit]
            for _ in range(self.LOOKS):
                assert ids(session.fetch(10, [])) == first
            session.mark_published(first, [])
            slow[last_to_commit].commit()
            assert ids(session.fetch(10, [])) == late[last_to_commit]

    def test_it_rises_beside_a_transaction_that_writes_elsewhere(self, store: PostgresStore, database_url: str) -> None:
        """Else each look would pass over all rows since that transaction began."""
        elsewhere = create_engine(database_url, application_name="tests")
        with store.open_pending() as session, store.engine.begin() as same, elsewhere.begin() as other:
            same.execute(sa.text("UPDATE products SET sequence = sequence"))
            for connection in (same, other):
                connection.execute(sa.text("SELECT pg_current_xact_id()"))
            written = store.write_pages(*[ALLOCATED] * 5)
            until_floor_is(written[-1], session, written)
        elsewhere.dispose()

    def test_the_first_row_of_all_is_seen_by_a_relay_that_was_there_before(self, database_url: str) -> None:
        store = PostgresStore(migrated_engine(database_url))
        try:
            with store.open_pending() as session:
                for _ in range(self.LOOKS):
                    assert session.fetch(10, []) == []
                written = store.write_pages(ALLOCATED)
                assert ids(session.fetch(10, [])) == written
        finally:
            store.engine.dispose()

    def test_rows_of_a_large_transaction_come_in_order_after_later_ones(self, store: PostgresStore) -> None:
        """A window over the latest 10,000 would show the end of them first."""
        with store.open_pending() as session:
            with store.engine.begin() as slow:
                late = write_pages(slow, *[ALLOCATED] * 12_000)
                early = store.write_pages(*[ALLOCATED] * 3)
                for _ in range(self.LOOKS):
                    assert ids(session.fetch(500, [])) == early
                session.mark_published(early, [])
                assert session.fetch(500, []) == []
            fetched: list[int] = []
            while batch := ids(session.fetch(500, [])):
                fetched += batch
                session.mark_published(batch, [])
        assert fetched == late

    def test_nothing_is_skipped_however_transactions_overlap(self, store: PostgresStore) -> None:
        """Each commits at its own time; what one look finds is marked before the next, as if by the relay."""
        barrier = Barrier(5, timeout=DEADLINE)

        def work(number: int) -> list[int]:
            barrier.wait()
            written: list[int] = []
            for turn in range(30):
                with store.engine.begin() as connection:
                    for _ in range(1 + (number + turn) % 4):
                        written += write_pages(connection, ALLOCATED)
            return written

        with store.open_pending() as session, ThreadPoolExecutor(4) as pool:
            workers = [pool.submit(work, number) for number in range(4)]
            barrier.wait()
            fetched: list[int] = []
            ended = False
            while not ended:
                ended = all(worker.done() for worker in workers)
                while batch := ids(session.fetch(7, [])):
                    fetched += batch
                    session.mark_published(batch, [])
            written = [id_ for worker in workers for id_ in worker.result(timeout=DEADLINE)]
            assert sorted(fetched) == sorted(written)
            assert session._floor.id > min(written)


class TestWait:
    def seconds_waited(self, session: PendingEvents, waker: Waker, timeout: float) -> float:
        started = monotonic()
        session.wait(timeout, waker.fd)
        return monotonic() - started

    def test_wakes_when_an_event_is_committed(self, store: PostgresStore, waker: Waker) -> None:
        with store.open_pending() as session, ThreadPoolExecutor(1) as pool:
            assert session.acquire()
            waiting = pool.submit(self.seconds_waited, session, waker, LONG)
            process(store.unit_of_work, message(create("b", 10)))
            assert waiting.result(timeout=DEADLINE) < LONG / 2
            assert len(session.fetch(10, [])) == 1

    def test_does_not_sleep_through_what_was_committed_before_it_waited(
        self, store: PostgresStore, waker: Waker
    ) -> None:
        with store.open_pending() as session:
            assert session.acquire()
            assert session.fetch(10, []) == []
            process(store.unit_of_work, message(create("b", 10)))
            assert self.seconds_waited(session, waker, LONG) < LONG / 2

    def test_wakes_when_it_is_told_to(self, store: PostgresStore, waker: Waker) -> None:
        with store.open_pending() as session, ThreadPoolExecutor(1) as pool:
            assert session.acquire()
            waiting = pool.submit(self.seconds_waited, session, waker, LONG)
            waker.wake()
            assert waiting.result(timeout=DEADLINE) < LONG / 2

    def test_wakes_after_the_timeout_where_nothing_happens(self, store: PostgresStore, waker: Waker) -> None:
        with store.open_pending() as session:
            assert session.acquire()
            assert self.seconds_waited(session, waker, 0.02) >= 0.02

    def test_one_notice_wakes_once(self, store: PostgresStore, waker: Waker) -> None:
        with store.open_pending() as session:
            assert session.acquire()
            process(store.unit_of_work, message(create("b", 10)))
            assert self.seconds_waited(session, waker, LONG) < LONG / 2
            assert self.seconds_waited(session, waker, 0.02) >= 0.02

    def test_says_whether_there_may_be_something_new(self, store: PostgresStore, waker: Waker) -> None:
        with store.open_pending() as session:
            assert session.acquire()
            waker.wake()
            assert not session.wait(LONG, waker.fd)
            assert not session.wait(0, waker.fd)
            waker.clear()
            assert not session.wait(0, waker.fd)
            assert session.wait(0.02, waker.fd)
            process(store.unit_of_work, message(create("b", 10)))
            assert session.wait(LONG, waker.fd)
            waker.wake()
            assert not session.wait(LONG, waker.fd)

    def test_a_notice_is_not_lost_with_a_look_that_comes_before_the_wait(
        self, store: PostgresStore, waker: Waker
    ) -> None:
        with store.open_pending() as session:
            assert session.acquire()
            process(store.unit_of_work, message(create("b", 10)))
            # The notice comes when it comes, be it with the answer to a look.
            assert len(session.fetch(10, [])) == 1
            until(lambda: session.wait(0, waker.fd))

    def test_a_server_that_goes_away_meanwhile_is_unavailable(self, store: PostgresStore, waker: Waker) -> None:
        def wait_twice(session: PendingEvents) -> None:
            """The server's last words may wake the first; then it says no more."""
            session.wait(LONG, waker.fd)
            session.wait(LONG, waker.fd)

        with store.open_pending() as session, ThreadPoolExecutor(1) as pool:
            assert session.acquire()
            waiting = pool.submit(wait_twice, session)
            terminate(store.engine, session._driver.info.backend_pid)
            with pytest.raises(StoreUnavailableError):
                waiting.result(timeout=DEADLINE)

    def test_a_wake_fd_that_was_closed_is_a_mistake_that_shows(self, store: PostgresStore) -> None:
        with store.open_pending() as session:  # first, lest its socket gets the number of what is closed
            readable, writable = os.pipe()
            os.close(readable)
            os.close(writable)
            with pytest.raises(StoreUnavailableError):
                session.wait(LONG, readable)
