"""A broker in memory: exchanges, quorum queues, acks, dead letters, and message expiry.

It behaves as RabbitMQ was observed to do. Messages that come back when a channel ends keep their order, stand behind
those that had come back before, and are delivered before new ones. Each requeue counts as a delivery, and a message
beyond the delivery limit is dead-lettered. A consumer that is cancelled keeps what it has in hand.
"""

from collections import deque
from collections.abc import Callable, Sequence
from copy import copy
from dataclasses import dataclass, field
from typing import Any

from pika.spec import BasicProperties

from allocation_contracts.commands import COMMANDS
from allocation_contracts.names import (
    COMMANDS_EXCHANGE,
    DEAD_LETTERS,
    EVENTS_EXCHANGE,
    ORDERS_QUEUE,
    REDRIVING_EXCHANGE,
    RETRYING_EXCHANGE,
    STOCK_QUEUE,
)
from allocation_worker.adapters.rabbitmq.retry_queues import retry_queue

DELIVERY_LIMIT = 20
SUBSCRIBER = "subscriber"

Later = Callable[[float, Callable[[], None]], None]


@dataclass(eq=False)
class Letter:
    """A message on the broker; `failures` counts the deliveries that came back."""

    exchange: str
    routing_key: str
    body: bytes
    properties: BasicProperties
    failures: int = 0


@dataclass(eq=False)
class Subscription:
    """A consumer, as the broker sees it: `deliver` puts a message on its way, `unacked` is what it has in hand.

    Its tags are those of its channel, which `next_tag` counts.
    """

    prefetch: int
    next_tag: Callable[[], int]
    deliver: Callable[[int, Letter], None]
    unacked: dict[int, Letter] = field(default_factory=dict)

    @property
    def has_room(self) -> bool:
        return len(self.unacked) < self.prefetch


class Queue:
    """A quorum queue.

    Attributes:
        spent: how many deliveries of each message have failed, by its message_id; only those where any has.
    """

    def __init__(
        self, name: str, *, single_active: bool = False, dead_letter: Callable[[Letter, str, str], None]
    ) -> None:
        self.name = name
        self._single_active = single_active
        self._dead_letter = dead_letter
        self.returned: deque[Letter] = deque()
        self.waiting: deque[Letter] = deque()
        self.subscriptions: list[Subscription] = []
        self._cancelled: list[Subscription] = []
        self.spent: dict[str, int] = {}

    @property
    def most_failures(self) -> int:
        return max(self.spent.values(), default=0)

    @property
    def empty(self) -> bool:
        in_hand = any(each.unacked for each in [*self.subscriptions, *self._cancelled])
        return not (self.returned or self.waiting or in_hand)

    def put(self, letter: Letter) -> None:
        self.waiting.append(letter)
        self._deliver()

    def subscribe(self, subscription: Subscription) -> None:
        self.subscriptions.append(subscription)
        self._deliver()

    def cancel(self, subscription: Subscription) -> None:
        """Give it no more; what it has in hand stays there. The next one may have its turn."""
        self.subscriptions.remove(subscription)
        self._cancelled.append(subscription)
        self._deliver()

    def end(self, subscriptions: Sequence[Subscription]) -> None:
        """Their channel is gone: what each had in hand comes back, in order. Which comes first is not promised."""
        for subscription in reversed(subscriptions):
            (self.subscriptions if subscription in self.subscriptions else self._cancelled).remove(subscription)
            for _, letter in sorted(subscription.unacked.items()):
                self._take_back(letter)
            subscription.unacked.clear()
        self._deliver()

    def reject(self, subscriptions: Sequence[Subscription], tag: int) -> None:
        """Take one back."""
        self._take_back(next(each.unacked.pop(tag) for each in subscriptions if tag in each.unacked))
        self._deliver()

    def ack(self, subscriptions: Sequence[Subscription], tag: int, *, multiple: bool) -> None:
        found = False
        for subscription in subscriptions:
            for each in [each for each in subscription.unacked if each == tag or (multiple and each < tag)]:
                del subscription.unacked[each]
                found = True
        assert found, f"an ack of {tag}, which is not in hand: the broker would close the channel"
        self._deliver()

    def _take_back(self, letter: Letter) -> None:
        letter.failures += 1
        self.spent[str(letter.properties.message_id)] = letter.failures
        if letter.failures > DELIVERY_LIMIT:
            self._dead_letter(letter, self.name, "delivery_limit")
        else:
            self.returned.append(letter)

    def _deliver(self) -> None:
        while self.returned or self.waiting:
            active = self.subscriptions[:1] if self._single_active else self.subscriptions
            able = next((each for each in active if each.has_room), None)
            if able is None:
                return
            letter = (self.returned or self.waiting).popleft()
            tag = able.next_tag()
            able.unacked[tag] = letter
            able.deliver(tag, letter)
            if not self._single_active:
                self.subscriptions.remove(able)  # the next message goes to the next consumer
                self.subscriptions.append(able)


class Broker:
    """All queues, and the ways that lead to them.

    Args:
        later: has a function called after so many seconds.
        retry_delays: in seconds; a retry queue for each.

    Attributes:
        events: what the subscriber's queue got, in order.
        dead: what is in the dead-letter queue.
        unbound: types of events that the subscriber is not bound for, for now.
        resting: how many messages each retry queue holds.
        twice: asked when a message expires, whether it goes back twice.
    """

    def __init__(self, later: Later, retry_delays: tuple[int, ...]) -> None:
        self._later = later
        self.queues = {
            ORDERS_QUEUE: Queue(ORDERS_QUEUE, dead_letter=self._bury),
            STOCK_QUEUE: Queue(STOCK_QUEUE, single_active=True, dead_letter=self._bury),
        }
        self._retry = {retry_queue(queue, delay): (queue, delay) for queue in self.queues for delay in retry_delays}
        self._bindings = {command.ROUTING_KEY: command.QUEUE for command in COMMANDS.values()}
        self.resting: dict[str, int] = dict.fromkeys(self._retry, 0)
        self.events: list[Letter] = []
        self.dead: list[Letter] = []
        self.unbound: set[str] = set()
        self.twice: Callable[[str], bool] = lambda _name: False

    @property
    def empty(self) -> bool:
        """But for the dead letters and what the subscriber got."""
        return all(queue.empty for queue in self.queues.values()) and not any(self.resting.values())

    def publish(self, letter: Letter) -> bool:
        """Put it into every queue that it goes to; False if that is none."""
        match letter.exchange:
            case exchange if exchange in {RETRYING_EXCHANGE, REDRIVING_EXCHANGE}:
                return self._put(letter.routing_key, letter)
            case exchange if exchange == COMMANDS_EXCHANGE:
                queue = self._bindings.get(letter.routing_key)
                return self._put(queue or DEAD_LETTERS, letter)
            case exchange if exchange == EVENTS_EXCHANGE:
                if letter.properties.type in self.unbound:
                    return False
                self.events.append(letter)
                return True
            case exchange if exchange == DEAD_LETTERS:
                return self._put(DEAD_LETTERS, letter)
        raise AssertionError(f"no exchange {letter.exchange!r}: the broker would close the channel")

    def _put(self, name: str, letter: Letter) -> bool:
        if name == DEAD_LETTERS:
            self.dead.append(letter)
        elif name in self._retry:
            queue, delay = self._retry[name]
            self.resting[name] += 1
            self._later(delay, lambda: self._expire(name, queue, letter))
        elif name in self.queues:
            self.queues[name].put(letter)
        else:
            return False
        return True

    def _expire(self, name: str, queue: str, letter: Letter) -> None:
        """Dead-lettering is at least once: now and then it is twice."""
        self.resting[name] -= 1
        for _ in range(2 if self.twice(f"{name} expires") else 1):
            self.queues[queue].put(_with_death(letter, RETRYING_EXCHANGE, queue, name, "expired"))

    def _bury(self, letter: Letter, queue: str, reason: str) -> None:
        self.dead.append(_with_death(letter, DEAD_LETTERS, letter.routing_key, queue, reason))


def _with_death(letter: Letter, exchange: str, routing_key: str, queue: str, reason: str) -> Letter:
    properties = copy(letter.properties)
    death: dict[str, Any] = {"queue": queue, "reason": reason, "count": 1}
    headers = properties.headers or {}
    assert reason != "expired" or "x-death" not in headers, "3.x would take this for a cycle and drop it"
    properties.headers = {**headers, "x-death": [death], "x-first-death-reason": reason, "x-first-death-queue": queue}
    return Letter(exchange, routing_key, letter.body, properties)
