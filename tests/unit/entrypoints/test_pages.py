"""The turn of events: each product's are in order, and a product with many pages does not hold up the others."""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import pairwise
from random import Random

import pytest

from allocation_worker.entrypoints.pages import LANES_IN_FLIGHT, LANES_READ, Pages
from allocation_worker.service_layer.outgoing import OutgoingEvent, Page
from tests.fakes.relay import outgoing

PLACES = 1000


def page(id_: int, *products: str) -> Page:
    """A page of events, given by their products."""
    events = [outgoing(id_ * PLACES + place, page=id_, product=sku) for place, sku in enumerate(products)]
    return Page(id_, events)


def big(id_: int, product: str, count: int = 3) -> Page:
    """A page of one product, which others may pass."""
    return page(id_, *[product] * count)._replace(product=product)


class Relay:
    """As the relay uses the pages, with all that it has published."""

    def __init__(self, *written: Page, window: int = 1000) -> None:
        self.pages = Pages(window=window)
        self.stored = {page.id: page for page in written}
        self.in_flight: dict[int, OutgoingEvent] = {}
        self.sent: list[OutgoingEvent] = []
        self.reads: list[int] = []
        self.marked: list[int] = []
        self.fetch(*written)

    def fetch(self, *written: Page) -> None:
        self.stored |= {page.id: page for page in written}
        self.pages.take([page._replace(events=[]) if page.product else page for page in written], self.in_flight)

    def publish(self, limit: int, *, in_order: bool = False) -> list[OutgoingEvent]:
        while ids := self.pages.to_read(in_order=in_order):
            self.reads += ids
            self.pages.read([self.stored[id_] for id_ in ids], self.in_flight)
            self.marked += self.pages.take_done()[0]
        events = self.pages.next(limit, in_order=in_order)
        assert len(events) <= limit
        self.in_flight |= {event.id: event for event in events}
        self.sent += events
        return events

    def confirm(self, events: Sequence[OutgoingEvent]) -> None:
        for event in events:
            del self.in_flight[event.id]
        self.pages.confirmed(events)
        self.marked += self.pages.take_done()[0]

    def lose(self, keep: Callable[[OutgoingEvent], bool]) -> None:
        """The connection is lost, and all that is in flight with it, but for what is confirmed before."""
        kept = [event for event in self.in_flight.values() if keep(event)]
        self.confirm(kept)
        self.in_flight.clear()
        self.pages.start_over(self.in_flight)

    def publish_all(self, limit: int = 100, *, in_order: bool = False) -> None:
        while self.pages.ids:
            events = self.publish(limit, in_order=in_order)
            assert events or self.in_flight or not self.pages.ids, "nothing goes on"
            self.confirm(events or list(self.in_flight.values()))


def turns(events: Sequence[OutgoingEvent]) -> list[str]:
    return [f"{event.product}{event.id // PLACES}" for event in events]


def test_others_pass_the_pages_of_one_product() -> None:
    relay = Relay(page(1, "A"), *[big(id_, "A", 100) for id_ in range(2, 8)], page(8, "B", "C"))
    assert turns(relay.publish(10)) == ["A1", "B8", "C8"]
    assert turns(relay.publish(10)) == ["A2"] * 10


def test_an_event_of_that_product_passes_none_of_its_own() -> None:
    relay = Relay(big(2, "A"), page(3, "A", "B"), big(4, "A"), page(5, "B", "A"))
    relay.publish_all()
    assert turns(relay.sent) == ["B3", "B5", *["A2"] * 3, "A3", *["A4"] * 3, "A5"]
    assert sorted(relay.marked) == [2, 3, 4, 5]


def test_what_stands_before_the_pages_of_a_product_is_published_before_them() -> None:
    relay = Relay(page(1, *["B"] * 10, "A"), big(2, "A"))
    relay.publish(5)
    relay.publish(5)
    assert turns(relay.sent) == ["B1"] * 10
    assert relay.reads == []
    assert turns(relay.publish(5))[0] == "A1"
    assert turns(relay.publish(5)) == ["A2"] * 3


def test_few_events_of_lanes_are_in_flight() -> None:
    relay = Relay(*[big(id_, "A", 100) for id_ in range(1, 5)])
    first = relay.publish(1000)
    assert len(first) == LANES_IN_FLIGHT
    assert relay.publish(1000) == []
    relay.confirm(first[:10])
    assert len(relay.publish(1000)) == 10


def test_lanes_take_turns() -> None:
    relay = Relay(*[big(id_, sku, 100) for id_, sku in enumerate("ABAB", 1)])
    assert Counter(event.product for event in relay.publish(40)) == {"A": 20, "B": 20}


def test_a_small_window_is_left_to_others_for_the_most_part() -> None:
    relay = Relay(big(1, "A", 100), window=8)
    assert len(relay.publish(8)) == 2


def test_no_more_pages_are_read_than_are_published_soon() -> None:
    relay = Relay(*[big(id_, f"S{id_ % 10}", 10) for id_ in range(1, 41)])
    relay.publish(4)
    assert len(relay.reads) == LANES_READ
    relay.publish(4)
    assert len(relay.reads) == LANES_READ
    relay.publish_all()
    assert sorted(relay.marked) == list(range(1, 41))


def test_in_their_order_events_come_as_if_there_were_no_lanes() -> None:
    relay = Relay(
        big(1, "A"), page(2, "B"), big(3, "C"), page(4, "A", "B"), *[big(id_, f"S{id_}") for id_ in range(5, 15)]
    )
    relay.publish_all(1, in_order=True)
    assert [event.id for event in relay.sent] == sorted(event.id for event in relay.sent)


def test_in_their_order_a_transaction_that_commits_late_stops_nobody() -> None:
    """Its pages have lower ids than events that wait already."""
    relay = Relay(page(10, "B", "B"))
    relay.fetch(page(7, "A"), big(8, "A"), big(9, "A"))
    relay.publish_all(1, in_order=True)
    assert turns(relay.sent) == ["B10", "B10", "A7", *["A8"] * 3, *["A9"] * 3]


def test_a_page_all_of_whose_events_were_in_flight_from_before_is_marked() -> None:
    relay = Relay(big(1, "A"))
    sent = relay.publish(10)
    relay.pages.drop_all()
    relay.fetch(big(1, "A"))
    relay.confirm(sent)
    assert relay.publish(10) == []
    relay.marked += relay.pages.take_done()[0]
    assert relay.marked == [1]


def test_who_stops_publishes_nothing_of_a_product_whose_pages_are_dropped() -> None:
    relay = Relay(big(1, "A", 100), big(2, "A"), page(3, "A", "B", "B"))
    begun = relay.publish(4)
    assert turns(begun) == ["B3", "B3", "A1", "A1"]
    relay.pages.drop_unbegun(relay.in_flight)
    relay.confirm(begun)
    while relay.pages.waiting:
        relay.confirm(relay.publish(100))
    assert turns(relay.sent) == ["B3", "B3", *["A1"] * 100]
    assert relay.marked == [1]


@pytest.mark.parametrize("seed", range(200))
def test_every_event_is_published_and_each_products_in_order_whatever_is_lost(seed: int) -> None:
    random = Random(seed)
    ids = iter(range(1, 1000))

    def some_pages() -> list[Page]:
        kinds = [random.choice(["big", "mixed"]) for _ in range(random.randint(0, 6))]
        return [
            big(next(ids), random.choice("AB"), random.randint(1, 9))
            if kind == "big"
            else page(next(ids), *random.choices("ABCD", k=random.randint(1, 6)))
            for kind in kinds
        ]

    relay = Relay(*some_pages(), window=random.choice([4, 20, 1000]))
    confirmed: dict[str, list[int]] = {}
    for _ in range(random.randint(5, 60)):
        match random.randrange(6):
            case 0:
                relay.fetch(*some_pages())
            case 1:
                count = random.randint(0, len(relay.in_flight))
                survivors = set(list(relay.in_flight)[:count])
                relay.lose(lambda event: event.id in survivors)  # noqa: B023 - called at once
            case 2:
                relay.pages.drop_all()
                relay.fetch(*[page for page in relay.stored.values() if page.id not in relay.marked])
            case 3:
                relay.publish(random.randint(1, 30), in_order=random.random() < 0.3)
            case _:
                relay.confirm(list(relay.in_flight.values())[: random.randint(0, 20)])
    relay.confirm(list(relay.in_flight.values()))
    relay.publish_all()
    assert sorted(relay.marked) == sorted(set(relay.marked)) == sorted(relay.stored)
    for event in relay.sent:
        confirmed.setdefault(str(event.product), []).append(event.id)
    for numbers in confirmed.values():
        # Repeats, but never a step over one that was not published before.
        every = sorted(set(numbers))
        position = {id_: place for place, id_ in enumerate(every)}
        highest = -1
        for id_ in numbers:
            assert position[id_] <= highest + 1
            highest = max(highest, position[id_])
    assert all(a < b for a, b in pairwise(sorted(relay.marked)))
