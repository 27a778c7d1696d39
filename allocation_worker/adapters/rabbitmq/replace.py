"""Moves a queue to one of the same name that has other arguments, while the service runs.

A queue's arguments cannot change, and it cannot be renamed. So new messages are led into a stand-in, the old queue is
emptied and deleted, the new one is declared, and what the stand-in has is moved into it. Each step can be repeated, and
what stands on the broker tells which comes next, so a replacement that was interrupted is ended by running it again.
Decision 0075 has the steps, and what is true between any two of them.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

import structlog
from pika.adapters.blocking_connection import BlockingChannel

from allocation_contracts.amqp.queues import NO_DELIVERY_LIMIT
from allocation_worker.adapters.rabbitmq.errors import (
    BrokerError,
    ReplacementUnfinishedError,
    TopologyMismatchError,
    TopologyMissingError,
)
from allocation_worker.adapters.rabbitmq.layout import SINGLE_ACTIVE_CONSUMER, Binding, Exchange, Layout, Queue
from allocation_worker.adapters.rabbitmq.management import Management
from allocation_worker.adapters.rabbitmq.moving import Mover
from allocation_worker.adapters.rabbitmq.replacing_names import MOVING_EXCHANGE, gate, remainder, stand_in
from allocation_worker.adapters.rabbitmq.topology import (
    declare_exchange,
    declare_queue,
    exchange_exists,
    explained,
    topology_channel,
    unfinished,
)
from allocation_worker.service_layer.wording import counted

log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How long to wait for what, in seconds.

    Attributes:
        counted: How old the broker's count of unacknowledged messages may be. It counts every 5 s by default.
        look: The pause between two looks at a queue that others empty.
        tell: How often to say what is waited for.
        quiet: For how long nothing may come before the last switch of an ordered queue.
        patience: How long to wait for such a moment.
        gate: How long publishers are refused at least, while the last messages of an ordered queue are moved.
        straggler: How long a message that was routed before a switch may take into its queue.
        gone: How long the queue does not exist at least. RabbitMQ tells no consumer that its queue is deleted if one of
            that name is declared some milliseconds later, and that consumer gets nothing any more.
    """

    counted: float = 12.0
    look: float = 0.5
    tell: float = 5.0
    quiet: float = 0.1
    patience: float = 60.0
    gate: float = 0.05
    straggler: float = 1.0
    gone: float = 2.0


class Replacement:
    """The replacement of one queue.

    Args:
        urls: AMQP addresses, tried in turn.
        queue: As it is to be.
        layout: What belongs on the broker, with this queue.
        others: The names of all queues that might be under replacement.
        management: Shows what consumers hold; without it nobody may consume from the queue.
        on_progress: Called with a sentence from time to time.
        timing: How long to wait for what.
    """

    def __init__(
        self,
        urls: Sequence[str],
        queue: Queue,
        layout: Layout,
        others: Sequence[str],
        management: Management | None,
        *,
        on_progress: Callable[[str], None] = lambda _: None,
        timing: Timing = Timing(),
    ) -> None:
        self._urls = urls
        self._queue = queue
        self._name = queue.name
        self._others = others
        self._management = management
        self._on_progress = on_progress
        self._timing = timing
        self._stand_in, self._gate, self._rest = stand_in(queue.name), gate(queue.name), remainder(queue.name)
        self._routes = layout.routes_to(queue.name)
        self._moved = 0

    def run(self) -> int | None:
        """Replace the queue, from wherever an earlier run has come to. Return how many messages were moved.

        Returns:
            None if the queue has the right arguments, and no replacement was begun.

        Raises:
            TopologyMissingError: There is no such queue.
            ReplacementUnfinishedError: Another queue is being replaced.
            BrokerError: What consumers hold cannot be seen, or the broker refuses or is lost.
        """
        begun = exchange_exists(self._urls, self._stand_in)
        if not begun:
            self._refuse_another()
        fits = self._fits()
        if not begun:
            if fits is None:
                with topology_channel(self._urls) as channel, explained("queue", self._name):
                    channel.queue_declare(self._name, passive=True)
            if fits:
                return None
        self._find_routes()
        if fits is False:
            self._divert()
            self._empty()
            self._delete()
        if not fits or self._exists(self._stand_in):
            self._declare_anew()
            self._give_back()
        self._restore()
        return self._moved

    def did(self, step: str) -> None:
        """Take note of a step: the broker has confirmed it."""
        log.info("replacement_step", queue=self._name, step=step)

    def _refuse_another(self) -> None:
        if exchange_exists(self._urls, MOVING_EXCHANGE):
            for name in self._others:
                if exchange_exists(self._urls, stand_in(name)):
                    raise unfinished(name)
            raise ReplacementUnfinishedError(
                "A queue is being replaced that is none of these settings, perhaps a retry queue of other delays: "
                "`rabbitmqctl list_exchanges` shows it as NAME.replacing. End that first."
            )

    def _fits(self) -> bool | None:
        """Return whether the queue has the right arguments; None if it does not exist."""
        if not self._exists(self._name):
            return None
        try:
            with topology_channel(self._urls) as channel:
                declare_queue(channel, self._queue)
        except TopologyMismatchError:
            return False
        return True

    def _find_routes(self) -> None:
        """Take bindings that others have made along; AMQP does not show them, and they end with the queue."""
        if self._management is not None:
            for found in self._management.bindings():
                if found.destination in {self._name, self._stand_in} and found.source not in {
                    MOVING_EXCHANGE,
                    self._stand_in,
                }:
                    route = Binding(found.source, self._name, found.routing_key)
                    if route not in self._routes:
                        self._routes.append(route)

    def _divert(self) -> None:
        """Lead new messages into the stand-in, without an instant in which they have nowhere to go, or two places."""
        behind = {"alternate-exchange": self._gate}
        self._step("exchange declared", partial(declare_exchange, exchange=Exchange(self._stand_in, "fanout", behind)))
        behind = {"alternate-exchange": MOVING_EXCHANGE}
        self._step("gate declared", partial(declare_exchange, exchange=Exchange(self._gate, "fanout", behind)))
        self._step("moving exchange declared", partial(declare_exchange, exchange=Exchange(MOVING_EXCHANGE, "fanout")))
        self._step("old queue behind it", lambda channel: channel.queue_bind(self._name, MOVING_EXCHANGE, ""))
        self._step("stand-in declared", partial(declare_queue, queue=self._waiting(self._stand_in)))
        self._each_route(
            "bound to the exchange",
            lambda channel, route: channel.exchange_bind(self._stand_in, route.source, route.routing_key),
        )
        self._each_route(
            "unbound from the old queue",
            lambda channel, route: channel.queue_unbind(self._name, route.source, route.routing_key),
        )
        self._step("stand-in bound", lambda channel: channel.queue_bind(self._stand_in, self._stand_in, ""))

    def _empty(self) -> None:
        """Wait until the old queue is empty, with nothing in the hands of a consumer.

        What nobody consumes is moved, but only once nobody holds what comes before it.
        """
        since = alone_since = told = time.monotonic()
        while True:
            waiting, consumers = self._look(self._name)
            held = self._held(waiting, consumers)
            now = time.monotonic()
            if consumers:
                alone_since = now
            if not waiting and not held and now - since >= self._needed:
                return
            if waiting and not held and now - alone_since >= self._needed:
                self._set_aside_the_rest()
                since = alone_since = time.monotonic()
                continue
            if now - told >= self._timing.tell:
                told = now
                hands = f", and {held} in the hands of {counted(consumers, 'consumer')}" if held else ""
                waits = counted(waiting, "message waits", "messages wait")
                self._on_progress(f"Waiting until {self._name} is empty: {waits} in it{hands}.")
            time.sleep(self._timing.look)

    @property
    def _needed(self) -> float:
        """For how long nothing may have changed before it is believed that nobody holds a message."""
        return self._timing.straggler if self._management is None else self._timing.counted

    def _held(self, waiting: int, consumers: int) -> int:
        """Return how many messages of the old queue are in the hands of consumers, as far as is known.

        The broker's count may be some seconds old. Nothing arrives in the queue any more, so it is never too low.
        """
        if self._management is not None:
            counted = self._management.messages(self._name)
            return 1 if counted is None else max(0, counted - waiting)
        if consumers:
            raise BrokerError(
                f"{consumers} programs consume {self._name}, and what they hold is seen only by the management API. "
                "Set ALLOCATION_MANAGEMENT_URL, or stop them (`consume`, or `project` for the read model) until this "
                "has ended; then run the same again. New messages wait meanwhile, and none is lost."
            )
        return 0

    def _set_aside_the_rest(self) -> None:
        """Move what nobody consumes from the old queue into a queue of its own, which comes before the stand-in."""
        with topology_channel(self._urls) as channel:
            declare_exchange(channel, Exchange(self._rest, "fanout"))
            declare_queue(channel, self._waiting(self._rest))
            channel.queue_bind(self._rest, self._rest, "")
        with self._mover(self._name, self._rest) as mover:
            mover.move_all(idle=self._timing.straggler)
        self._moved += mover.moved
        self.did("rest set aside")

    def _delete(self) -> None:
        self._step("old queue deleted", lambda channel: channel.queue_delete(self._name))

    def _declare_anew(self) -> None:
        # Whatever an earlier run had come to: new messages go to the stand-in again.
        self._step("stand-in declared again", partial(declare_queue, queue=self._waiting(self._stand_in)))
        self._step("stand-in bound again", lambda channel: channel.queue_bind(self._stand_in, self._stand_in, ""))
        if not self._exists(self._name):  # also where an earlier run has deleted it this very moment
            time.sleep(self._timing.gone)
        self._step("new queue declared", partial(declare_queue, queue=self._queue))
        self._step("new queue behind the exchange", lambda channel: channel.queue_bind(self._name, MOVING_EXCHANGE, ""))

    def _give_back(self) -> None:
        """Move what was set aside, then what the stand-in has, and lead new messages into the new queue."""
        if self._exists(self._rest):
            self._empty_into_the_new(self._rest)
            self._step("rest deleted", lambda channel: channel.queue_delete(self._rest))
        self._wait_until_alone(self._stand_in)
        with self._mover(self._stand_in, MOVING_EXCHANGE) as mover:
            mover.move(idle=self._timing.quiet, most=self._timing.patience)
            if self._queue.ordered:
                self._switch_in_order(mover)
            else:
                self._step("stand-in unbound", self._unbind_stand_in)
            mover.move_all(idle=self._timing.straggler)
        self._moved += mover.moved
        self._step("stand-in deleted", lambda channel: channel.queue_delete(self._stand_in))

    def _switch_in_order(self, mover: Mover) -> None:
        """Lead new messages into the new queue once the last one of the stand-in is there.

        Between these two, what is published is refused (a negative confirm), so that it cannot come first.
        """
        refusing = {"x-queue-type": "classic", "x-max-length": 0, "x-overflow": "reject-publish"}
        self._step("refusing queue declared", partial(declare_queue, queue=Queue(self._gate, refusing)))
        self._step("refusing queue bound", lambda channel: channel.queue_bind(self._gate, self._gate, ""))
        self._step("stand-in unbound", self._unbind_stand_in)
        mover.move_all(idle=self._timing.gate)
        self._step("refusing queue unbound", lambda channel: channel.queue_unbind(self._gate, self._gate, ""))

    def _unbind_stand_in(self, channel: BlockingChannel) -> None:
        channel.queue_unbind(self._stand_in, self._stand_in, "")

    def _restore(self) -> None:
        """Bind the new queue itself, and delete what was only for the replacement; the exchange that marks it last."""
        self._each_route(
            "bound to the new queue",
            lambda channel, route: channel.queue_bind(self._name, route.source, route.routing_key),
        )
        if self._exists(self._gate) and self._look(self._gate)[0]:  # it refuses all, but nothing is to depend on that
            self._empty_into_the_new(self._gate)
        for name in (self._gate, self._rest):
            self._step(f"{name} deleted", partial(_delete_both, name=name))
        self._step("moving exchange deleted", lambda channel: channel.exchange_delete(MOVING_EXCHANGE))
        self._step("exchange deleted", lambda channel: channel.exchange_delete(self._stand_in))

    def _waiting(self, name: str) -> Queue:
        """Return a queue in which messages wait; it treats them as the queue itself would, however often it is read."""
        arguments = {key: value for key, value in self._queue.arguments.items() if key != SINGLE_ACTIVE_CONSUMER}
        return Queue(name, {**arguments, "x-delivery-limit": NO_DELIVERY_LIMIT})

    def _empty_into_the_new(self, source: str) -> None:
        self._wait_until_alone(source)
        with self._mover(source, MOVING_EXCHANGE) as mover:
            mover.move_all(idle=self._timing.straggler)

    def _wait_until_alone(self, queue: str) -> None:
        """Wait until nobody consumes a queue: an earlier run, whose messages come back a moment after its end."""
        alone_since = told = time.monotonic()
        while time.monotonic() - alone_since < self._timing.straggler:
            if self._look(queue)[1]:
                alone_since = time.monotonic()
            if time.monotonic() - told >= self._timing.tell:
                told = time.monotonic()
                self._on_progress(f"Another program consumes {queue}; waiting until it has ended.")
            time.sleep(self._timing.look)

    def _mover(self, source: str, exchange: str) -> Mover:
        return Mover(self._urls, source, exchange, queue=self._name, ours=(MOVING_EXCHANGE, self._rest))

    def _each_route(self, name: str, change: Callable[[BlockingChannel, Binding], object]) -> None:
        for route in self._routes:
            with topology_channel(self._urls) as channel:
                change(channel, route)
            self.did(f"{route.source} {route.routing_key} {name}")

    def _step(self, name: str, change: Callable[[BlockingChannel], object]) -> None:
        with topology_channel(self._urls) as channel:
            change(channel)
        self.did(name)

    def _look(self, queue: str) -> tuple[int, int]:
        """Return how many messages of a queue wait, and how many consumers it has."""
        with topology_channel(self._urls) as channel, explained("queue", queue):
            found = channel.queue_declare(queue, passive=True).method
        return int(found.message_count), int(found.consumer_count)

    def _exists(self, queue: str) -> bool:
        try:
            self._look(queue)
        except TopologyMissingError:
            return False
        return True


def _delete_both(channel: BlockingChannel, name: str) -> None:
    channel.queue_delete(name)
    channel.exchange_delete(name)
