"""Work off a queue: take deliveries, process them in groups, ack them."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from threading import Event
from time import monotonic
from typing import Generic, TypeVar

import structlog

from allocation_contracts import ContractError
from allocation_worker.entrypoints.availability import until_available
from allocation_worker.entrypoints.progress import Progress
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import DeadLettered, Done, Outcome, Retry
from allocation_worker.service_layer.ports import Delivered, Deliveries, Processor
from allocation_worker.service_layer.project import EventMessage

log = structlog.get_logger()


D = TypeVar("D", bound=Delivered)
M = TypeVar("M", bound=CommandMessage | EventMessage)


class QueueWorker(Generic[D, M]):
    """Works off one queue, a group at a time; meant for a thread of its own.

    Args:
        deliveries: The deliveries of the queue.
        read: Reads a delivery, or raises ContractError.
        processor: Turns messages into outcomes.
        group_limit: The most messages of a group.
        stopping: Set when waiting for a store is to end.
        done: What a message is when it is done, for the log.
        store: The store that is waited for, for the log.
        clock: Returns seconds that never go back.
    """

    def __init__(
        self,
        deliveries: Deliveries[D],
        read: Callable[[D], M],
        processor: Processor[M],
        *,
        group_limit: int,
        stopping: Event,
        done: str = "commands_answered",
        store: str = "the database",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._deliveries = deliveries
        self._read = read
        self._processor = processor
        self._group_limit = group_limit
        self._stopping = stopping
        self._store = store
        self._clock = clock
        self._progress = Progress(done, clock=clock, queue=deliveries.queue)

    def run(self) -> None:
        """Take, process and ack deliveries until there are none. What is not acked is delivered again."""
        while group := self._deliveries.take(self._group_limit):
            results = self._process_patiently(group)
            if results is None:
                break
            self._deliveries.ack(results)
            self._progress.add(len(results))

    def _process_patiently(self, group: Sequence[D]) -> list[tuple[D, Outcome]] | None:
        """Process a group, however long the store is away; None if `stopping` is set meanwhile."""
        held = False

        def hold() -> None:
            nonlocal held
            held = True
            self._deliveries.hold()

        results = until_available(
            partial(self._process, group),
            stopping=self._stopping,
            waiting_for=self._store,
            clock=self._clock,
            on_failure=hold,
            queue=self._deliveries.queue,
        )
        if held and results is not None:
            log.info("available_again", waiting_for=self._store, queue=self._deliveries.queue)
            self._deliveries.release()
        return results

    def _process(self, group: Sequence[D]) -> list[tuple[D, Outcome]]:
        understood: list[tuple[D, M]] = []
        results: list[tuple[D, Outcome]] = []
        for delivery in group:
            try:
                understood.append((delivery, self._read(delivery)))
            except ContractError as violation:
                log.warning(
                    "contract_violated",
                    queue=self._deliveries.queue,
                    message_id=delivery.properties.message_id,
                    correlation_id=delivery.properties.correlation_id,
                    reason=violation.reason,
                    detail=str(violation),
                )
                results.append((delivery, DeadLettered(reason=violation.reason, detail=violation.detail)))
        outcomes = self._processor.process([message for _, message in understood])
        every_message = log.is_enabled_for(logging.DEBUG)
        for (delivery, message), outcome in zip(understood, outcomes, strict=True):
            if every_message or not isinstance(outcome, Done):
                _log(message, outcome)
            results.append((delivery, outcome))
        return results


def _log(message: CommandMessage | EventMessage, outcome: Outcome) -> None:
    about = log.bind(message_id=message.message_id, correlation_id=message.correlation_id, type=message.type)
    match outcome:
        case Done():
            about.debug("message_answered")
        case Retry():
            about.warning("retry_scheduled", **asdict(outcome))
        case DeadLettered():
            about.warning("dead_lettered", **asdict(outcome))
