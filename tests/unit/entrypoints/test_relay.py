"""The relay publishes rows, and marks confirmed ones, over failures of each step."""

from collections import Counter
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from itertools import pairwise
from threading import Event
from typing import Any

import pytest

from allocation_contracts.results import PublishResult
from allocation_worker.entrypoints.refusals import FIRST_PAUSE, LONGEST_PAUSE
from allocation_worker.entrypoints.relay import Relay, Waker
from allocation_worker.entrypoints.unrouted import OFFER_AGAIN_EVERY
from allocation_worker.service_layer.outgoing import OutgoingEvent
from allocation_worker.service_layer.ports import StoreContentionError, StoreUnavailableError
from tests.fakes.relay import Clock, FakeOutbox, FakePending, FakePublisher, FakeWaker, Step, outgoing

CONFIRMED, RETURNED, NACKED, LOST = (
    PublishResult.CONFIRMED,
    PublishResult.RETURNED,
    PublishResult.NACKED,
    PublishResult.LOST,
)
POLL = 1.0


def nothing_yet(_event: OutgoingEvent) -> None:
    return None


def nothing() -> None:
    """A step of the script in which time passes."""


class FullQueue:
    """Two queues are bound: one takes everything, the other takes so many events and refuses more.

    Attributes:
        space: how many more the second takes.
        healthy: the ids that the first has taken.
        full: the ids that the second has taken.
    """

    def __init__(self, space: int) -> None:
        self.space = space
        self.healthy: list[int] = []
        self.full: list[int] = []

    def __call__(self, event: OutgoingEvent) -> PublishResult:
        self.healthy.append(event.id)
        if not self.space:
            return NACKED
        self.space -= 1
        self.full.append(event.id)
        return CONFIRMED


class Stage:
    """A relay between an outbox and a broker; `run` gives it one step of the script each time it is idle."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.stopping = Event()
        self.outbox = FakeOutbox(clock, self.stopping)
        self.waker = FakeWaker(clock)
        self.broker = FakePublisher(self.wake)
        self.active = Event()

    def wake(self) -> None:
        self.waker.wake()

    def run(self, *script: Step, window: int = 100) -> None:
        self.outbox.script.extend(script)
        Relay(
            self.outbox.open,
            self.broker,
            waker=self.waker,
            active=self.active,
            stopping=self.stopping,
            window=window,
            poll=POLL,
            clock=self.clock,
        ).run()

    def write(self, *ids: int, type_: str = "allocated.v1", page: int | None = None) -> None:
        """Events, each in a page of its own or all in one."""
        self.outbox.write(*(outgoing(id_, type_, page) for id_ in ids))

    def answer_with(self, kind: PublishResult | None) -> None:
        self.broker.answer = lambda _event: kind

    def return_types(self, *types: str) -> None:
        self.broker.answer = lambda event: RETURNED if event.type in types else CONFIRMED


@pytest.fixture
def stage() -> Stage:
    return Stage(Clock())


def test_publishes_in_order_and_marks_what_is_confirmed(stage: Stage) -> None:
    stage.write(3, 1, 2)
    stage.run(lambda: stage.write(4, 5))
    assert stage.broker.sent == [1, 2, 3, 4, 5]
    assert stage.outbox.published == [1, 2, 3, 4, 5]


def test_marks_nothing_before_the_confirm(stage: Stage) -> None:
    stage.broker.answer = nothing_yet
    stage.write(1, 2, 3)

    def confirm_two() -> None:
        assert stage.outbox.published == []
        stage.broker.resolve(CONFIRMED, 1, 2)

    def look() -> None:
        assert stage.outbox.published == [1, 2]
        stage.broker.resolve(CONFIRMED, 3)

    stage.run(confirm_two, look)
    assert stage.outbox.published == [1, 2, 3]
    assert stage.broker.sent == [1, 2, 3]


def test_no_more_is_in_flight_than_the_window_allows(stage: Stage) -> None:
    stage.broker.answer = nothing_yet
    stage.write(*range(1, 31))

    def confirm_all() -> None:
        assert len(stage.broker.unanswered) == 8
        stage.broker.resolve(CONFIRMED, *stage.broker.unanswered)

    stage.run(*[confirm_all] * 3, window=8)
    assert stage.broker.most_unanswered == 8
    assert stage.broker.sent == list(range(1, 31))


def test_the_window_is_refilled_by_the_quarter(stage: Stage) -> None:
    stage.broker.answer = nothing_yet
    stage.write(*range(1, 31))

    def confirm_one() -> None:
        stage.broker.resolve(CONFIRMED, stage.broker.unanswered[0])

    def still_eight_sent() -> None:
        assert len(stage.broker.sent) == 8
        confirm_one()

    def ten_sent() -> None:
        assert len(stage.broker.sent) == 10

    stage.run(confirm_one, still_eight_sent, ten_sent, window=8)


def test_a_window_of_one_works(stage: Stage) -> None:
    stage.write(1, 2, 3)
    stage.run(window=1)
    assert stage.outbox.published == [1, 2, 3]
    assert stage.broker.most_unanswered == 1


@pytest.mark.parametrize("window", [1, 2, 3, 4])
def test_nothing_is_fetched_where_there_is_no_room(stage: Stage, window: int) -> None:
    stage.broker.answer = nothing_yet
    stage.write(*range(1, 10))

    def look() -> None:
        assert stage.broker.sent == list(range(1, window + 1))
        assert stage.outbox.fetches == [window]

    stage.run(*[look] * 3, window=window)


def test_events_that_wait_for_others_of_their_product_fill_no_more_memory_than_planned(stage: Stage) -> None:
    stage.broker.answer = nothing_yet
    stage.outbox.products[1] = "A"
    ids = range(100, 20_100)
    stage.outbox.write(*(outgoing(id_, page=id_ // 100, product="A") for id_ in ids))

    def confirm() -> None:
        assert sum(stage.outbox.fetches) < 11_000
        stage.answer_with(CONFIRMED)
        stage.broker.resolve(CONFIRMED, *stage.broker.unanswered)

    stage.run(*[nothing] * 30, confirm, window=1000)
    assert stage.outbox.published == list(ids)


def test_a_notification_while_busy_leads_to_a_fetch(stage: Stage) -> None:
    def confirm_while_another_is_written(event: OutgoingEvent) -> PublishResult:
        if event.id == 1:
            stage.write(2)
        else:
            assert stage.outbox.waits == [0]
        return CONFIRMED

    stage.broker.answer = confirm_while_another_is_written
    stage.write(1)
    stage.run()
    assert stage.outbox.published == [1, 2]


def test_while_busy_without_news_the_outbox_is_not_looked_at(stage: Stage) -> None:
    stage.broker.answer = nothing_yet
    stage.write(*range(1, 11))

    def look_and_confirm_one() -> None:
        # The start, and the notice of what was written before.
        assert len(stage.outbox.fetches) == 2
        stage.broker.resolve(CONFIRMED, stage.broker.unanswered[0])

    stage.run(*[look_and_confirm_one] * 10)
    assert stage.outbox.published == list(range(1, 11))
    assert 0 in stage.outbox.waits


def test_where_nothing_wakes_it_the_outbox_is_looked_at_now_and_then(stage: Stage) -> None:
    def write_without_a_notice() -> None:
        stage.outbox.pages[1] = [outgoing(1)]
        stage.outbox.waiting.add(1)

    stage.run(lambda: None, write_without_a_notice, lambda: None)
    assert stage.outbox.published == [1]
    assert len(stage.outbox.fetches) == 4


def test_a_full_fetch_is_followed_by_another(stage: Stage) -> None:
    stage.write(*range(1, 21))

    def look() -> None:
        assert stage.outbox.published == list(range(1, 21))

    stage.run(look, window=5)
    assert stage.outbox.fetches[:4] == [5, 5, 5, 5]
    assert stage.outbox.waits.count(POLL) == 2


def test_what_is_lost_is_published_again_at_once_without_a_look_at_the_outbox(stage: Stage) -> None:
    stage.broker.answer = nothing_yet
    stage.write(1, 2, 3)

    def lose_the_last() -> None:
        stage.broker.resolve(CONFIRMED, 1, 2)
        fetched = len(stage.outbox.fetches)
        stage.broker.resolve(LOST, 3)

        def confirm_without_idling(_event: OutgoingEvent) -> PublishResult:
            assert stage.outbox.waits[waited:] in ([], [0])
            assert len(stage.outbox.fetches) == fetched
            return CONFIRMED

        waited = len(stage.outbox.waits)
        stage.broker.answer = confirm_without_idling

    stage.run(lose_the_last)
    assert stage.broker.sent == [1, 2, 3, 3]
    assert stage.outbox.published == [1, 2, 3]


def test_what_is_lost_alone_comes_again_while_the_rest_stays_in_flight(stage: Stage) -> None:
    stage.broker.answer = nothing_yet
    stage.write(1, 2, 3)

    def look() -> None:
        assert stage.broker.sent == [1, 2, 3, 2]

    stage.run(lambda: stage.broker.resolve(LOST, 2), look)


def test_what_was_lost_with_the_connection_is_published_again(stage: Stage) -> None:
    stage.broker.answer = nothing_yet
    stage.write(1, 2, 3)

    def lose_the_connection() -> None:
        stage.broker.resolve(CONFIRMED, 1)
        stage.broker.resolve(LOST, 2, 3)
        stage.broker.connected = False

    def nothing_is_sent_without_connection() -> None:
        assert stage.broker.sent == [1, 2, 3]
        stage.answer_with(CONFIRMED)
        stage.broker.connected = True

    stage.run(lose_the_connection, nothing_is_sent_without_connection)
    assert stage.broker.sent == [1, 2, 3, 2, 3]
    assert stage.outbox.published == [1, 2, 3]


def test_a_refusal_makes_everything_from_there_come_again_in_order(stage: Stage) -> None:
    stage.broker.answer = nothing_yet
    stage.write(1, 2, 3, 4, 5)

    def refuse_the_third() -> None:
        stage.broker.resolve(CONFIRMED, 1, 2)
        stage.broker.resolve(NACKED, 3)
        stage.broker.resolve(CONFIRMED, 4)

    def nothing_is_sent_while_the_fifth_is_in_flight() -> None:
        assert stage.outbox.published == [1, 2]
        assert stage.broker.sent == [1, 2, 3, 4, 5]
        stage.answer_with(CONFIRMED)
        stage.broker.resolve(CONFIRMED, 5)

    stage.run(refuse_the_third, nothing_is_sent_while_the_fifth_is_in_flight, nothing)
    assert stage.broker.sent == [1, 2, 3, 4, 5, 3, 4, 5]
    assert stage.outbox.published == [1, 2, 3, 4, 5]


def test_a_second_refusal_of_an_earlier_event_reaches_further_back(stage: Stage) -> None:
    stage.broker.answer = nothing_yet
    stage.write(1, 2, 3, 4)

    def refuse_two() -> None:
        stage.answer_with(CONFIRMED)
        stage.broker.resolve(NACKED, 4)
        stage.broker.resolve(CONFIRMED, 3)
        stage.broker.resolve(NACKED, 2)
        stage.broker.resolve(CONFIRMED, 1)

    stage.run(refuse_two, nothing)
    assert stage.broker.sent == [1, 2, 3, 4, 2, 3, 4]


def test_a_refusal_survives_a_failure_to_mark(stage: Stage) -> None:
    stage.broker.answer = nothing_yet
    stage.write(1, 2, 3)

    def refuse_and_fail() -> None:
        stage.answer_with(CONFIRMED)
        stage.broker.resolve(CONFIRMED, 1)
        stage.broker.resolve(NACKED, 2)
        stage.broker.resolve(CONFIRMED, 3)
        stage.outbox.failures["mark_published"] = StoreUnavailableError("gone")

    stage.run(refuse_and_fail, nothing)
    assert stage.broker.sent == [1, 2, 3, 1, 2, 3]
    assert stage.outbox.published == [1, 2, 3]


def test_a_queue_that_stays_full_costs_the_others_a_handful_of_copies(stage: Stage) -> None:
    stage.broker.answer = queue = FullQueue(space=0)
    stage.write(*range(1, 21))
    started = stage.clock.now
    stage.run(*[nothing] * 40)
    assert stage.clock.now - started >= 30
    assert queue.healthy[:20] == list(range(1, 21))
    assert set(queue.healthy[20:]) == {1}, "more than the first refused event was tried again"
    assert 5 <= queue.healthy.count(1) <= 10


def test_pauses_after_a_refusal_double_up_to_the_longest(stage: Stage) -> None:
    tried: list[float] = []

    def refuse(_event: OutgoingEvent) -> PublishResult:
        tried.append(stage.clock.now)
        return NACKED

    stage.broker.answer = refuse
    stage.write(1)
    stage.run(*[nothing] * 200)
    pauses = [later - earlier for earlier, later in pairwise(tried)]
    for count, pause in enumerate(pauses):
        longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2**count)
        assert longest / 2 <= pause <= longest + 0.01
    assert len(pauses) >= 8


def test_once_the_queue_takes_the_first_event_the_rest_follows_without_a_pause(stage: Stage) -> None:
    stage.broker.answer = queue = FullQueue(space=0)
    stage.write(*range(1, 201))

    def make_room() -> None:
        queue.space = 1000
        before.append(stage.clock.now)

    def all_is_there() -> None:
        assert queue.full == list(range(1, 201))
        before.append(stage.clock.now)

    before: list[float] = []
    stage.run(nothing, make_room, *[nothing] * 5, all_is_there)
    assert queue.full == stage.outbox.published == list(range(1, 201))
    assert before[1] - before[0] <= 7 * POLL
    assert max(Counter(queue.healthy).values()) <= 5


def test_a_queue_that_makes_room_slowly_is_filled_and_the_others_get_few_copies(stage: Stage) -> None:
    stage.broker.answer = queue = FullQueue(space=0)
    stage.write(*range(1, 501))

    def make_room() -> None:
        queue.space = 10

    stage.run(*[make_room] * 120)
    assert queue.full == list(range(1, 501))
    assert stage.outbox.published == list(range(1, 501))
    assert max(Counter(queue.healthy).values()) <= 8
    assert len(queue.healthy) <= 4 * 500


def test_what_is_written_while_a_queue_refuses_waits_its_turn(stage: Stage) -> None:
    stage.broker.answer = queue = FullQueue(space=0)
    stage.write(1)

    def write_another() -> None:
        stage.write(2)

    def nothing_else_was_tried() -> None:
        assert set(queue.healthy) == {1}
        queue.space = 10

    stage.run(write_another, *[nothing] * 3, nothing_else_was_tried, *[nothing] * 10)
    assert queue.full == [1, 2]


def test_a_refusal_is_told_once_and_its_end_once(stage: Stage, logs: list[MutableMapping[str, Any]]) -> None:
    stage.broker.answer = queue = FullQueue(space=0)
    stage.write(3, 4, 5)

    def make_room() -> None:
        queue.space = 10

    def refuse_again() -> None:
        queue.space = 0
        stage.write(6)

    stage.run(*[nothing] * 10, make_room, *[nothing] * 20, refuse_again, *[nothing] * 3)
    told = [line for line in logs if line["event"] in {"events_refused", "events_accepted_again"}]
    assert [line["event"] for line in told] == ["events_refused", "events_accepted_again", "events_refused"]
    assert (told[0]["first_id"], told[0]["events"], told[0]["log_level"]) == (3, 3, "error")
    assert told[1]["seconds"] > 5  # the pauses vary by chance
    refused_attempts = queue.healthy.count(3) - 2
    assert told[1]["refusals"] == 3 + refused_attempts


def test_an_event_that_was_set_aside_and_is_refused_is_taken_up(stage: Stage) -> None:
    stage.return_types("out-of-stock.v1")
    stage.write(1, 2, type_="out-of-stock.v1")
    idle: list[Step] = [nothing] * int(OFFER_AGAIN_EVERY / POLL)

    def bind_a_full_queue() -> None:
        stage.broker.answer = queue

    def make_room() -> None:
        queue.space = 10

    queue = FullQueue(space=0)
    stage.run(bind_a_full_queue, *idle, make_room, *[nothing] * 10)
    assert queue.full == stage.outbox.published == [1, 2]
    assert stage.outbox.unrouted == set()


def test_a_refused_event_that_another_relay_has_published_ends_the_episode(
    stage: Stage, logs: list[MutableMapping[str, Any]]
) -> None:
    stage.answer_with(NACKED)
    stage.write(1)

    def publish_elsewhere() -> None:
        stage.outbox.waiting.clear()
        stage.outbox.failures["wait"] = StoreUnavailableError("another relay has taken over")

    stage.run(publish_elsewhere, *[nothing] * 3)
    assert stage.broker.sent in ([1], [1, 1])
    assert logs[-1]["event"] == "events_accepted_again"


@pytest.mark.parametrize("method", ["open", "acquire", "fetch", "mark_published", "wait"])
@pytest.mark.parametrize("failure", [StoreUnavailableError("gone"), StoreContentionError("deadlock")])
def test_goes_on_once_the_database_is_back(stage: Stage, method: str, failure: Exception) -> None:
    stage.write(1, 2, 3)
    stage.outbox.failures[method] = failure
    stage.run()
    assert stage.outbox.published == [1, 2, 3]
    assert stage.outbox.sessions == 2


def test_what_could_not_be_marked_is_published_again(stage: Stage) -> None:
    stage.write(1, 2, 3)
    stage.outbox.failures["mark_published"] = StoreUnavailableError("gone")
    stage.run()
    assert stage.broker.sent == [1, 2, 3, 1, 2, 3]


def test_what_is_in_flight_while_the_database_is_away_is_not_published_twice(stage: Stage) -> None:
    stage.broker.answer = nothing_yet
    stage.write(1, 2)

    def confirm_one_and_fail() -> None:
        stage.outbox.failures["mark_published"] = StoreUnavailableError("gone")
        stage.broker.resolve(CONFIRMED, 1)

    def confirm_the_rest() -> None:
        assert stage.broker.sent == [1, 2, 1]
        stage.broker.resolve(CONFIRMED, *list(stage.broker.unanswered))

    stage.run(confirm_one_and_fail, confirm_the_rest)
    assert sorted(stage.outbox.published) == [1, 2]


def test_events_that_no_queue_wants_are_set_aside(stage: Stage) -> None:
    stage.return_types("out-of-stock.v1")
    stage.write(1)
    stage.write(2, type_="out-of-stock.v1")
    stage.write(3)
    stage.run()
    assert stage.outbox.published == [1, 3]
    assert stage.outbox.unrouted == {2}


def test_more_of_a_type_that_no_queue_wants_is_set_aside_unpublished(stage: Stage) -> None:
    stage.return_types("out-of-stock.v1")
    stage.write(1, type_="out-of-stock.v1")
    stage.run(lambda: stage.write(2, 3, type_="out-of-stock.v1"), lambda: stage.write(4))
    assert stage.outbox.unrouted == {1, 2, 3}
    assert stage.outbox.published == [4]
    assert set(stage.broker.sent) == {1, 4}


def test_the_oldest_of_each_unwanted_type_is_offered_again_now_and_then(stage: Stage) -> None:
    stage.return_types("out-of-stock.v1", "deallocated.v1")
    stage.write(1, 2, type_="out-of-stock.v1")
    stage.write(3, 4, type_="deallocated.v1")
    idle: list[Step] = [lambda: None] * int(2 * OFFER_AGAIN_EVERY / POLL)
    stage.run(*idle)
    assert stage.broker.sent[:4] == [1, 2, 3, 4]
    offers = stage.broker.sent[4:]
    assert set(offers) == {1, 3}
    assert 2 <= offers.count(1) <= 3


def test_once_a_queue_wants_them_all_of_the_type_are_published_in_order(stage: Stage) -> None:
    stage.return_types("out-of-stock.v1", "deallocated.v1")
    stage.write(1, 2, 3, type_="out-of-stock.v1")
    stage.write(4, type_="deallocated.v1")
    idle: list[Step] = [lambda: None] * int(OFFER_AGAIN_EVERY / POLL)

    def bind() -> None:
        stage.return_types("deallocated.v1")
        stage.write(5, 6, type_="out-of-stock.v1")

    stage.run(bind, *idle)
    assert stage.outbox.published == [1, 2, 3, 5, 6]
    assert stage.outbox.unrouted == {4}


def test_what_is_taken_up_is_fetched_without_waiting_for_a_notice(stage: Stage) -> None:
    stage.return_types("out-of-stock.v1")
    stage.write(1, 2, type_="out-of-stock.v1")
    waits: list[int] = []

    def confirm(_event: OutgoingEvent) -> PublishResult:
        waits.append(stage.outbox.waits.count(POLL))
        return CONFIRMED

    def bind() -> None:
        stage.broker.answer = confirm

    stage.run(bind, *[lambda: None] * int(OFFER_AGAIN_EVERY / POLL))
    assert stage.outbox.published == [1, 2]
    offered, taken_up = waits
    # The publisher wakes it once with the answer to what was offered; it does not wait again.
    assert taken_up <= offered + 1


def test_after_a_restart_it_knows_what_is_unwanted(stage: Stage) -> None:
    stage.return_types("out-of-stock.v1")
    stage.write(1, 2, type_="out-of-stock.v1")
    stage.outbox.waiting.clear()
    stage.outbox.unrouted = {1, 2}
    stage.write(3, type_="out-of-stock.v1")
    stage.run()
    assert stage.outbox.unrouted == {1, 2, 3}
    assert stage.broker.sent == [1]


def test_a_failure_to_set_aside_makes_the_event_come_again(stage: Stage) -> None:
    stage.return_types("out-of-stock.v1")
    stage.write(1, type_="out-of-stock.v1")
    stage.outbox.failures["mark_published"] = StoreUnavailableError("gone")
    stage.run()
    assert stage.outbox.unrouted == {1}
    assert stage.broker.sent[:2] == [1, 1]


def test_a_failure_to_take_up_is_made_good_later(stage: Stage) -> None:
    stage.return_types("out-of-stock.v1")
    stage.write(1, 2, 3, type_="out-of-stock.v1")
    idle: list[Step] = [lambda: None] * int(2 * OFFER_AGAIN_EVERY / POLL)

    def bind() -> None:
        stage.answer_with(CONFIRMED)
        stage.outbox.failures["fetch_unrouted"] = StoreUnavailableError("gone")

    stage.run(bind, *idle)
    assert stage.outbox.published == [1, 2, 3]


def test_stands_by_while_another_relay_is_active(stage: Stage) -> None:
    stage.outbox.active_elsewhere = 3
    stage.write(1)
    stage.run()
    assert stage.waker.waits == [POLL] * 3
    assert stage.outbox.published == [1]


def test_told_to_stop_while_standing_by_it_ends(stage: Stage) -> None:
    class StoppingWaker(FakeWaker):
        def wait(self, timeout: float) -> None:
            super().wait(timeout)
            stage.stopping.set()

    stage.waker = StoppingWaker(stage.clock)
    stage.outbox.active_elsewhere = 1000
    stage.write(1)
    stage.run()
    assert stage.broker.sent == []


def test_told_to_stop_it_waits_a_little_for_the_last_confirms(stage: Stage) -> None:
    class ConfirmingWaker(FakeWaker):
        def wait(self, timeout: float) -> None:
            super().wait(timeout)
            stage.broker.resolve(CONFIRMED, *list(stage.broker.unanswered))

    stage.waker = ConfirmingWaker(stage.clock)
    stage.broker.answer = nothing_yet
    stage.write(1, 2)
    stage.run()
    assert stage.outbox.published == [1, 2]


def test_told_to_stop_it_does_not_wait_for_ever(stage: Stage) -> None:
    stage.broker.answer = nothing_yet
    stage.write(1, 2)
    stage.run()
    assert sum(stage.waker.waits) == pytest.approx(2 * POLL)
    assert stage.outbox.waiting == {1, 2}


def test_others_know_while_it_is_the_active_one(stage: Stage) -> None:
    active: list[bool] = []

    def look() -> None:
        active.append(stage.active.is_set())

    stage.outbox.active_elsewhere = 1
    stage.waker.on_wait = look
    stage.run(look)
    assert active == [False, True]
    assert not stage.active.is_set()


def test_it_is_not_the_active_one_once_its_session_is_lost(stage: Stage) -> None:
    active: list[bool] = []
    stage.outbox.failures["fetch"] = StoreUnavailableError("gone")
    stage.waker.on_wait = lambda: active.append(stage.active.is_set())
    stage.run(nothing)
    assert active == [False]


def test_words_for_the_operator(stage: Stage, logs: list[MutableMapping[str, Any]]) -> None:
    stage.return_types("out-of-stock.v1")
    stage.outbox.active_elsewhere = 2
    stage.write(1, type_="out-of-stock.v1")
    stage.outbox.failures["fetch"] = StoreUnavailableError("gone")
    stage.run(*[lambda: stage.answer_with(CONFIRMED)] * 7)
    told = [line.get("role", line["event"]) for line in logs if line["event"] != "events_published"]
    assert told == [
        "standby",
        "active",
        "waiting",
        "active",
        "events_unrouted",
        "events_routed_again",
    ]


class LostWhileStandingBy(FakePending):
    """A session that ends after ten polls, in which another relay was active."""

    polls = 10

    def acquire(self) -> bool:
        if not self.polls:
            raise StoreUnavailableError("gone")
        self.polls -= 1
        return False


class FlakyOutbox(FakeOutbox):
    """So many of its first sessions are lost."""

    outages = 20

    @contextmanager
    def open(self) -> Iterator[FakePending]:
        with super().open() as pending:
            lost = self.sessions <= self.outages
            yield LostWhileStandingBy(self) if lost else pending


def test_a_relay_that_stands_by_keeps_no_pauses_of_earlier_outages(stage: Stage) -> None:
    stage.outbox = FlakyOutbox(stage.clock, stage.stopping)
    stage.run()
    assert stage.outbox.sessions == FlakyOutbox.outages + 1
    pauses = [pause for pause in stage.waker.waits if pause != POLL]
    assert len(pauses) == FlakyOutbox.outages
    assert max(pauses) <= 0.2


def test_a_waker_wakes_whoever_waits_and_any_number_of_times() -> None:
    waker = Waker()
    for _ in range(100_000):
        waker.wake()
    waker.wait(60.0)
    waker.wait(0.0)
    waker.wake()
    waker.clear()
    waker.wait(0.0)
