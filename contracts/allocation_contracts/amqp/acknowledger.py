"""Settling deliveries from another thread than the network's, many with one frame."""

from collections.abc import Callable
from threading import Lock

from pika.channel import Channel


class Acknowledger:
    """Acks what is done as soon as the network thread gets to it: by one frame, as far as there is no gap.

    Args:
        call_soon: Has a function called in the network thread.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], None]) -> None:
        self._call_soon = call_soon
        self._lock = Lock()
        self._done: list[tuple[Channel, int, bool]] = []
        # From here on: the network thread's alone.
        self._channel: Channel | None = None
        self._settled: dict[int, bool] = {}
        self._next = 1

    def ack(self, channel: Channel, tag: int) -> None:
        """This delivery is done."""
        self._settle(channel, tag, rejected=False)

    def reject(self, channel: Channel, tag: int) -> None:
        """Hand this delivery over to the queue's dead-letter exchange."""
        self._settle(channel, tag, rejected=True)

    def _settle(self, channel: Channel, tag: int, *, rejected: bool) -> None:
        with self._lock:
            self._done.append((channel, tag, rejected))
            first = len(self._done) == 1
        if first:
            self._call_soon(self._flush)

    def _flush(self) -> None:
        with self._lock:
            done, self._done = self._done, []
        for channel, tag, rejected in done:
            if channel is not self._channel:
                self._channel, self._settled, self._next = channel, {}, 1
            self._settled[tag] = rejected
            if rejected and channel.is_open:
                channel.basic_reject(tag, requeue=False)
        last = 0
        while (rejected_one := self._settled.pop(self._next, None)) is not None:
            # The broker must still know the tag that a multiple ack names.
            last = last if rejected_one else self._next
            self._next += 1
        if last and self._channel is not None and self._channel.is_open:
            self._channel.basic_ack(last, multiple=True)
