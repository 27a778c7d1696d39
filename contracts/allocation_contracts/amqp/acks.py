"""Acking deliveries, many with one frame."""

from collections.abc import Callable
from threading import Lock

from pika.channel import Channel


class CumulativeAcks:
    """Acks the finished deliveries of one channel by one `multiple` ack, as far as there is no gap.

    The broker numbers the deliveries of a channel 1, 2, 3. Network thread only.
    """

    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._done: set[int] = set()
        self._answered: set[int] = set()
        self._next = 1

    def done(self, tag: int) -> None:
        """Record that a delivery is finished; `send` acks it, once."""
        if tag >= self._next and tag not in self._answered:
            self._done.add(tag)

    def reject(self, tag: int) -> None:
        """Hand a delivery over to the queue's dead-letter exchange now."""
        self._answered.add(tag)
        if self._channel.is_open:
            self._channel.basic_reject(tag, requeue=False)

    def ack_alone(self, tag: int) -> bool:
        """Ack a finished delivery now, although there is a gap before it; False if it has been acked already."""
        if tag not in self._done:
            return False
        self._done.remove(tag)
        self._answered.add(tag)
        if self._channel.is_open:
            self._channel.basic_ack(tag, multiple=False)
        return True

    def send(self) -> None:
        """Ack what is finished, as far as there is no gap."""
        last = 0
        while True:
            if self._next in self._done:
                # The broker must still know the tag that a multiple ack names, so it is never an answered one.
                last = self._next
                self._done.remove(last)
            elif self._next in self._answered:
                self._answered.remove(self._next)
            else:
                break
            self._next += 1
        if last and self._channel.is_open:
            self._channel.basic_ack(last, multiple=True)


class ThreadsafeAcks:
    """Acks and rejects deliveries from another thread than the network thread.

    Args:
        call_soon: Has a function called in the network thread.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], None]) -> None:
        self._call_soon = call_soon
        self._lock = Lock()
        self._finished: list[tuple[Channel, int, bool]] = []
        # From here on: used by the network thread only.
        self._channel: Channel | None = None
        self._acks: CumulativeAcks | None = None

    def ack(self, channel: Channel, tag: int) -> None:
        """Ack a delivery."""
        self._finish(channel, tag, rejected=False)

    def reject(self, channel: Channel, tag: int) -> None:
        """Hand a delivery over to the queue's dead-letter exchange."""
        self._finish(channel, tag, rejected=True)

    def _finish(self, channel: Channel, tag: int, *, rejected: bool) -> None:
        with self._lock:
            self._finished.append((channel, tag, rejected))
            first = len(self._finished) == 1
        if first:
            self._call_soon(self._send)

    def _send(self) -> None:
        with self._lock:
            finished, self._finished = self._finished, []
        for channel, tag, rejected in finished:
            if self._acks is None or channel is not self._channel:
                self._channel, self._acks = channel, CumulativeAcks(channel)
            if rejected:
                self._acks.reject(tag)
            else:
                self._acks.done(tag)
        if self._acks is not None:
            self._acks.send()
