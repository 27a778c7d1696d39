"""Wires `status`, which shows the whole service on one screen."""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from threading import Event

from allocation_worker.adapters.postgres import schema
from allocation_worker.adapters.postgres.status import look, look_at_lines
from allocation_worker.adapters.rabbitmq.dead_letter_queue import open_dead_letters
from allocation_worker.adapters.rabbitmq.errors import RabbitMQError
from allocation_worker.adapters.rabbitmq.queue_states import queue_states
from allocation_worker.adapters.rabbitmq.topology_check import policy_findings
from allocation_worker.bootstrap.addresses import BrokerUrls
from allocation_worker.bootstrap.database import engine
from allocation_worker.bootstrap.management import management
from allocation_worker.bootstrap.signals import CLOSING_TIME, stopped_by_signals
from allocation_worker.config import Settings
from allocation_worker.service_layer.ports import StoreError
from allocation_worker.service_layer.status import Backlog, Finding, Lines, Process, QueueState, Status

_MOST_LETTERS_READ = 1000
"""Dead letters are held while they are read, so that nobody else can read them."""


class StatusReader:
    """Reads the status again and again, over one connection pool."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._database = engine(settings, "status")
        self._urls = BrokerUrls(settings)
        self._management = management(settings)
        self._letters: tuple[int, Mapping[str, int] | None] = (0, {})

    def close(self) -> None:
        self._database.dispose()

    def read(self) -> Status:
        """Ask the broker and the database. A server that is away is told in the result."""
        broker, database = None, None
        policies: Sequence[Finding] | None = None
        queues: Sequence[QueueState] = []
        processes: Sequence[Process] = []
        backlog: Backlog | None = None
        lines: Lines | None = None
        try:
            queues = queue_states(self._urls, self._settings.retry_policy.all_delays)
            self._read_letters(queues)
            if self._management is not None:
                policies = list(policy_findings([queue.name for queue in queues], self._management))
        except RabbitMQError as error:
            broker = str(error)
        try:
            schema.check(self._database)
            processes, backlog = look(self._database)
            lines = look_at_lines(self._database)
        except StoreError as error:
            database = str(error)
        letters = None if broker else self._letters[1]
        return Status(
            broker=broker,
            database=database,
            queues=queues,
            processes=processes,
            backlog=backlog,
            lines=lines,
            dead_letters=letters,
            policies=policies,
        )

    def watch(self, every: float) -> Iterator[Status]:
        """Yield what `read` returns, every so many seconds, until SIGTERM or SIGINT."""
        stopping = Event()
        with stopped_by_signals(stopping.set, within=CLOSING_TIME):
            while not stopping.is_set():
                yield self.read()
                stopping.wait(every)

    def _read_letters(self, queues: Sequence[QueueState]) -> None:
        """Count the dead letters by reason, if their number has changed and nobody else reads them."""
        queue = next(queue for queue in queues if queue.kind == "dead-letters")
        if queue.messages == self._letters[0]:
            return
        counts: Mapping[str, int] | None = None
        if queue.messages <= _MOST_LETTERS_READ and not queue.consumers:
            with open_dead_letters(self._urls, lambda _read, _all: None) as letters:
                counts = dict(Counter(letter.reason for letter in letters))
        self._letters = (queue.messages, counts)
