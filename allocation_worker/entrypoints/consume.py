"""The life of a delivery: understood, answered with its group, and settled on the channel it came by."""

import logging
from collections.abc import Callable, Sequence
from functools import partial
from threading import Event
from time import monotonic
from typing import Generic, Protocol, TypeVar

import structlog

from allocation_contracts import ContractError
from allocation_worker.entrypoints.availability import until_available
from allocation_worker.entrypoints.progress import Progress
from allocation_worker.service_layer.messages import Message
from allocation_worker.service_layer.outcomes import DeadLetter, Done, Outcome
from allocation_worker.service_layer.project import EventMessage

log = structlog.get_logger()

D = TypeVar("D")
M = TypeVar("M", bound=Message | EventMessage)
M_contra = TypeVar("M_contra", contravariant=True)


class Processor(Protocol[M_contra]):
    """Turns messages into outcomes."""

    def process(self, messages: Sequence[M_contra]) -> Sequence[Outcome]:
        """The outcome of each, in their order; asking again is harmless.

        Raises:
            StoreUnavailableError, StoreContentionError: ask again later.
        """


class Feed(Protocol[D]):
    """The deliveries of one queue, and what becomes of them. All of it is thread-safe."""

    @property
    def queue(self) -> str: ...

    def take(self, limit: int) -> list[D]:
        """What has been delivered, `limit` at most; waits until there is something, [] once there will be no more.

        A redelivered one comes alone: it may be what brought the last process down.
        """

    def settle(self, results: Sequence[tuple[D, Outcome]]) -> None:
        """Ack, retry or dead-letter, as soon as the network gets to it."""

    def hold(self) -> None:
        """Ask the broker for no more until `release`, even after a reconnection."""

    def release(self) -> None: ...

    def finished(self) -> None:
        """No one will take from this feed again."""

    def failed(self, error: BaseException) -> None:
        """As `finished`, and the process is to end with this error."""


class QueueWorker(Generic[D, M]):
    """Works one queue off, a group at a time, until its feed ends; meant for a thread of its own.

    Args:
        feed: the queue.
        read: understands a delivery, or raises ContractError.
        processor: answers what was understood.
        group_limit: the most messages of a group.
        stopping: set when waiting for a store is to end.
        done: what a message is when it is done, for the log.
        store: what is waited for when it is away, for the log.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        feed: Feed[D],
        read: Callable[[D], M],
        processor: Processor[M],
        *,
        group_limit: int,
        stopping: Event,
        done: str = "commands answered",
        store: str = "the database",
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._feed = feed
        self._read = read
        self._processor = processor
        self._group_limit = group_limit
        self._stopping = stopping
        self._store, self._back = store, f"{store} is back"
        self._clock = clock
        self._progress = Progress(done, clock=clock, queue=feed.queue)

    def run(self) -> None:
        """Take, answer, settle. What was taken and not settled when this ends comes again."""
        try:
            while group := self._feed.take(self._group_limit):
                results = self._answer_patiently(group)
                if results is None:
                    break
                self._feed.settle(results)
                self._progress.add(len(results))
        except BaseException as error:  # noqa: BLE001 - handed to the main thread, which ends the process with it
            self._feed.failed(error)
        else:
            self._feed.finished()

    def _answer_patiently(self, group: Sequence[D]) -> list[tuple[D, Outcome]] | None:
        """Answer a group, however long the database is away; None if we are told to stop meanwhile."""
        held = False

        def hold() -> None:
            nonlocal held
            held = True
            self._feed.hold()

        results = until_available(
            partial(self._answer, group),
            stopping=self._stopping,
            waiting_for=self._store,
            clock=self._clock,
            on_failure=hold,
            queue=self._feed.queue,
        )
        if held and results is not None:
            log.info(self._back, queue=self._feed.queue)
            self._feed.release()
        return results

    def _answer(self, group: Sequence[D]) -> list[tuple[D, Outcome]]:
        understood: list[tuple[D, M]] = []
        results: list[tuple[D, Outcome]] = []
        for delivery in group:
            try:
                understood.append((delivery, self._read(delivery)))
            except ContractError as violation:
                log.warning("contract broken", queue=self._feed.queue, reason=violation.reason, detail=str(violation))
                results.append((delivery, DeadLetter(reason=violation.reason, detail=violation.detail)))
        outcomes = self._processor.process([message for _, message in understood])
        every_message = log.is_enabled_for(logging.DEBUG)
        for (delivery, message), outcome in zip(understood, outcomes, strict=True):
            if every_message or not isinstance(outcome, Done):
                _log(message, outcome)
            results.append((delivery, outcome))
        return results


def _log(message: Message | EventMessage, outcome: Outcome) -> None:
    if isinstance(outcome, Done):
        log.debug("done", message_id=message.message_id, correlation_id=message.correlation_id, type=message.type)
        return
    log.warning(
        "dead letter" if isinstance(outcome, DeadLetter) else "to be tried again",
        message_id=message.message_id,
        correlation_id=message.correlation_id,
        type=message.type,
        outcome=outcome,
    )
