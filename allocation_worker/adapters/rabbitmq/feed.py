"""Where the network thread and the worker thread of one queue meet."""

from collections import deque
from collections.abc import Callable, Sequence
from threading import Condition

from allocation_worker.adapters.rabbitmq.delivery import Delivery
from allocation_worker.service_layer.outcomes import Outcome

Results = Sequence[tuple[Delivery, Outcome]]


class QueueFeed:
    """The deliveries of one queue, for one worker thread. All of it is thread-safe.

    Args:
        queue: Its name.
        on_results: Takes results over; called in the worker thread.
        on_release: Told that the queue may be consumed again; called in the worker thread.
        on_end: Told that the worker thread has ended, and of what it died, if it did.
    """

    def __init__(
        self,
        queue: str,
        *,
        on_results: Callable[[Results], None],
        on_release: Callable[[], None],
        on_end: Callable[[BaseException | None], None],
    ) -> None:
        self.queue = queue
        self._on_results = on_results
        self._on_release = on_release
        self._on_end = on_end
        self._waiting: deque[Delivery] = deque()
        self._changed = Condition()
        self._closed = False
        self._held = False

    def take(self, limit: int) -> list[Delivery]:
        """Wait until there is something, and take what is there, up to `limit`, in order.

        A redelivered message comes alone. An empty list means that the feed is closed: finish.
        """
        with self._changed:
            while not (self._waiting or self._closed):
                self._changed.wait()
            if self._closed:
                return []
            waiting = self._waiting
            taken = [waiting.popleft()]
            if not taken[0].redelivered:
                while waiting and len(taken) < limit and not waiting[0].redelivered:
                    taken.append(waiting.popleft())
            return taken

    def settle(self, results: Results) -> None:
        """Hand over what is to become of deliveries that were taken.

        Those whose channel is gone are passed over: the broker delivers them again.
        """
        self._on_results(results)

    def hold(self) -> None:
        """Keep what is in hand, but should the connection be lost, do not consume the queue again until `release`."""
        self._held = True

    def release(self) -> None:
        """Undo `hold`."""
        self._held = False
        self._on_release()

    def finished(self) -> None:
        """The worker thread has settled what it took, and ends."""
        self._on_end(None)

    def failed(self, error: BaseException) -> None:
        """The worker thread has died of this; `Consumer.run` will raise it."""
        self._on_end(error)

    @property
    def held(self) -> bool:
        """Between `hold` and `release`."""
        return self._held

    def put(self, delivery: Delivery) -> None:
        """Add what was delivered; for the network thread."""
        with self._changed:
            self._waiting.append(delivery)
            self._changed.notify()

    def purge(self) -> None:
        """Forget what nobody has taken; for the network thread, when the channel is gone."""
        with self._changed:
            self._waiting.clear()

    def close(self) -> None:
        """Let `take` give nothing any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
