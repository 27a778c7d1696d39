"""Bugs to plant, one at a time, at places where the product had bugs or could have them."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from random import Random
from typing import Any, Protocol
from unittest.mock import patch
from uuid import UUID

from pika.spec import BasicProperties

from allocation_contracts.amqp.confirms import ConfirmedChannel
from allocation_contracts.results import PublishResult
from allocation_worker.adapters.rabbitmq import copies, prefetch_policy, publisher
from allocation_worker.adapters.rabbitmq.acknowledger import Acknowledger
from allocation_worker.adapters.rabbitmq.prefetch_policy import PrefetchPolicy
from allocation_worker.adapters.rabbitmq.queue_consumer import QueueConsumer
from allocation_worker.domain.model import Product
from allocation_worker.entrypoints.consume import QueueWorker
from allocation_worker.entrypoints.pages import Pages
from allocation_worker.service_layer.aside import Aside
from allocation_worker.service_layer.groups import GroupProcessor
from allocation_worker.service_layer.outcomes import Done
from allocation_worker.service_layer.outgoing import OutgoingEvent
from allocation_worker.service_layer.ports import Receipt
from tests.fakes.due_holds import FakeDueHolds
from tests.simulation.amqp import SimulatedChannel
from tests.simulation.database import SimulatedInbox


class Plant(Protocol):
    """Plants a bug for as long as it is open."""

    __name__: str

    def __call__(self) -> AbstractContextManager[Any]: ...


def ack_before_commit() -> AbstractContextManager[Any]:
    answer = QueueWorker._process

    def hasty(self: QueueWorker[Any, Any], group: Sequence[Any]) -> list[Any]:
        self._deliveries.ack([(delivery, Done()) for delivery in group])
        answer(self, group)
        return []

    return patch.object(QueueWorker, "_process", hasty)


def no_inbox() -> AbstractContextManager[Any]:
    answer = GroupProcessor._answer

    def forgetful(self: GroupProcessor, message: Any, receipt: Receipt, uow: Any) -> Any:
        return answer(self, message, Receipt.FRESH if receipt is Receipt.REPEAT else receipt, uow)

    return patch.object(GroupProcessor, "_answer", forgetful)


def inbox_row_kept_for_a_retry() -> AbstractContextManager[Any]:
    return patch.object(SimulatedInbox, "forget", lambda _self, _message: None)


def mark_before_confirm() -> AbstractContextManager[Any]:
    publish = ConfirmedChannel.publish

    def hasty(self: ConfirmedChannel, exchange: str, key: str, body: bytes, properties: Any, settled: Any) -> None:
        publish(self, exchange, key, body, properties, lambda _result: None)
        settled(PublishResult.CONFIRMED)

    return patch.object(ConfirmedChannel, "publish", hasty)


def a_new_id_each_time() -> AbstractContextManager[Any]:
    event = publisher._event
    random = Random(0)

    def renamed(outgoing: Any) -> Any:
        return event(outgoing._replace(message_id=str(UUID(int=random.getrandbits(128), version=4))))

    return patch.object(publisher, "_event", renamed)


def what_was_lost_stays_lost() -> AbstractContextManager[Any]:
    return patch.object(Pages, "start_over", lambda _self, _in_flight: None)


def a_page_marked_before_its_last_confirm() -> AbstractContextManager[Any]:
    take_done = Pages.take_done

    def hasty(self: Pages) -> tuple[list[int], list[int]]:
        for progress in self._pages.values():
            if len(progress.done) == len(progress.page.events) - 1 and progress.done:
                progress.done |= {event.id for event in progress.page.events}
                self._done.append(progress)
        return take_done(self)

    return patch.object(Pages, "take_done", hasty)


def an_event_lost_between_its_page_and_the_unrouted() -> AbstractContextManager[Any]:
    take_done = Pages.take_done

    def careless(self: Pages) -> tuple[list[int], list[int]]:
        pages, unrouted = take_done(self)
        return pages, unrouted[1:]

    return patch.object(Pages, "take_done", careless)


def copy_not_waited_for() -> AbstractContextManager[Any]:
    begin = Acknowledger._begin

    def hasty(self: Acknowledger, copy: Any) -> None:
        begin(self, copy)
        self._acks.done(copy.delivery.tag)

    return patch.object(Acknowledger, "_begin", hasty)


def nack_taken_for_ack() -> AbstractContextManager[Any]:
    answer = ConfirmedChannel._answer

    def deaf(self: ConfirmedChannel, tag: int, result: PublishResult) -> None:
        answer(self, tag, PublishResult.CONFIRMED if result is PublishResult.NACKED else result)

    return patch.object(ConfirmedChannel, "_answer", deaf)


def not_mandatory() -> AbstractContextManager[Any]:
    publish = SimulatedChannel.basic_publish

    def careless(
        self: SimulatedChannel, exchange: str, key: str, body: bytes, properties: BasicProperties, *, mandatory: bool
    ) -> None:
        del mandatory
        publish(self, exchange, key, body, properties, mandatory=False)

    return patch.object(SimulatedChannel, "basic_publish", careless)


def acks_on_the_wrong_channel() -> AbstractContextManager[Any]:
    def confused(self: QueueConsumer, results: Any) -> None:
        if self._acknowledger is not None:
            self._acknowledger.ack(results)

    return patch.object(QueueConsumer, "_ack", confused)


def copies_carry_their_death() -> AbstractContextManager[Any]:
    return patch.object(copies, "_BROKERS_OWN", ())


def counter_lost_on_a_shrink() -> AbstractContextManager[Any]:
    take_off = Product._take_off

    def careless(self: Product, line: Any, reason: Any) -> None:
        batch = self.batches[line.batchref]
        take_off(self, line, reason)
        batch.allocated_quantity += batch.available_quantity > 0

    return patch.object(Product, "_take_off", careless)


def a_hold_that_was_prolonged_lapses_at_its_first_time() -> AbstractContextManager[Any]:
    lapse = Product.lapse_hold

    def careless(self: Product, line_id: Any, message_id: str) -> None:
        hold = self.lines[line_id].hold
        lapse(self, line_id, hold.message_id if hold else message_id)

    return patch.object(Product, "lapse_hold", careless)


def a_lapse_forgets_those_that_wait() -> AbstractContextManager[Any]:
    lapse = Product.lapse_hold

    def forgetful(self: Product, line_id: Any, message_id: str) -> None:
        lapse(self, line_id, message_id)
        self.queue.stock_freed = False

    return patch.object(Product, "lapse_hold", forgetful)


def a_line_keeps_its_place_when_its_hold_lapses() -> AbstractContextManager[Any]:
    lapse = Product._lapse

    def kept(self: Product, line: Any) -> None:
        place = line.place
        lapse(self, line)
        line.place = place

    return patch.object(Product, "_lapse", kept)


def holds_lapse_before_their_time() -> AbstractContextManager[Any]:
    find = FakeDueHolds.find

    def hasty(self: FakeDueHolds, limit: int, besides: Any) -> Any:
        now = self._database.now
        self._database.now = lambda: now() + timedelta(seconds=1)
        try:
            return find(self, limit, besides)
        finally:
            self._database.now = now

    return patch.object(FakeDueHolds, "find", hasty)


def failures_taken_for_success() -> AbstractContextManager[Any]:
    answer = QueueWorker._process

    def impatient(self: QueueWorker[Any, Any], group: Sequence[Any]) -> Any:
        try:
            return answer(self, group)
        except Exception:  # noqa: BLE001 - the bug
            return [(delivery, Done()) for delivery in group]

    return patch.object(QueueWorker, "_process", impatient)


def taken_together_whatever_has_failed() -> AbstractContextManager[Any]:
    return patch.object(prefetch_policy, "share", lambda most, _failures: most)


def stock_commands_taken_in_parts() -> AbstractContextManager[Any]:
    """As where order does not matter; what is left behind in the queue is then before what a kill returns."""
    build = PrefetchPolicy.__init__

    def orderless(self: PrefetchPolicy, prefetch: int, *, ordered: bool) -> None:
        del ordered
        build(self, prefetch, ordered=False)

    return patch.object(PrefetchPolicy, "__init__", orderless)


def all_taken_and_returned_at_each_start() -> AbstractContextManager[Any]:
    return patch.multiple(prefetch_policy, FAILURES_BEFORE_RETURN=1)


def missing_confirms_waited_for() -> AbstractContextManager[Any]:
    return patch.object(ConfirmedChannel, "_look_later", lambda _self: None)


def events_pass_those_of_their_product() -> AbstractContextManager[Any]:
    return patch.object(OutgoingEvent, "product", None)


def later_messages_pass_those_that_are_set_aside() -> AbstractContextManager[Any]:
    """And earlier ones of their product wait."""

    def forgetful(self: Aside, messages: Sequence[Any]) -> list[Any]:
        return [self._products.get(("message", each.message_id)) for each in messages]

    return patch.object(Aside, "sort_out", forgetful)


def stock_commands_pass_those_of_another_batch() -> AbstractContextManager[Any]:
    return patch.object(Aside, "learn", lambda _self, _owners: None)


def _named(*plants: Plant) -> Mapping[str, Plant]:
    return {plant.__name__.replace("_", " "): plant for plant in plants}


PLANTED = _named(
    ack_before_commit,
    no_inbox,
    inbox_row_kept_for_a_retry,
    mark_before_confirm,
    a_new_id_each_time,
    what_was_lost_stays_lost,
    a_page_marked_before_its_last_confirm,
    an_event_lost_between_its_page_and_the_unrouted,
    copy_not_waited_for,
    nack_taken_for_ack,
    not_mandatory,
    acks_on_the_wrong_channel,
    copies_carry_their_death,
    counter_lost_on_a_shrink,
    a_hold_that_was_prolonged_lapses_at_its_first_time,
    a_lapse_forgets_those_that_wait,
    a_line_keeps_its_place_when_its_hold_lapses,
    holds_lapse_before_their_time,
    failures_taken_for_success,
    taken_together_whatever_has_failed,
    stock_commands_taken_in_parts,
    all_taken_and_returned_at_each_start,
    missing_confirms_waited_for,
    events_pass_those_of_their_product,
    later_messages_pass_those_that_are_set_aside,
    stock_commands_pass_those_of_another_batch,
)
