"""Work off a queue: take deliveries, process them in groups, ack them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from threading import Event
from time import monotonic
from typing import Generic, TypeVar

import structlog

from allocation_contracts import AmqpProperties, ContractError
from allocation_worker.entrypoints.availability import until_available
from allocation_worker.entrypoints.progress import Progress
from allocation_worker.entrypoints.set_aside import SetAsideDeliveries
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import DeadLettered, Done, Outcome, Retry, SetAside
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
        self._aside: SetAsideDeliveries[D, M] = SetAsideDeliveries(deliveries.queue, clock=clock)

    def run(self) -> None:
        """Take, process and ack deliveries until there are none. What is not acked is delivered again."""
        while (group := self._deliveries.take(self._group_limit, self._aside.due_in)) != []:
            if group and self._aside.generation not in {None, group[0].generation}:
                self._aside.clear()  # they come again, too
            if group and not self._work_off(partial(self._process, group)):
                break
            if self._aside.due_in == 0 and not self._work_off_aside():
                break

    def _work_off_aside(self) -> bool:
        """Process what is set aside once more, in its order; return False if `stopping` is set meanwhile."""
        waiting, again = self._aside.take_all()
        for start in range(0, len(waiting), self._group_limit):
            part = waiting[start : start + self._group_limit]
            if not self._work_off(partial(self._process_messages, part, [], again)):
                return False
        self._aside.looked_again()
        return True

    def _work_off(self, process: Callable[[], list[tuple[D, Outcome]]]) -> bool:
        results = self._process_patiently(process)
        if results is None:
            return False
        self._deliveries.ack(results)
        self._progress.add(sum(not isinstance(outcome, SetAside) for _, outcome in results))
        return True

    def _process_patiently(self, process: Callable[[], list[tuple[D, Outcome]]]) -> list[tuple[D, Outcome]] | None:
        """Process a group, however long the store is away; None if `stopping` is set meanwhile."""
        held = False

        def hold() -> None:
            nonlocal held
            held = True
            self._deliveries.hold()

        results = until_available(
            process,
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
                outcome = DeadLettered(reason=violation.reason, detail=violation.detail)
                self._log(delivery.properties, outcome)
                results.append((delivery, outcome))
        return self._process_messages(understood, results, {})

    def _process_messages(
        self, understood: Sequence[tuple[D, M]], before: Sequence[tuple[D, Outcome]], again: Mapping[str, str]
    ) -> list[tuple[D, Outcome]]:
        """Process messages; add what becomes of them to the results of `before`."""
        results = list(before)
        messages = [message for _, message in understood]
        outcomes = self._processor.process(messages, self._aside.waiting, again)
        every_message = log.is_enabled_for(logging.DEBUG)
        for (delivery, message), outcome in zip(understood, outcomes, strict=True):
            if isinstance(outcome, SetAside):
                self._aside.add(delivery, message, outcome.product)
            elif every_message or not isinstance(outcome, Done):
                self._log(message, outcome)
            results.append((delivery, outcome))
        return results

    def _log(self, message: CommandMessage | EventMessage | AmqpProperties, outcome: Outcome) -> None:
        """Log what becomes of a message: one line for each attempt."""
        about = log.bind(
            queue=self._deliveries.queue,
            message_id=message.message_id,
            correlation_id=message.correlation_id,
            type=message.type,
        )
        match outcome:
            case Done():
                about.debug("message_answered")
            case Retry(after=after, attempts=attempts, detail=detail, cause=cause):
                about.warning("retry_scheduled", after=after, attempts=attempts, detail=detail, exc_info=cause)
            case DeadLettered(reason=reason, detail=detail, attempts=attempts, cause=cause):
                about.warning("dead_lettered", reason=reason, attempts=attempts, detail=detail, exc_info=cause)
