"""Publishing many messages, each until the broker has confirmed it."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from threading import Event
from time import monotonic
from typing import Generic, Protocol, TypeVar

from pika.exceptions import ChannelClosedByBroker

from allocation_contracts.amqp.link import LinkFactory
from allocation_contracts.results import PublishResult
from allocation_worker.adapters.rabbitmq.errors import ACCESS_REFUSED, BrokerError, permission_missing
from allocation_worker.adapters.rabbitmq.link import worker_link
from allocation_worker.adapters.rabbitmq.publisher import ConfirmedPublisher, Publication
from allocation_worker.service_layer.outgoing import MessageResult
from allocation_worker.service_layer.wording import counted

WINDOW = 500
PATIENCE = 60.0

_LOOK_EVERY = 0.2
_LONGEST_PAUSE = 5.0
_BATCH = 100

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class NotConfirmedError(BrokerError):
    """The broker confirmed nothing for too long; what was published may have arrived.

    Attributes:
        count: How many messages have no confirm.
    """

    def __init__(self, count: int, seconds: float) -> None:
        messages = counted(count, "message was", "messages were")
        super().__init__(f"{messages} not confirmed within {seconds:g} s, and may have arrived all the same.")
        self.count = count


class AwaitedPublisher(Protocol[T_contra]):
    """A publisher whose results a thread waits for."""

    @property
    def connected(self) -> bool: ...
    @property
    def refusal(self) -> str | None: ...
    def publish(self, batch: Sequence[T_contra]) -> None: ...
    def take_results(self) -> list[MessageResult]: ...
    def wait(self, timeout: float) -> None:
        """Wait until there may be results or the connection has changed, or for `timeout` seconds."""


class BlockingPublisher(ConfirmedPublisher[T]):
    """Publishes over a connection of its own, for one thread that waits for the results."""

    def __init__(
        self, urls: Sequence[str], convert: Callable[[T], Publication], *, name: str, link: LinkFactory = worker_link
    ) -> None:
        self._news = Event()
        super().__init__(urls, convert, self._news.set, name=name, link=link)

    def _log_refusal(self, reason: ChannelClosedByBroker) -> None:
        if reason.reply_code != ACCESS_REFUSED:  # that is raised
            super()._log_refusal(reason)

    def wait(self, timeout: float) -> None:
        """Wait until there may be results or the connection has changed, or for `timeout` seconds."""
        self._news.wait(timeout)
        self._news.clear()


def publish_until_confirmed(
    publisher: AwaitedPublisher[T],
    messages: Iterable[T],
    *,
    key: Callable[[T], int],
    in_order: bool = True,
    window: int = WINDOW,
    patience: float = PATIENCE,
    clock: Callable[[], float] = monotonic,
) -> Iterator[tuple[T, bool]]:
    """Publish each message, again if it is lost or nacked, and yield it once it is confirmed or returned.

    Args:
        publisher: Publishes.
        messages: Taken one by one, as there is room in the window.
        key: Gives the number of a message, as in its `Publication`.
        in_order: Whether a lost message holds back all that come after it. Then a lost connection costs repeats, never
            another order. A message that is nacked still comes behind those that were in flight with it.
        window: How many messages may be in flight.
        patience: For how many seconds to go on without a confirm.
        clock: Gives seconds that only ever grow.

    Yields:
        Each message with True if every queue that it goes to has it, or False if it goes to no queue.

    Raises:
        NotConfirmedError: There was no confirm for `patience` seconds.
        BrokerError: The broker's user may not publish there; told at once.
    """
    unconfirmed = _Unconfirmed(key)
    source = iter(messages)
    exhausted = False
    pause = resume_at = 0.0
    deadline = clock() + patience
    while not exhausted or unconfirmed.count:
        results = publisher.take_results()
        for message, safe in unconfirmed.take(results):
            pause, deadline = 0.0, clock() + patience
            yield message, safe
        if publisher.refusal is not None:
            raise permission_missing(publisher.refusal)
        if any(result is PublishResult.NACKED for _, result in results):
            # A full queue is not to get the same messages in a tight loop.
            pause = min(_LONGEST_PAUSE, 2 * pause or _LOOK_EVERY)
            resume_at = clock() + pause
        batch: list[T] = []
        if publisher.connected and clock() >= resume_at:
            batch = unconfirmed.to_repeat(in_order=in_order)
            if not unconfirmed.waits and not exhausted:
                fresh = list(islice(source, min(_BATCH, window - unconfirmed.count)))
                exhausted = not fresh and unconfirmed.count < window
                unconfirmed.add(fresh)
                batch += fresh
        if batch:
            publisher.publish(batch)
        elif unconfirmed.count or not exhausted:
            publisher.wait(_LOOK_EVERY)
        if clock() > deadline:
            raise NotConfirmedError(unconfirmed.count, patience)


class _Unconfirmed(Generic[T]):
    """The messages without a confirm, in their order."""

    def __init__(self, key: Callable[[T], int]) -> None:
        self._key = key
        self._open: dict[int, T] = {}
        self._again: set[int] = set()

    @property
    def count(self) -> int:
        return len(self._open)

    @property
    def waits(self) -> bool:
        """Whether messages are to be published again first."""
        return bool(self._again)

    def add(self, messages: Iterable[T]) -> None:
        self._open |= {self._key(message): message for message in messages}

    def take(self, results: Iterable[MessageResult]) -> Iterator[tuple[T, bool]]:
        """Yield what is confirmed or returned; keep the rest to be repeated."""
        for number, result in results:
            if result in {PublishResult.CONFIRMED, PublishResult.RETURNED}:
                yield self._open.pop(number), result is PublishResult.CONFIRMED
            else:
                self._again.add(number)

    def to_repeat(self, *, in_order: bool) -> list[T]:
        """Return what is to be published again now; nothing, if the order forbids it yet."""
        # While some have no result, they may still be lost, and would come behind.
        if in_order and len(self._again) < len(self._open):
            return []
        again, self._again = self._again, set()
        return [message for number, message in self._open.items() if number in again]
