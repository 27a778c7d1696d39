"""The contract of the relay's outbox, for the fake and for PostgreSQL."""

from collections.abc import Iterable

import pytest

from allocation_worker.domain.commands import Allocate, Command, CreateBatch
from allocation_worker.service_layer.outgoing import OutgoingEvent, Page
from allocation_worker.service_layer.ports import Pending
from tests.contract.conftest import Store
from tests.fakes.messages import message
from tests.integration.postgres.staging import process, until

ALLOCATED = ["allocated.v1"]


def ids(found: Iterable[OutgoingEvent | Page]) -> list[int]:
    return [each.id for each in found]


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
            (page,) = session.fetch(10, [])
        (event,) = page.events
        (row,) = store.published()
        assert event.body == b'{"batchref":"b","sku":"LAMP","qty":10,"eta":null,"sequence":1}'
        assert (event.routing_key, event.type, event.message_id) == (
            "batch-created",
            "batch-created.v1",
            row.message_id,
        )
        assert (event.correlation_id, event.causation_id, event.traceparent) == ("talk", "cause", trace)
        assert event.page == page.id
        assert event.timestamp > 1_700_000_000

    @pytest.mark.parametrize("correlation_id", ["cause", "talk"])
    @pytest.mark.parametrize("trace", [None, "", "="])
    @pytest.mark.parametrize("state", [None, "rojo=00f067aa0ba902b7,congo=t61=="])
    def test_what_travels_beside_an_event_comes_as_it_was(
        self, store: Store, correlation_id: str, trace: str | None, state: str | None
    ) -> None:
        received = message(CreateBatch(batchref="b", sku="LAMP", qty=10), "cause", correlation_id=correlation_id)
        process(store.unit_of_work, received._replace(traceparent=trace, tracestate=state))
        process(store.unit_of_work, received._replace(message_id="again", traceparent=trace, tracestate=state))
        with store.open_pending() as session:
            pages = session.fetch(10, [])
        events = [event for page in pages for event in page.events]
        assert [event.causation_id for event in events] == ["cause", "again"]
        assert {(event.correlation_id, event.traceparent, event.tracestate) for event in events} == {
            (correlation_id, trace, state)
        }
        assert {(row.traceparent, row.tracestate) for row in store.published()} == {(trace, state)}

    def test_pages_come_in_order_and_no_more_than_hold_what_is_asked_for(self, store: Store) -> None:
        written = store.write_pages(ALLOCATED, ALLOCATED * 2, ALLOCATED, ALLOCATED * 3)
        for limit, taken, expected in (
            (1, 0, written[:1]),
            (2, 0, written[:2]),
            (3, 0, written[:2]),
            (4, 2, written[2:]),
            (100, 0, written),
        ):
            with store.open_pending() as session:
                assert ids(session.fetch(limit, written[:taken])) == expected

    def test_the_events_of_a_page_are_in_order_and_so_are_those_of_the_next(self, store: Store) -> None:
        store.write_pages(ALLOCATED * 3, ALLOCATED * 2)
        with store.open_pending() as session:
            pages = session.fetch(10, [])
        assert [len(page.events) for page in pages] == [3, 2]
        found = [event.id for page in pages for event in page.events]
        assert found == sorted(set(found))
        assert all(event.page == page.id for page in pages for event in page.events)

    def test_what_is_taken_is_left_out(self, store: Store) -> None:
        written = store.write_pages(*[ALLOCATED] * 5)
        with store.open_pending() as session:
            assert ids(session.fetch(10, [written[1], written[3]])) == [written[0], written[2], written[4]]

    def test_what_is_published_never_comes_again(self, store: Store) -> None:
        written = store.write_pages(*[ALLOCATED] * 3)
        with store.open_pending() as session:
            session.mark_published([written[1]], [])
            assert ids(session.fetch(10, [])) == [written[0], written[2]]
        with store.open_pending() as session:
            assert ids(session.fetch(10, [])) == [written[0], written[2]]

    def test_what_was_fetched_and_not_marked_comes_again_in_another_session(self, store: Store) -> None:
        written = store.write_pages(*[ALLOCATED] * 3)
        with store.open_pending() as session:
            assert ids(session.fetch(10, [])) == written
            assert session.fetch(10, written) == []
        with store.open_pending() as session:
            assert ids(session.fetch(10, [])) == written


class TestPagesOfOneProduct:
    def test_they_come_without_their_events_and_beside_the_limit(self, store: Store) -> None:
        [first] = store.write_pages(ALLOCATED)
        own = store.write_pages(ALLOCATED * 3, ALLOCATED * 3, product="LAMP")
        [last] = store.write_pages(ALLOCATED)
        with store.open_pending() as session:
            pages = session.fetch(2, [])
        assert ids(pages) == [first, *own, last]
        assert [(page.product, len(page.events)) for page in pages] == [(None, 1), ("LAMP", 0), ("LAMP", 0), (None, 1)]

    def test_they_do_not_come_before_a_page_of_all_that_stands_before_them(self, store: Store) -> None:
        before = store.write_pages(ALLOCATED, ALLOCATED, ALLOCATED)
        own = store.write_pages(ALLOCATED, product="LAMP")
        with store.open_pending() as session:
            assert ids(session.fetch(2, [])) == before[:2]
            assert ids(session.fetch(2, before[:2])) == [before[2], *own]

    def test_they_are_read_with_their_events_in_order(self, store: Store) -> None:
        own = store.write_pages(ALLOCATED, ALLOCATED * 2, product="LAMP")
        with store.open_pending() as session:
            session.fetch(1, [])
            pages = session.read(own[::-1])
        assert ids(pages) == own
        assert [(page.product, len(page.events)) for page in pages] == [("LAMP", 1), ("LAMP", 2)]
        assert all(event.page == page.id for page in pages for event in page.events)

    def test_what_is_taken_or_published_never_comes_again(self, store: Store) -> None:
        own = store.write_pages(*[ALLOCATED] * 3, product="LAMP")
        with store.open_pending() as session:
            assert ids(session.fetch(1, own[:1])) == own[1:]
        with store.open_pending() as session:
            session.mark_published(own[1:2], [])
            assert ids(session.fetch(1, [])) == [own[0], own[2]]

    def test_from_its_second_page_on_a_transaction_names_the_product_of_a_page(self, store: Store) -> None:
        lines = [Allocate(orderid=f"o{n}", sku="LAMP", qty=1) for n in range(2500)]
        commands: list[Command] = [
            CreateBatch(batchref="b", sku="LAMP", qty=10_000),
            *lines,
            CreateBatch(batchref="c", sku="VASE", qty=1),
        ]
        process(store.unit_of_work, *[message(command) for command in commands])
        with store.open_pending() as session:
            pages = session.fetch(10_000, [])
            counts = {page.id: len(page.events) for page in session.read(ids(pages))}
        assert sum(counts.values()) == 2502
        assert [page.product for page in pages] == [None, *["LAMP"] * (len(pages) - 2), None]


class TestUnrouted:
    def kept(self, session: Pending) -> list[OutgoingEvent]:
        """Mark all pages, and keep all their events."""
        fetched = session.fetch(100, [])
        events = [event for page in fetched for event in page.events]
        session.mark_published(ids(fetched), ids(events))
        return [event._replace(page=None) for event in events]

    def test_it_is_kept_with_the_mark_of_its_page_as_it_was(self, store: Store) -> None:
        store.write_pages([*ALLOCATED, "deallocated.v1", "out-of-stock.v1"])
        with store.open_pending() as session:
            (page,) = session.fetch(10, [])
            kept = page.events[1]
            session.mark_published([page.id], [kept.id])
            assert session.oldest_unrouted() == [kept._replace(page=None)]
            assert session.fetch(10, []) == []
        with store.open_pending() as session:
            assert session.fetch(10, []) == []
            assert session.fetch_unrouted(["deallocated.v1"], 10, 0) == [kept._replace(page=None)]

    def test_of_a_page_that_is_marked_already_nothing_is_kept(self, store: Store) -> None:
        store.write_pages(ALLOCATED)
        with store.open_pending() as session:
            (page,) = session.fetch(10, [])
            session.mark_published([page.id], [])
            session.mark_published([page.id], ids(page.events))
            assert session.oldest_unrouted() == []

    def test_the_oldest_of_each_type_can_be_had(self, store: Store) -> None:
        store.write_pages(["deallocated.v1", *ALLOCATED], ["deallocated.v1", *ALLOCATED])
        with store.open_pending() as session:
            assert session.oldest_unrouted() == []
            events = self.kept(session)
            assert sorted(session.oldest_unrouted()) == events[:2]

    def test_those_of_some_types_can_be_had_in_order_from_any_on(self, store: Store) -> None:
        store.write_pages([*ALLOCATED, "deallocated.v1", *ALLOCATED], ["out-of-stock.v1", *ALLOCATED])
        with store.open_pending() as session:
            first, cancelled, second, missing, third = self.kept(session)
            assert session.fetch_unrouted(ALLOCATED, 10, 0) == [first, second, third]
            assert session.fetch_unrouted(ALLOCATED, 2, 0) == [first, second]
            assert session.fetch_unrouted(ALLOCATED, 10, first.id) == [second, third]
            assert session.fetch_unrouted(["out-of-stock.v1", "deallocated.v1"], 10, 0) == [cancelled, missing]
            assert session.fetch_unrouted(["batch-created.v1"], 10, 0) == []

    def test_what_is_published_after_all_is_kept_no_longer(self, store: Store) -> None:
        store.write_pages(ALLOCATED * 3)
        with store.open_pending() as session:
            first, second, third = self.kept(session)
            session.remove_unrouted([first.id, third.id])
            assert session.fetch_unrouted(ALLOCATED, 10, 0) == [second]
            assert session.fetch(10, []) == []
