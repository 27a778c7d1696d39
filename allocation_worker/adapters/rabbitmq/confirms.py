"""Publishing with an answer for every message."""

from collections.abc import Callable

import structlog
from pika.channel import Channel
from pika.frame import Method
from pika.spec import Basic, BasicProperties

from allocation_worker.service_layer.outgoing import SettlementKind

log = structlog.get_logger()


OnSettled = Callable[[SettlementKind], None]
_Sent = tuple[OnSettled, str, str, bytes, BasicProperties]


class ConfirmedPublisher:
    """A channel in confirm mode. To be used in the network thread only.

    Args:
        channel: Open and fresh, and given over to this publisher.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._pending: dict[int, _Sent] = {}
        self._next_tag = 1
        self._oldest_tag = 1
        self._last_returned = 0
        channel.add_on_return_callback(self._on_return)
        channel.add_on_close_callback(self._on_close)
        channel.confirm_delivery(self._on_confirm)

    def publish(
        self, exchange: str, routing_key: str, body: bytes, properties: BasicProperties, on_settled: OnSettled
    ) -> None:
        """Publish, `mandatory`; `on_settled` is called exactly once, in this thread, perhaps before this returns."""
        if not self._channel.is_open:
            on_settled(SettlementKind.LOST)
            return
        try:
            self._channel.basic_publish(exchange, routing_key, body, properties, mandatory=True)
        except Exception:  # pika's encoder raises of many kinds, before anything was sent
            log.exception("publish_refused", exchange=exchange, routing_key=routing_key)
            on_settled(SettlementKind.NACKED)
            return
        self._pending[self._next_tag] = (on_settled, exchange, routing_key, body, properties)
        self._next_tag += 1

    def _on_confirm(self, frame: Method[Basic.Ack | Basic.Nack]) -> None:
        answer = frame.method
        tag = answer.delivery_tag
        kind = SettlementKind.CONFIRMED if isinstance(answer, Basic.Ack) else SettlementKind.NACKED
        if not answer.multiple:
            self._settle(tag, kind)
            return
        # Tags count up from 1 without a gap, so no order needs to be kept; tag 0 means all so far.
        last = tag or self._next_tag - 1
        for each in range(self._oldest_tag, last + 1):
            self._settle(each, kind)
        self._oldest_tag = last + 1

    def _settle(self, tag: int, kind: SettlementKind) -> None:
        sent = self._pending.pop(tag, None)
        if sent is not None:
            sent[0](kind)

    def _on_return(self, _channel: Channel, method: Basic.Return, properties: BasicProperties, body: bytes) -> None:
        tag = self._find(method.exchange, method.routing_key, body, properties)
        if tag is None:
            # Nobody knows which: let all be lost, and published again, rather than call the wrong one confirmed.
            log.error("return_unmatched", exchange=method.exchange, routing_key=method.routing_key)
            self._channel.close()
            return
        self._last_returned = tag
        self._settle(tag, SettlementKind.RETURNED)

    def _find(
        self, exchange: str | None, routing_key: str | None, body: bytes, properties: BasicProperties
    ) -> int | None:
        """The first message after the last returned one that is the same in every part.

        The broker returns in the order of publishing and before it confirms, and a return bears no number. Among
        messages that are the same in every part it does not matter which is taken.
        """
        for tag in range(max(self._last_returned + 1, self._oldest_tag), self._next_tag):
            sent = self._pending.get(tag)
            if sent and sent[1:4] == (exchange, routing_key, body) and _as_received(sent[4]) == properties:
                return tag
        return None

    def _on_close(self, _channel: Channel, _reason: Exception) -> None:
        lost, self._pending = self._pending, {}
        for sent in lost.values():
            sent[0](SettlementKind.LOST)


def _as_received(properties: BasicProperties) -> BasicProperties:
    """What the other side reads out of these, which need not be the same Python values."""
    return BasicProperties().decode(b"".join(properties.encode()))
