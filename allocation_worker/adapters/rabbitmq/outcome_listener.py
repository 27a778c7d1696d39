"""Hears the events that answer commands, from before they are sent, over a temporary queue."""

from collections.abc import Callable, Sequence
from contextlib import closing
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Self

from allocation_contracts import CAUSATION_ID_HEADER, AllocationError
from allocation_worker.adapters.rabbitmq.tail import SeenEvent, tail_events


class OutcomeListener:
    """Collects the events whose `causation_id` is one of ours, in a thread of its own, from `with` until its end.

    Args:
        urls: AMQP addresses, tried in turn.
        is_ours: Whether a `causation_id` is the message_id of a command that is sent here.

    Raises:
        BrokerError: No broker could be reached, or its user may not read events.
        TopologyMissingError: The exchange for events does not exist.
    """

    def __init__(self, urls: Sequence[str], is_ours: Callable[[str], bool]) -> None:
        self._urls = urls
        self._is_ours = is_ours
        self._events: SimpleQueue[tuple[str, SeenEvent] | None] = SimpleQueue()
        self._begun = Event()
        self._ended = Event()
        self._failure: AllocationError | None = None
        self._thread = Thread(target=self._listen, name="outcomes", daemon=True)
        self.missed_some = False
        """Whether the connection was lost for a while, so that events may have been missed."""

    def __enter__(self) -> Self:
        self._thread.start()
        self._begun.wait()
        if self._failure is not None:
            raise self._failure
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()

    def take(self, timeout: float) -> tuple[str, SeenEvent] | None:
        """Return the next event with its `causation_id`; None if there is none for `timeout` seconds."""
        try:
            taken = self._events.get(timeout=timeout) if timeout else self._events.get_nowait()
        except Empty:
            return None
        if taken is None and self._failure is not None:
            raise self._failure
        return taken

    def _listen(self) -> None:
        events = tail_events(self._urls, ["#"], stopping=self._ended, on_listening=self._begun.set, on_lost=self._lost)
        try:
            with closing(events):
                for event in events:
                    if event is not None:
                        self._look_at(event)
        except AllocationError as error:
            self._failure = error
            self._begun.set()
            self._events.put(None)

    def _look_at(self, event: SeenEvent) -> None:
        cause = (event.properties.headers or {}).get(CAUSATION_ID_HEADER)
        if isinstance(cause, str) and self._is_ours(cause):
            self._events.put((cause, event))

    def _lost(self) -> None:
        self.missed_some = True
