"""The network side of consuming one queue."""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from functools import partial

import pika
import structlog
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker, ChannelClosedByClient
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from allocation_contracts.amqp.confirms import ConfirmedChannel, OnResult, Patience
from allocation_contracts.amqp.lenient import UNDECODABLE, UndecodableProperties
from allocation_contracts.amqp.link import LinkFactory
from allocation_contracts.amqp.pika_internals import forget_consumers
from allocation_contracts.results import PublishResult
from allocation_worker.adapters.rabbitmq.acknowledger import Acknowledger
from allocation_worker.adapters.rabbitmq.copies import DEFAULT_FRAME_MAX
from allocation_worker.adapters.rabbitmq.deliveries import DeliveryBuffer, Results
from allocation_worker.adapters.rabbitmq.delivery import Delivery, delivery_failures
from allocation_worker.adapters.rabbitmq.errors import REMEDIES
from allocation_worker.adapters.rabbitmq.link import log_event
from allocation_worker.adapters.rabbitmq.prefetch_policy import FAILURES_BEFORE_ALONE, PrefetchPolicy, PrefetchStep
from allocation_worker.adapters.rabbitmq.replacing_names import original_exchange
from allocation_worker.adapters.rabbitmq.threads import Threads
from allocation_worker.service_layer.outcomes import DeadLettered, SetAside

log = structlog.get_logger()

_CONFIRMS_AGAIN_AFTER = 1.0
_PAUSE = 1.0
_MOST_PAUSES = 10


class QueueConsumer:
    """Consumes one queue over a connection of its own, with a network thread and a worker thread of its own.

    A connection of its own, because one that is lost must not spend deliveries of the other queues' messages.

    `PrefetchPolicy` decides how many messages are in hand. On a quorum queue the prefetch belongs to the consumer and
    cannot be changed, so consuming begins anew. A cancel keeps the unacked messages. In a queue with a single active
    consumer, the next one could overtake them, so it is sent when they are committed, or all are returned by closing
    the channel.

    An alarm of the broker may block the connection for any time. To close it would free nothing, and would spend a
    delivery of each unacked message.

    A message that kills the process spends a delivery of the other queues' unacked messages, too. So one that has
    failed again and again waits for a second after the start if it is not this queue's turn, and longer while the queue
    whose turn it is has such messages in hand: that one gets on meanwhile.

    Args:
        urls: AMQP addresses.
        queue: The queue's name.
        prefetch: The most messages that are unacked at a time.
        ordered: Whether its messages must not overtake each other.
        name: How the broker shows the connection.
        after: The queue whose turn it is, if it is not this one's.
        link: Makes the connection.
        threads: Starts the threads.
        on_consuming: Called in the network thread whenever the broker has begun to deliver.

    Attributes:
        name: The queue's name.
        buffer: Its deliveries, for the worker thread.
        network: Done when the network thread has ended, with what it raised.
        worker: Done when the worker thread has ended, with what it raised.
    """

    network: Future[None]
    worker: Future[None]

    def __init__(
        self,
        urls: Sequence[str],
        queue: str,
        *,
        prefetch: int,
        ordered: bool,
        name: str,
        after: "QueueConsumer | None",
        link: LinkFactory,
        threads: Threads,
        on_consuming: Callable[[str], None],
    ) -> None:
        self.name = queue
        self._on_consuming = on_consuming
        self._after = after
        self._pauses_left = 0 if after is None else _MOST_PAUSES
        self._pausing = False
        self._threads = threads
        self._link = link(urls, name=name, on_connected=self._connected, on_lost=self._lost)
        self._connection: pika.SelectConnection | None = None
        self._channel: Channel | None = None
        self._acknowledger: Acknowledger | None = None
        self._confirms: ConfirmedChannel | None = None
        self._patience = Patience()
        self._consumer_tag = ""
        self._generation = 0
        self._policy = PrefetchPolicy(prefetch, ordered=ordered)
        self._hand_over = False
        self._waits_for_answers = False
        self._finishing = False
        self._log = log.bind(queue=queue)
        self.buffer = DeliveryBuffer(
            queue,
            on_results=lambda results: self._link.call_soon(partial(self._ack, results)),
            on_release=lambda: self._link.call_soon(self._consume),
            condition=threads.condition(),
        )

    @property
    def suspects_in_hand(self) -> bool:
        """Whether messages are in hand that have failed again and again, or are about to be. Thread-safe."""
        return self._policy.suspects_in_hand

    def start(self, work: Callable[[DeliveryBuffer], None]) -> None:
        """Start both threads; `work` is called in the worker thread."""
        self.worker = self._threads.spawn(f"worker of {self.name}", partial(self._work, work))
        self.network = self._threads.spawn(f"network of {self.name}", self._link.run)

    def stop(self) -> None:
        """Let the worker finish what it has taken, then ack that, return the rest and end. Thread-safe."""
        self.buffer.close()

    def abandon(self) -> None:
        """End the network thread now; what is not acked returns to the queue. Thread-safe."""
        self._link.call_soon(self._abandon)

    def _work(self, work: Callable[[DeliveryBuffer], None]) -> None:
        try:
            work(self.buffer)
        finally:
            self._link.call_soon(self._finish)

    # From here on: in the network thread.

    def _connected(self, connection: pika.SelectConnection) -> None:
        self._connection = connection
        self._open_confirms()
        self._consume()

    def _lost(self) -> None:
        self._connection = self._confirms = None
        self._forget_channel()
        if self._finishing:
            self._link.stop()

    def _consume(self) -> None:
        connection = self._connection
        if connection is None or not connection.is_open or self._channel is not None:
            return
        if self.buffer.held:
            self._log.info("consuming_held")
        elif not self._finishing:
            self._generation += 1
            self._channel = connection.channel(on_open_callback=self._channel_opened)
            self._channel.add_on_close_callback(self._channel_closed)
            self._channel.add_on_cancel_callback(self._cancelled_by_broker)

    def _channel_opened(self, channel: Channel) -> None:
        frame_max = DEFAULT_FRAME_MAX if self._connection is None else self._connection.params.frame_max
        self._acknowledger = Acknowledger(
            channel, frame_max=frame_max, publish=self._publish, call_later=self._link.call_later
        )
        self._consume_on(channel)

    def _consume_on(self, channel: Channel) -> None:
        prefetch = self._policy.window
        self._policy.consuming()
        channel.basic_qos(prefetch_count=prefetch)
        self._consumer_tag = channel.basic_consume(
            self.name, self._delivered, callback=partial(self._consuming, prefetch)
        )

    def _consuming(self, prefetch: int, _frame: Method[Basic.ConsumeOk]) -> None:
        self._log.info("consuming", prefetch=prefetch)
        self._begin_pause()
        self._link.mark_healthy()
        self._on_consuming(self.name)

    def _delivered(self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        tag = method.delivery_tag or 0
        failures = delivery_failures(properties, redelivered=bool(method.redelivered))
        if failures >= FAILURES_BEFORE_ALONE and self._pausing:
            self.buffer.rest()
        match self._step(tag, failures):
            case PrefetchStep.RETURN:
                _give_back_and_close(channel)
                return
            case PrefetchStep.WIDEN:
                self._cancel(channel)
            case PrefetchStep.NARROW:
                self._waits_for_answers = True
                self._cancel(channel)
            case PrefetchStep.HAND_OVER:
                self._hand_over = True
            case PrefetchStep.TAKE:
                pass
        delivery = Delivery(
            tag=tag,
            queue=self.name,
            generation=self._generation,
            body=body,
            failures=failures,
            routing_key=method.routing_key or "",
            exchange=original_exchange(method.exchange or "", properties),
            properties=properties,
        )
        if isinstance(properties, UndecodableProperties):
            self._refuse(delivery, properties)
        else:
            self.buffer.put(delivery)

    def _refuse(self, delivery: Delivery, properties: UndecodableProperties) -> None:
        self._log.warning(
            "dead_lettered",
            message_id=properties.message_id,
            correlation_id=properties.correlation_id,
            type=properties.type,
            reason=UNDECODABLE,
            attempts=1,
            detail=properties.detail,
        )
        self._ack([(delivery, DeadLettered(reason=UNDECODABLE, detail=properties.detail))])

    def _step(self, tag: int, failures: int) -> PrefetchStep:
        step = self._policy.delivered(tag, failures)
        if step is not PrefetchStep.TAKE:
            prefetch = self._policy.window
            level = logging.WARNING if prefetch == 1 else logging.INFO
            self._log.log(level, "prefetch_changed", prefetch=prefetch, failures=failures)
        return step

    def _cancel(self, channel: Channel) -> None:
        """Cancel the consumer, and consume anew; as many are in hand as its prefetch allows, so none is on its way."""
        channel.basic_cancel(self._consumer_tag, callback=partial(self._consumer_cancelled, channel))

    def _consumer_cancelled(self, channel: Channel, _frame: Method[Basic.CancelOk]) -> None:
        if channel is self._channel:
            self._consumer_tag = ""
            self._consume_anew(channel)

    def _consume_anew(self, channel: Channel) -> None:
        waits = self._waits_for_answers and not self._policy.nothing_in_hand
        if channel.is_open and not (waits or self._finishing or self._consumer_tag):
            self._waits_for_answers = False
            self._consume_on(channel)

    def _ack(self, results: Results) -> None:
        current = []
        if self._channel is not None and self._acknowledger is not None:
            current = [result for result in results if result[0].generation == self._generation]
            answered = [delivery.tag for delivery, outcome in current if not isinstance(outcome, SetAside)]
            self._policy.answered(answered)
            if self._hand_over and answered:
                self._hand_over = False
                self._cancel(self._channel)  # before the ack makes room for another message
            self._acknowledger.ack(current)
            if self._waits_for_answers:
                self._consume_anew(self._channel)
        if len(current) < len(results):
            self._log.info("acks_skipped", count=len(results) - len(current))

    def _cancelled_by_broker(self, _frame: Method[Basic.Cancel]) -> None:
        self._log.error("consumer_cancelled", detail="The broker cancelled the consumer; the queue may be deleted.")
        self._link.reconnect()

    def _channel_closed(self, channel: Channel, reason: Exception) -> None:
        if channel is not self._channel:
            return
        self._forget_channel()
        if self._finishing:
            self._link.stop()
        elif isinstance(reason, ChannelClosedByClient):
            if not self._pausing:
                self._consume()
        elif isinstance(reason, ChannelClosedByBroker):
            self._log.error("consuming_refused", reason=reason.reply_text, remedy=REMEDIES.get(reason.reply_code))
            self._link.reconnect()

    def _forget_channel(self) -> None:
        self._channel = self._acknowledger = None
        self._hand_over = self._waits_for_answers = False
        self._policy.channel_closed()
        self.buffer.clear()

    def _begin_pause(self) -> None:
        if self._pauses_left == _MOST_PAUSES:
            self._pausing = True
            self._pauses_left -= 1
            self._link.call_later(_PAUSE, self._end_pause)

    def _end_pause(self) -> None:
        if self._pauses_left and self._after is not None and self._after.suspects_in_hand:
            self._pauses_left -= 1
            self._link.call_later(_PAUSE, self._end_pause)
        else:
            self._pausing = False
            self.buffer.resume()
            self._consume()

    def _open_confirms(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.channel(on_open_callback=self._confirms_opened)

    def _confirms_opened(self, channel: Channel) -> None:
        self._confirms = ConfirmedChannel(
            channel, link=self._link, patience=self._patience, log=log_event, on_closed=self._confirms_closed
        )

    def _confirms_closed(self, reason: Exception) -> None:
        self._confirms = None
        if self._connection is not None and self._connection.is_open and not self._finishing:
            self._log.error("confirm_channel_closed", reason=str(reason))
            self._link.call_later(_CONFIRMS_AGAIN_AFTER, self._open_confirms)

    def _publish(
        self, exchange: str, routing_key: str, body: bytes, properties: BasicProperties, on_result: OnResult
    ) -> None:
        if self._confirms is None:
            on_result(PublishResult.LOST)
        else:
            self._confirms.publish(exchange, routing_key, body, properties, on_result)

    def _finish(self) -> None:
        self._finishing = True
        if self._channel is None or self._acknowledger is None:
            self._link.stop()
        else:
            # The broker answers the close after it has taken the acks that were sent before.
            self._acknowledger.when_idle(partial(_give_back_and_close, self._channel))

    def _abandon(self) -> None:
        if self._channel is not None:
            forget_consumers(self._channel)
        self._link.stop()


def _give_back_and_close(channel: Channel) -> None:
    """Close the channel, and let the broker requeue at one stroke, and in order, what was delivered on it."""
    if channel.is_open:
        forget_consumers(channel)
        channel.close()
