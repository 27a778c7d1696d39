"""Outcomes turned into acks, retries and dead letters, for the deliveries of one channel."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import structlog
from pika.channel import Channel
from pika.spec import BasicProperties

from allocation_contracts.amqp.acks import CumulativeAcks
from allocation_contracts.amqp.confirms import OnResult
from allocation_contracts.names import DEAD_LETTERS, RETRYING_EXCHANGE
from allocation_contracts.results import PublishResult
from allocation_worker.adapters.rabbitmq.copies import dead_letter_copy, retry_copy
from allocation_worker.adapters.rabbitmq.deliveries import Results
from allocation_worker.adapters.rabbitmq.delivery import Delivery
from allocation_worker.adapters.rabbitmq.errors import RUN_TOPOLOGY
from allocation_worker.adapters.rabbitmq.retry_queues import retry_queue
from allocation_worker.service_layer.outcomes import DeadLettered, Done, Retry, SetAside

log = structlog.get_logger()

Publish = Callable[[str, str, bytes, BasicProperties, OnResult], None]
CallLater = Callable[[float, Callable[[], None]], None]

_FIRST_PAUSE = 1.0
_LONGEST_PAUSE = 30.0
# Few enough for the broker to take them before the next ones are sent.
_ALONE_AT_ONCE = 16
_ALONE_AGAIN_AFTER = 0.02


@dataclass(frozen=True, slots=True)
class _Copy:
    delivery: Delivery
    exchange: str
    routing_key: str
    properties: BasicProperties

    @property
    def destination(self) -> str:
        """Where it goes: all dead letters go to one queue, and retries to one for each delay."""
        return DEAD_LETTERS if self.exchange == DEAD_LETTERS else self.routing_key


@dataclass(slots=True)
class _Refusal:
    """A destination that takes no copies now, and the copies that wait for it, in their order."""

    waiting: deque[_Copy]
    pause: float = _FIRST_PAUSE
    refused: int = 1
    tried: _Copy | None = None


class Acknowledger:
    """Acks each delivery of a channel once what is to become of it is durable, and not before.

    The broker numbers the deliveries of a channel 1, 2, 3; those settled without a gap from the first are acked
    together, by one `multiple` ack. A message whose copy is confirmed is acked at once, even behind a gap: if the
    connection is lost before that, there will be a second copy. While messages are set aside, those behind them are
    acked alone, too.

    A copy that is returned, refused or lost is sent again, for as long as the channel lives. Its destination gets one
    copy after a pause, which doubles from 1 to 30 seconds, and all others once that one is confirmed. The log has one
    line when a destination begins to refuse and one when it takes copies again. When the channel goes, the broker
    delivers again what was not acked. Network thread only.
    """

    def __init__(self, channel: Channel, *, frame_max: int, publish: Publish, call_later: CallLater) -> None:
        self._channel = channel
        self._frame_max = frame_max
        self._publish = publish
        self._call_later = call_later
        self._acks = CumulativeAcks(channel)
        self._alone: deque[int] = deque()
        self._aside: set[int] = set()
        self._copies = 0
        self._refusals: dict[str, _Refusal] = {}
        self._ack_is_due = False
        self._on_idle: Callable[[], None] | None = None

    def ack(self, results: Results) -> None:
        """Ack deliveries; one that is retried or dead-lettered is acked once its copy is confirmed."""
        for delivery, outcome in results:
            match outcome:
                case SetAside():
                    self._aside.add(delivery.tag)
                    continue
                case Done():
                    self._acks.done(delivery.tag)
                case Retry():
                    name = retry_queue(delivery.queue, outcome.after)
                    self._begin(
                        _Copy(delivery, RETRYING_EXCHANGE, name, retry_copy(delivery, outcome, self._frame_max))
                    )
                case DeadLettered():
                    properties = dead_letter_copy(delivery, outcome, self._frame_max)
                    self._begin(_Copy(delivery, DEAD_LETTERS, delivery.routing_key, properties))
            self._aside.discard(delivery.tag)
            if self._aside and isinstance(outcome, Done):
                self._alone.append(delivery.tag)
        self._ack_soon()

    def when_idle(self, function: Callable[[], None]) -> None:
        """Call it once no copy is under way any more, perhaps at once."""
        self._on_idle = function
        self._call_if_idle()

    def _begin(self, copy: _Copy) -> None:
        self._copies += 1
        if refusal := self._refusals.get(copy.destination):
            refusal.waiting.append(copy)
        else:
            self._send(copy)

    def _send(self, copy: _Copy) -> None:
        if self._channel.is_open:
            answered = partial(self._copy_answered, copy)
            self._publish(copy.exchange, copy.routing_key, copy.delivery.body, copy.properties, answered)

    def _copy_answered(self, copy: _Copy, result: PublishResult) -> None:
        if result is not PublishResult.CONFIRMED:
            self._refused(copy, result)
            return
        self._accepted(copy)
        self._copies -= 1
        self._acks.done(copy.delivery.tag)
        self._alone.append(copy.delivery.tag)
        self._ack_soon()

    def _refused(self, copy: _Copy, result: PublishResult) -> None:
        refusal = self._refusals.get(copy.destination)
        if refusal is None:
            refusal = self._refusals[copy.destination] = _Refusal(deque([copy]))
            log.error(
                "copy_not_taken",
                queue=copy.delivery.queue,
                message_id=copy.delivery.properties.message_id,
                correlation_id=copy.delivery.properties.correlation_id,
                type=copy.delivery.properties.type,
                exchange=copy.exchange,
                routing_key=copy.routing_key,
                answer=result.name,
                remedy=RUN_TOPOLOGY if result is PublishResult.RETURNED else None,
                again_after=_FIRST_PAUSE,
            )
            self._call_later(refusal.pause, partial(self._try_one, copy.destination))
            return
        refusal.refused += 1
        if copy is not refusal.tried:
            refusal.waiting.append(copy)
            return
        refusal.waiting.appendleft(copy)
        refusal.pause = min(_LONGEST_PAUSE, 2 * refusal.pause)
        self._call_later(refusal.pause, partial(self._try_one, copy.destination))

    def _try_one(self, destination: str) -> None:
        refusal = self._refusals[destination]
        refusal.tried = refusal.waiting.popleft()
        self._send(refusal.tried)

    def _accepted(self, copy: _Copy) -> None:
        refusal = self._refusals.get(copy.destination)
        # Others that were confirmed meanwhile had been published before the refusal.
        if refusal is not None and copy is refusal.tried:
            del self._refusals[copy.destination]
            log.info("copies_taken_again", destination=copy.destination, refusals=refusal.refused)
            for each in refusal.waiting:
                self._send(each)

    def _ack_soon(self, delay: float = 0) -> None:
        # Confirms, and small groups, come in swarms. More than 32 acks at a time are kept back inside the broker, and
        # forgotten if the channel is closed then (rabbitmq-server issue 10327): the messages would come again.
        if not self._ack_is_due:
            self._ack_is_due = True
            self._call_later(delay, self._ack)

    def _ack(self) -> None:
        self._ack_is_due = False
        self._acks.send()
        self._ack_alone()
        self._call_if_idle()

    def _ack_alone(self) -> None:
        """Ack some of the messages behind the gap that need not wait for it, and the others a moment later.

        Half of them while messages are set aside: then nearly every message is acked so, and the last ones are few.
        """
        most = max(_ALONE_AT_ONCE, len(self._alone) // 2) if self._aside else _ALONE_AT_ONCE
        sent = 0
        while self._alone and sent < most:
            sent += self._acks.ack_alone(self._alone.popleft())
        if self._alone:
            self._ack_soon(_ALONE_AGAIN_AFTER)

    def _call_if_idle(self) -> None:
        if self._on_idle is not None and not self._copies and not self._ack_is_due:
            function, self._on_idle = self._on_idle, None
            function()
