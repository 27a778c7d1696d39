"""Consuming several queues, from start to a tidy end."""

import time
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from queue import Empty, SimpleQueue
from types import MappingProxyType

import structlog

from allocation_contracts.amqp.link import LinkFactory
from allocation_worker.adapters.rabbitmq.feed import QueueFeed
from allocation_worker.adapters.rabbitmq.link import worker_link
from allocation_worker.adapters.rabbitmq.queue_consumer import QueueConsumer

log = structlog.get_logger()

_JOIN_TIME = 6.0
# Seconds between the queues of a process when they go on one message at a time.
_PROBATION_APART = 1.0


@dataclass(frozen=True, slots=True)
class _StopAsked:
    pass


@dataclass(frozen=True, slots=True)
class _WorkerEnded:
    queue: str
    error: BaseException | None


@dataclass(frozen=True, slots=True)
class _NetworkEnded:
    queue: str
    error: BaseException | None


_Happening = _StopAsked | _WorkerEnded | _NetworkEnded


class Consumer:
    """Brings the messages of several queues to as many worker threads, and acks what they have settled.

    The worker threads are the caller's, one for each of `feeds`, and each in the end calls its `finished` or `failed`.

    Args:
        urls: AMQP addresses, tried in turn.
        queues: Their names.
        prefetch: How many messages of each to have in hand at most; some groups' worth.
        unordered: Those of them whose messages may overtake each other.
        grace: How many seconds the workers have to finish once `stop` was called.
        name: What the broker shows the connections as.
        link: Makes each queue's connection.
    """

    def __init__(
        self,
        urls: Sequence[str],
        queues: Sequence[str],
        *,
        prefetch: int = 500,
        unordered: Collection[str] = (),
        grace: float = 30.0,
        name: str = "allocation-worker consume",
        link: LinkFactory = worker_link,
    ) -> None:
        self._grace = grace
        # Unlike an Event's lock, that of a SimpleQueue may be taken twice: by `run`, and by a signal handler inside it.
        self._happenings: SimpleQueue[_Happening] = SimpleQueue()
        self._consumers = {
            queue: QueueConsumer(
                urls,
                queue,
                prefetch=prefetch,
                ordered=queue not in unordered,
                name=f"{name} {queue}",
                probation_pause=position * _PROBATION_APART,
                on_worker_end=partial(self._worker_ended, queue),
                on_end=partial(self._network_ended, queue),
                link=link,
            )
            for position, queue in enumerate(queues)
        }
        self._working = set(queues)
        self._connected = set(queues)
        self._failure: BaseException | None = None

    @property
    def feeds(self) -> Mapping[str, QueueFeed]:
        """The feed of each queue."""
        return MappingProxyType({queue: consumer.feed for queue, consumer in self._consumers.items()})

    def run(self) -> None:
        """Consume until `stop`; return when the workers have finished, and what they have settled is acked.

        Raises:
            BaseException: What a thread died of, once the others have finished.
        """
        for consumer in self._consumers.values():
            consumer.start()
        self._take_in(self._happenings.get())  # whatever happens, it is time to stop
        log.info("stopping", grace=self._grace)
        for feed in self.feeds.values():
            feed.close()
        self._finish(deadline=time.monotonic() + self._grace)
        for consumer in self._consumers.values():
            consumer.abandon()
            consumer.join(_JOIN_TIME)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Ask `run` to end; may be called from any thread and from a signal handler."""
        self._happenings.put(_StopAsked())

    def _finish(self, deadline: float) -> None:
        while self._connected:
            with suppress(Empty):
                self._take_in(self._happenings.get(timeout=max(0.0, deadline - time.monotonic())))
            if self._connected and time.monotonic() >= deadline:
                log.error("stopped_too_late", unfinished=sorted(self._working), unacked=sorted(self._connected))
                return

    def _take_in(self, happening: _Happening) -> None:
        match happening:
            case _WorkerEnded(queue, error):
                self._working.discard(queue)
                self._failure = self._failure or error
                self._consumers[queue].finish()
            case _NetworkEnded(queue, error):
                self._connected.discard(queue)
                self._failure = self._failure or error
            case _StopAsked():
                pass

    def _worker_ended(self, queue: str, error: BaseException | None) -> None:
        self._happenings.put(_WorkerEnded(queue, error))

    def _network_ended(self, queue: str, error: BaseException | None) -> None:
        self._happenings.put(_NetworkEnded(queue, error))
