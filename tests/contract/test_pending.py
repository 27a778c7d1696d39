"""The contract of the relay's outbox, for the fake and for PostgreSQL."""

from collections.abc import Iterable

from allocation_worker.domain.commands import CreateBatch
from allocation_worker.service_layer.outgoing import OutgoingEvent
from tests.contract.conftest import Store
from tests.fakes.messages import message
from tests.integration.postgres.staging import process, until


def ids(events: Iterable[OutgoingEvent]) -> list[int]:
    return [event.id for event in events]


class TestTheOneReader:
    def test_only_one_session_at_a_time_is_active(self, store: Store) -> None:
        with store.open_pending() as first, store.open_pending() as second:
            assert first.acquire()
            assert not second.acquire()
            assert not second.acquire()

    def test_the_next_becomes_active_when_the_first_leaves(self, store: Store) -> None:
        with store.open_pending() as second:
            with store.open_pending() as first:
                assert first.acquire()
                assert not second.acquire()
            until(second.acquire)

    def test_workers_are_not_hindered(self, store: Store) -> None:
        with store.open_pending() as session:
            session.acquire()
            session.fetch(10, [])
            process(store.unit_of_work, message(CreateBatch(batchref="b", sku="LAMP", qty=10)))
            assert len(session.fetch(10, [])) == 1

    def test_it_is_told_of_what_is_committed_once(self, store: Store) -> None:
        with store.open_pending() as session:
            session.acquire()
            process(store.unit_of_work, message(CreateBatch(batchref="b", sku="LAMP", qty=10)))
            until(lambda: session.wait(0, wake_fd=0))
            assert not session.wait(0, wake_fd=0)


class TestFetch:
    def test_an_event_comes_as_it_was_written(self, store: Store) -> None:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        command = CreateBatch(batchref="b", sku="LAMP", qty=10)
        process(store.unit_of_work, message(command, "cause", correlation_id="talk", traceparent=trace))
        with store.open_pending() as session:
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

    def test_events_come_in_order_and_no_more_than_asked_for(self, store: Store) -> None:
        written = store.write_events(*["allocated.v1"] * 5)
        with store.open_pending() as session:
            assert ids(session.fetch(3, [])) == written[:3]
            assert ids(session.fetch(3, written[:3])) == written[3:]

    def test_what_is_in_flight_is_left_out(self, store: Store) -> None:
        written = store.write_events(*["allocated.v1"] * 5)
        with store.open_pending() as session:
            assert ids(session.fetch(10, [written[1], written[3]])) == [written[0], written[2], written[4]]

    def test_what_is_published_never_comes_again(self, store: Store) -> None:
        written = store.write_events(*["allocated.v1"] * 3)
        with store.open_pending() as session:
            session.mark_published([written[1]])
            assert ids(session.fetch(10, [])) == [written[0], written[2]]
        with store.open_pending() as session:
            assert ids(session.fetch(10, [])) == [written[0], written[2]]

    def test_what_was_fetched_and_not_marked_comes_again_when_told_to_start_over(self, store: Store) -> None:
        written = store.write_events(*["allocated.v1"] * 3)
        with store.open_pending() as session:
            assert ids(session.fetch(10, [])) == written
            session.start_over()
            assert ids(session.fetch(10, [written[0]])) == written[1:]


class TestSetAside:
    def test_what_is_set_aside_is_not_fetched(self, store: Store) -> None:
        written = store.write_events(*["allocated.v1"] * 3)
        with store.open_pending() as session:
            session.set_aside(written[:2])
            assert ids(session.fetch(10, [])) == written[2:]

    def test_the_oldest_of_each_type_can_be_had(self, store: Store) -> None:
        written = store.write_events(
            "deallocated.v1", "allocated.v1", "deallocated.v1", "allocated.v1", "out-of-stock.v1"
        )
        with store.open_pending() as session:
            assert session.oldest_set_aside() == []
            session.set_aside(written[:4])
            assert sorted(ids(session.oldest_set_aside())) == written[:2]

    def test_taken_up_they_are_fetched_in_order_again_and_others_stay(self, store: Store) -> None:
        written = store.write_events("allocated.v1", "deallocated.v1", "allocated.v1", "allocated.v1")
        with store.open_pending() as session:
            session.fetch(10, [])
            session.set_aside(written[:3])
            session.take_up(["allocated.v1"])
            assert ids(session.fetch(10, [])) == [written[0], written[2], written[3]]
            assert ids(session.oldest_set_aside()) == [written[1]]

    def test_one_that_is_published_after_all_is_not_set_aside_any_more(self, store: Store) -> None:
        written = store.write_events("allocated.v1")
        with store.open_pending() as session:
            session.set_aside(written)
            session.mark_published(written)
            session.set_aside(written)
            session.take_up(["allocated.v1"])
            assert (session.fetch(10, []), session.oldest_set_aside()) == ([], [])
