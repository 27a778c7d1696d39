"""The network side of consuming one queue."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from threading import Thread

import pika
import structlog
from pika.channel import Channel
from pika.exceptions import ChannelClosedByBroker, ChannelClosedByClient
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from allocation_contracts.amqp.confirms import ConfirmedChannel, OnResult
from allocation_contracts.amqp.lenient import UNDECODABLE, UndecodableProperties
from allocation_contracts.amqp.link import LinkFactory
from allocation_contracts.amqp.pika_internals import forget_consumers
from allocation_contracts.results import PublishResult
from allocation_worker.adapters.rabbitmq.acknowledger import Acknowledger
from allocation_worker.adapters.rabbitmq.copies import DEFAULT_FRAME_MAX
from allocation_worker.adapters.rabbitmq.delivery import Delivery, delivery_failures
from allocation_worker.adapters.rabbitmq.errors import NOT_FOUND, RUN_TOPOLOGY
from allocation_worker.adapters.rabbitmq.feed import QueueFeed, Results
from allocation_worker.adapters.rabbitmq.link import log_event, worker_link
from allocation_worker.adapters.rabbitmq.probation import Pace, Probation
from allocation_worker.service_layer.outcomes import DeadLetter

log = structlog.get_logger()

_CONFIRMS_AGAIN_AFTER = 1.0


class QueueConsumer:
    """Consumes one queue over a connection of its own, in a thread of its own.

    A connection of its own, because a message that kills it must not spend deliveries of the other queues' messages.

    Whether it takes messages one at a time is for `Probation` to decide. To change over, all is given back by closing
    the channel, and consuming begins anew, since on a quorum queue the prefetch belongs to the consumer and cannot be
    changed. A cancel would keep messages in hand, but would let the next of a single-active-consumer queue's consumers
    overtake them; where order does not matter, it saves the one message that ends a probation from coming twice.

    There is no limit to how long an alarm of the broker may block the connection: giving it up would free nothing, and
    spend one delivery of each message in hand.

    What kills the process spends a delivery of the other queues' messages in hand, too. So that they are not always in
    hand when it strikes, each of a process's queues waits another while before it goes on one at a time.

    Args:
        urls: AMQP addresses.
        queue: Its name.
        prefetch: How many messages to have in hand at most.
        ordered: Its messages must not overtake each other.
        name: What the broker shows the connection as.
        probation_pause: How many seconds to wait before going on one at a time.
        on_worker_end: Told that the worker thread has ended, and of what it died, if it did.
        on_end: As `on_worker_end`, of the network thread.
        link: Makes the connection.
    """

    def __init__(
        self,
        urls: Sequence[str],
        queue: str,
        *,
        prefetch: int,
        ordered: bool,
        name: str,
        probation_pause: float,
        on_worker_end: Callable[[BaseException | None], None],
        on_end: Callable[[BaseException | None], None],
        link: LinkFactory = worker_link,
    ) -> None:
        self._queue = queue
        self._prefetch = prefetch
        self._probation_pause = probation_pause
        self._on_end = on_end
        self._link = link(urls, name=name, on_connected=self._connected, on_lost=self._lost)
        self._thread = Thread(target=self._run, name=name, daemon=True)
        self._connection: pika.SelectConnection | None = None
        self._channel: Channel | None = None
        self._acknowledger: Acknowledger | None = None
        self._confirms: ConfirmedChannel | None = None
        self._consumer_tag = ""
        self._generation = 0
        self._probation = Probation(ordered=ordered)
        self._finishing = False
        self._log = log.bind(queue=queue)
        self.feed = QueueFeed(
            queue,
            on_results=lambda results: self._link.call_soon(partial(self._settle, results)),
            on_release=lambda: self._link.call_soon(self._consume),
            on_end=on_worker_end,
        )

    def start(self) -> None:
        """Start the network thread."""
        self._thread.start()

    def finish(self) -> None:
        """Wait for the copies under way, ack what is settled, give back the rest and end. Thread-safe."""
        self._link.call_soon(self._finish)

    def abandon(self) -> None:
        """End now; what is not acked goes back to the queue. Thread-safe."""
        self._link.call_soon(self._abandon)

    def join(self, timeout: float) -> None:
        """Wait for the network thread."""
        self._thread.join(timeout)

    def _run(self) -> None:
        try:
            self._link.run()
        except BaseException as error:  # noqa: BLE001 - it is raised again, in the main thread
            self._on_end(error)
        else:
            self._on_end(None)

    def _connected(self, connection: pika.SelectConnection) -> None:
        self._connection = connection
        self._open_confirms()
        self._consume()

    def _lost(self) -> None:
        self._connection = self._confirms = None
        self._forget_channel()
        self._probation.connection_lost()
        if self._finishing:
            self._link.stop()

    def _consume(self) -> None:
        connection = self._connection
        if connection is None or not connection.is_open or self._channel is not None:
            return
        if self.feed.held:
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
        prefetch = self._prefetch if self._probation.pace is Pace.FULL else 1
        channel.basic_qos(prefetch_count=prefetch)
        self._consumer_tag = channel.basic_consume(
            self._queue, self._delivered, callback=partial(self._consuming, prefetch)
        )

    def _consuming(self, prefetch: int, _frame: Method[Basic.ConsumeOk]) -> None:
        self._log.info("consuming", prefetch=prefetch)
        self._link.mark_healthy()

    def _delivered(self, channel: Channel, method: Basic.Deliver, properties: BasicProperties, body: bytes) -> None:
        redelivered = bool(method.redelivered)
        failures = delivery_failures(properties) if redelivered else 0
        if self._probation.changed_by(redelivered=redelivered, failures=failures):
            pace = self._probation.pace
            self._log.log(logging.WARNING if pace is Pace.PROBATION else logging.INFO, "pace_changed", pace=pace.value)
            if self._probation.ordered or pace is not Pace.FULL:
                _give_back_and_close(channel)
                return
            self._speed_up(channel)
        delivery = Delivery(
            tag=method.delivery_tag or 0,
            queue=self._queue,
            generation=self._generation,
            body=body,
            redelivered=redelivered,
            routing_key=method.routing_key or "",
            exchange=method.exchange or "",
            properties=properties,
        )
        if isinstance(properties, UndecodableProperties):
            self._refuse(delivery, properties)
        else:
            self.feed.put(delivery)

    def _refuse(self, delivery: Delivery, properties: UndecodableProperties) -> None:
        self._log.warning("contract broken", reason=UNDECODABLE, detail=properties.detail)
        self._settle([(delivery, DeadLetter(reason=UNDECODABLE, detail=properties.detail))])

    def _speed_up(self, channel: Channel) -> None:
        def again(_frame: Method[Basic.CancelOk]) -> None:
            if channel.is_open and not self._finishing:
                self._consume_on(channel)

        if self._prefetch > 1:
            channel.basic_cancel(self._consumer_tag, callback=again)

    def _settle(self, results: Results) -> None:
        if self._acknowledger is None:
            current = []
        else:
            current = [result for result in results if result[0].generation == self._generation]
            self._acknowledger.settle(current)
        if len(current) < len(results):
            self._log.info("settlements_passed_over", count=len(results) - len(current))

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
            pause = self._probation_pause if self._probation.pace is Pace.PROBATION else 0
            self._link.call_later(pause, self._consume)
        elif isinstance(reason, ChannelClosedByBroker):
            mend = RUN_TOPOLOGY if reason.reply_code == NOT_FOUND else None
            self._log.error("consuming_refused", reason=reason.reply_text, mend=mend)
            self._link.reconnect()

    def _forget_channel(self) -> None:
        self._channel = self._acknowledger = None
        self.feed.purge()

    def _open_confirms(self) -> None:
        if self._connection is not None and self._connection.is_open:
            self._connection.channel(on_open_callback=self._confirms_opened)

    def _confirms_opened(self, channel: Channel) -> None:
        self._confirms = ConfirmedChannel(channel, log=log_event, on_closed=self._confirms_closed)

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
