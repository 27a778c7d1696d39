"""Acknowledging deliveries from another thread than the network's, many with one frame."""

from collections.abc import Callable
from threading import Lock

from pika.channel import Channel


class Acknowledger:
    """Acks what is done, in the order of delivery, as soon as the network thread gets to it.

    Args:
        call_soon: Has a function called in the network thread.
    """

    def __init__(self, call_soon: Callable[[Callable[[], None]], None]) -> None:
        self._call_soon = call_soon
        self._lock = Lock()
        self._done: tuple[Channel, int] | None = None

    def ack(self, channel: Channel, tag: int) -> None:
        """Acknowledge this delivery, and all before it on its channel."""
        with self._lock:
            scheduled, self._done = self._done is not None, (channel, tag)
        if not scheduled:
            self._call_soon(self.flush)

    def reject(self, channel: Channel, tag: int) -> None:
        """Hand this delivery over to the queue's dead-letter exchange."""
        self._call_soon(self.flush)
        self._call_soon(lambda: channel.basic_reject(tag, requeue=False) if channel.is_open else None)

    def flush(self) -> None:
        """Send what is waiting to be sent. In the network thread only."""
        with self._lock:
            done, self._done = self._done, None
        if done is not None and done[0].is_open:
            done[0].basic_ack(done[1], multiple=True)
