"""Publishing with publisher confirms: an answer for every message."""

import logging
from collections.abc import Callable
from functools import partial
from typing import TypeAlias

from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from allocation_contracts.amqp.link import NetworkLink
from allocation_contracts.amqp.logs import Log
from allocation_contracts.results import PublishResult

OnResult: TypeAlias = Callable[[PublishResult], None]
_Sent: TypeAlias = tuple[OnResult, str, str, bytes, str | None]


_SHORTEST_PATIENCE = 30.0
_LONGEST_PATIENCE = 600.0


class Patience:
    """For how long a confirm is waited for. It doubles each time that none comes, up to ten minutes.

    While a queue has no majority of its nodes, it confirms nothing, but may keep what is published again and again.
    """

    def __init__(self) -> None:
        self.seconds = _SHORTEST_PATIENCE

    def grow(self) -> None:
        self.seconds = min(2 * self.seconds, _LONGEST_PATIENCE)

    def reset(self) -> None:
        self.seconds = _SHORTEST_PATIENCE


class ConfirmedChannel:
    """A channel in confirm mode. To be used in the network thread only.

    RabbitMQ may never confirm what was on its way to a quorum queue as that was deleted. So the channel is closed when
    a message has had no answer for too long.

    Args:
        channel: Open and fresh. Nothing else publishes on it.
        link: Its connection. It calls back later, and knows whether the broker takes messages now.
        patience: How long an answer is waited for: at least its seconds, at most twice as long.
        log: Where to log.
        on_closed: Called with the reason when the channel is closed, after all that was unanswered is LOST.
    """

    def __init__(
        self,
        channel: Channel,
        *,
        link: NetworkLink,
        patience: Patience,
        log: Log,
        on_closed: Callable[[Exception], None],
    ) -> None:
        self._channel = channel
        self._link = link
        self._patience = patience
        self._looks = False
        self._log = log
        self._on_closed = on_closed
        self._pending: dict[int, _Sent] = {}
        self._next_tag = 1
        self._oldest_tag = 1
        self._last_returned = 0
        self.closed_by: Exception | None = None
        """Why the channel is closed; set before what was unanswered is LOST."""
        channel.add_on_return_callback(self._on_return)
        channel.add_on_close_callback(self._on_close)
        channel.confirm_delivery(self._on_confirm)

    @property
    def is_open(self) -> bool:
        """Whether a message that is published now goes out."""
        return self._channel.is_open

    def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: BasicProperties, on_result: OnResult
    ) -> None:
        """Publish, `mandatory`; `on_result` is called exactly once, in this thread, perhaps before this returns."""
        if not self._channel.is_open:
            on_result(PublishResult.LOST)
            return
        try:
            self._channel.basic_publish(exchange, routing_key, body, properties, mandatory=True)
        except Exception:  # noqa: BLE001 - pika's encoder raises errors of many kinds, before anything is sent
            self._log(
                logging.ERROR,
                "publish_refused",
                exchange=exchange,
                routing_key=routing_key,
                message_id=properties.message_id,
                exc_info=True,
            )
            on_result(PublishResult.NACKED)
            return
        self._pending[self._next_tag] = (on_result, exchange, routing_key, body, properties.message_id)
        self._next_tag += 1
        if not self._looks:
            self._look_later()

    def _look_later(self) -> None:
        self._looks = True
        self._link.call_later(self._patience.seconds, partial(self._look, self._next_tag, self._link.blockings))

    def _look(self, next_tag: int, blockings: int) -> None:
        """Close the channel if what was published before `next_tag` has no answer yet."""
        self._looks = False
        if not self._channel.is_open:
            return
        overdue = sum(1 for tag in self._pending if tag < next_tag)
        if not overdue:
            self._patience.reset()
        elif not self._link.blocked and blockings == self._link.blockings:
            self._log(logging.WARNING, "confirms_missing", messages=overdue, seconds=self._patience.seconds)
            self._patience.grow()
            self._lose_all()
            self._channel.close()
            return
        if self._pending:
            self._look_later()

    def _on_confirm(self, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        answer = frame.method
        tag = answer.delivery_tag
        result = PublishResult.CONFIRMED if isinstance(answer, Basic.Ack) else PublishResult.NACKED
        if not answer.multiple:
            self._answer(tag, result)
            return
        # Tags count up from 1 without a gap, so no order needs to be kept; tag 0 means all so far.
        last = tag or self._next_tag - 1
        for each in range(self._oldest_tag, last + 1):
            self._answer(each, result)
        self._oldest_tag = last + 1

    def _answer(self, tag: int, result: PublishResult) -> None:
        sent = self._pending.pop(tag, None)
        if sent is not None:
            sent[0](result)

    def _on_return(self, _channel: Channel, method: Basic.Return, properties: BasicProperties, body: bytes) -> None:
        if not self._channel.is_open:
            return
        tag = self._find((method.exchange, method.routing_key, body, properties.message_id))
        if tag is None:
            # Nobody knows which message it is, and its confirm is about to come. So all count as lost, and are
            # published again, rather than that the wrong one counts as confirmed.
            self._log(
                logging.ERROR,
                "return_unmatched",
                exchange=method.exchange,
                routing_key=method.routing_key,
                message_id=properties.message_id,
            )
            self._lose_all()
            self._channel.close()
            return
        self._last_returned = tag
        self._answer(tag, PublishResult.RETURNED)

    def _find(self, returned: tuple[str | None, str | None, bytes, str | None]) -> int | None:
        """Return the tag of the first message after the last returned one that is the same.

        A return has no tag. The broker returns in the order of publishing, and before it confirms. Among messages with
        the same exchange, routing key, message_id and body it does not matter which is taken. Other properties are not
        compared, since a broker may add some.
        """
        for tag in range(max(self._last_returned + 1, self._oldest_tag), self._next_tag):
            sent = self._pending.get(tag)
            if sent and sent[1:] == returned:
                return tag
        return None

    def _lose_all(self) -> None:
        lost, self._pending = self._pending, {}
        for sent in lost.values():
            sent[0](PublishResult.LOST)

    def _on_close(self, _channel: Channel, reason: Exception) -> None:
        self.closed_by = reason
        self._lose_all()
        self._on_closed(reason)
