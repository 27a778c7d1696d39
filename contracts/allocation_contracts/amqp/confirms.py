"""Publishing with publisher confirms: an answer for every message."""

import logging
from collections.abc import Callable
from typing import TypeAlias

from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from allocation_contracts.amqp.logs import Log
from allocation_contracts.results import PublishResult

OnResult: TypeAlias = Callable[[PublishResult], None]
_Sent: TypeAlias = tuple[OnResult, str, str, bytes, str | None]


class ConfirmedChannel:
    """A channel in confirm mode. To be used in the network thread only.

    Args:
        channel: Open and fresh. Nothing else publishes on it.
        log: Where to log.
        on_closed: Called with the reason when the channel is closed, after all that was unanswered is LOST.
    """

    def __init__(self, channel: Channel, *, log: Log, on_closed: Callable[[Exception], None]) -> None:
        self._channel = channel
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
