"""Consuming several queues, from start to end."""

import random
from collections.abc import Callable, Collection, Sequence
from threading import Lock

import structlog

from allocation_contracts.amqp.link import LinkFactory
from allocation_worker.adapters.rabbitmq.deliveries import DeliveryBuffer
from allocation_worker.adapters.rabbitmq.link import worker_link
from allocation_worker.adapters.rabbitmq.prefetch_policy import ORDERED_PREFETCH
from allocation_worker.adapters.rabbitmq.queue_consumer import QueueConsumer
from allocation_worker.adapters.rabbitmq.threads import Threads

log = structlog.get_logger()

_CLOSING_TIME = 6.0


class Consumer:
    """Consumes several queues, each with a network thread and a worker thread of its own.

    Args:
        urls: AMQP addresses, tried in turn.
        queues: The names of the queues.
        prefetch: The most messages of each queue that are unacked at a time.
        unordered: Those of the queues whose messages may overtake each other.
        ordered_prefetch: The most unacked messages of each other queue, if it is less.
        grace: How many seconds the workers have to finish after `stop`.
        name: How the broker shows the connections.
        link: Makes each queue's connection.
        threads: Starts the threads.
    """

    def __init__(
        self,
        urls: Sequence[str],
        queues: Sequence[str],
        *,
        prefetch: int,
        grace: float,
        unordered: Collection[str] = (),
        ordered_prefetch: int = ORDERED_PREFETCH,
        name: str = "allocation-worker consume",
        link: LinkFactory = worker_link,
        threads: Threads | None = None,
    ) -> None:
        self._grace = grace
        self._threads = threads or Threads()
        self._stop_asked = self._threads.queue()
        self._not_consuming = set(queues)
        self._lock = Lock()
        # Whose turn it is is left to chance: if it were always that of a queue with a message that kills the process,
        # the others would never get on.
        self.queues: list[QueueConsumer] = []
        for queue in random.sample(queues, len(queues)):
            self.queues.append(
                QueueConsumer(
                    urls,
                    queue,
                    prefetch=prefetch if queue in unordered else min(prefetch, ordered_prefetch),
                    ordered=queue not in unordered,
                    name=f"{name} {queue}",
                    after=self.queues[0] if self.queues else None,
                    link=link,
                    threads=self._threads,
                    on_consuming=self._consuming,
                )
            )
        self.queues.sort(key=lambda consumer: queues.index(consumer.name))

    def run(self, work: Callable[[DeliveryBuffer], None]) -> None:
        """Consume until `stop`, or until a thread ends; then wait until what was answered is acked.

        Args:
            work: Called in the worker thread of each queue. It takes deliveries until there are none.

        Raises:
            BaseException: What a thread raised, once the others have ended.
        """
        for queue in self.queues:
            queue.start(work)
        running = [thread for queue in self.queues for thread in (queue.worker, queue.network)]
        for thread in running:
            thread.add_done_callback(lambda _: self.stop())
        self._stop_asked.get()
        for queue in self.queues:
            queue.stop()
        self._threads.wait(running, self._grace)
        if late := [queue for queue in self.queues if not queue.network.done()]:
            self._abandon(late)
        for thread in running:
            if thread.done():
                thread.result()

    def stop(self) -> None:
        """Ask `run` to end. Any thread may call it, and so may a signal handler."""
        self._stop_asked.put(None)

    def _consuming(self, queue: str) -> None:
        # Called by the network thread of each queue.
        with self._lock:
            last = self._not_consuming == {queue}
            self._not_consuming.discard(queue)
        if last:
            log.info("ready", queues=[each.name for each in self.queues])

    def _abandon(self, late: Sequence[QueueConsumer]) -> None:
        log.error(
            "stopped_too_late",
            unfinished=sorted(queue.name for queue in late if not queue.worker.done()),
            unacked=sorted(queue.name for queue in late),
        )
        for queue in late:
            queue.abandon()
        self._threads.wait([queue.network for queue in late], _CLOSING_TIME)
