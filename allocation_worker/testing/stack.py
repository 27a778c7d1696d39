"""The whole service for the tests of another team: a broker, a database, a worker and a relay."""

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from signal import SIGKILL, SIGTERM
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import psycopg2
from pika.exceptions import ChannelClosedByBroker, ConnectionClosedByBroker
from psycopg2 import sql
from sqlalchemy import make_url

import allocation_contracts as contracts
from allocation_contracts.amqp import Publisher
from allocation_contracts.message import Message
from allocation_worker.adapters.rabbitmq.urls import connect_any
from allocation_worker.testing.arrivals import Arrivals, DeadLetter, show
from allocation_worker.testing.forkserver import ForkedProcess, ForkServer
from allocation_worker.testing.servers import Servers, start_servers

VERBS: Final = ("consume", "relay")

_SET_UP_WITHIN = 60.0
_CONFIRMED_WITHIN = 15.0
_ENDS_WITHIN = 30.0
_LOOK_AT_PROCESSES_EVERY = 0.5
_LOG_SHOWN = 3000
_NOT_TO_BE_EMPTIED = {
    404,  # NOT_FOUND: it has gone
    405,  # RESOURCE_LOCKED: it is another connection's alone
    540,  # NOT_IMPLEMENTED: it is a stream
}

E = TypeVar("E", bound=contracts.Event)


class StackError(RuntimeError):
    """A process of the stack ended unexpectedly, or does not end. Its log is in the text."""


class NotArrivedError(AssertionError):
    """An expected event did not arrive. The text lists what did."""


class AllocationStack:
    """A real broker, a real database and the worker's processes.

    Use it in a `with` block, from one thread. A test calls `send`, then `expect`; call `reset` between tests.

    Args:
        settings: The worker's settings, such as {"ALLOCATION_GRACE_ATTEMPTS": "0"}. Those in the environment of this
            process do not reach it: they may be those of production.
        servers: The servers to use. By default, the stack starts and stops its own.

    Attributes:
        amqp_url: The broker's address with the stack's own virtual host, for the program under test.
        database_url: The address of the worker's database.
    """

    def __init__(self, settings: Mapping[str, str] | None = None, *, servers: Servers | None = None) -> None:
        self._given_settings = dict(settings or {})
        self._given_servers = servers
        self._cleanup = ExitStack()
        self._children: list[ForkedProcess] = []
        self._sent: dict[str, contracts.Command] = {}

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            self._folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="allocation-stack-")))
            self._fork_server = stack.enter_context(ForkServer())
            self._servers = self._given_servers or stack.enter_context(start_servers())
            self.amqp_url = self._servers.broker.new_vhost()
            self.database_url = self._servers.database.new_database()
            stack.callback(self._servers.database.drop, self.database_url)
            self._run_verb("migrate")
            self._run_verb("topology")
            self._publisher = stack.enter_context(Publisher(self.amqp_url, timeout=_CONFIRMED_WITHIN))
            self._arrivals = stack.enter_context(closing(Arrivals(self.amqp_url.split(","))))
            self._children = [self._start(verb) for verb in VERBS]
            stack.callback(self._kill)
            self._cleanup = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._cleanup.close()

    def send(
        self, command: contracts.Command, *, message_id: str | None = None, correlation_id: str | None = None
    ) -> str:
        """Publish a command as an external program would, and wait for its confirm. Return its message_id.

        Raises:
            ContractError: The message_id or the correlation_id breaks the contract.
            PublishError: The broker did not confirm it within 15 s, or refused it.
        """
        identity = self._publisher.publish(command, message_id=message_id, correlation_id=correlation_id)
        self._sent[identity] = command
        return identity

    def expect(self, kind: type[E], *, within: float = 5, caused_by: str | None = None, **fields: Any) -> E:  # noqa: ANN401 - compared with fields of several types
        """Wait for an event, and return the first match since the last reset. A second call returns the same event.

        Args:
            kind: The type of the event, such as `Allocated`.
            within: Seconds to wait at most.
            caused_by: The message_id of the command that must have caused it.
            fields: Values of its fields, such as orderid="o1".

        Raises:
            NotArrivedError: (an AssertionError) The event did not arrive; the text lists the events and dead letters
                that did.
            TypeError: This type of event has no such field.
            StackError: A process of the worker has ended.
        """
        _check_fields(kind, fields)
        deadline = monotonic() + within
        self._arrivals.take(0)
        while True:
            for arrival in self._arrivals.events:
                event = arrival.event
                if isinstance(event, kind) and caused_by in {None, arrival.causation_id} and _fits(event, fields):
                    return event
            self._check_children()
            left = deadline - monotonic()
            if left <= 0:
                raise NotArrivedError(self._not_arrived(kind, fields, caused_by, within))
            self._arrivals.take(min(left, _LOOK_AT_PROCESSES_EVERY))

    def events(self) -> list[contracts.Event]:
        """All events since the last reset, in order of arrival."""
        self._arrivals.catch_up()
        self._check_children()
        return [arrival.event for arrival in self._arrivals.events]

    def dead_letters(self) -> list[DeadLetter]:
        """All messages that were dead-lettered since the last reset, in order of arrival."""
        self._arrivals.catch_up()
        self._check_children()
        return list(self._arrivals.dead_letters)

    def story(self) -> str:
        """Return the unanswered commands and everything that has arrived, as text."""
        self._arrivals.catch_up()
        answered = {arrival.causation_id for arrival in self._arrivals.events}
        answered |= {letter.message_id for letter in self._arrivals.dead_letters}
        waiting = [f"  {show(command)} {key!r}" for key, command in self._sent.items() if key not in answered]
        unanswered = [f"{len(waiting)} of the commands sent have no answer yet:", *waiting] if waiting else []
        return "\n".join([*unanswered, self._arrivals.story()])

    def logs(self) -> str:
        """Return the logs of the worker's processes since the last reset."""
        return "\n".join(child.log for child in self._children)

    def reset(self) -> None:
        """Empty the stack, at the same addresses, so that the next test sees nothing of the last.

        This stops the processes, empties the queues, the tables, `events` and `dead_letters`, and starts new processes.
        Commands that a program publishes meanwhile are either answered or deleted. A program must itself discard the
        messages that it has already received.

        Raises:
            StackError: A process ended before, or did not end in time.
        """
        died = self._died()
        for child in self._children:
            child.send(SIGTERM)
        for child in self._children:
            if child.wait(_ENDS_WITHIN) is None:
                raise StackError(f"{child.arguments[0]} does not end.{_tail(child)}")
        self._empty_broker()
        self._empty_database()
        self._arrivals.start_over()
        self._sent.clear()
        self._children = [self._start(verb) for verb in VERBS]
        if died:
            raise StackError(died)

    def _empty_broker(self) -> None:
        """Empty all queues of the virtual host, without cancelling the consumers of other programs.

        A purge does not reach a message on its way from a retry queue to its command queue. So the command queues are
        deleted, then the retry queues, and all are declared again. A queue that has gone meanwhile is left out, and so
        is one that cannot be emptied from outside: an exclusive one of another program, or a stream.
        """
        names = self._servers.broker.queue_names(self.amqp_url)
        commands = (contracts.ORDERS_QUEUE, contracts.STOCK_QUEUE)
        retries = [name for name in names if name.startswith(tuple(f"{queue}.retry" for queue in commands))]
        with connect_any(self.amqp_url.split(","), "allocation stack") as connection:
            channel = connection.channel()
            for name in (*commands, *retries):
                channel.queue_delete(name)
        self._run_verb("topology")
        for name in set(names) - {*commands, *retries}:
            self._purge(name)

    def _purge(self, name: str) -> None:
        # A stream's refusal ends the connection, so each queue has one of its own.
        with connect_any(self.amqp_url.split(","), "allocation stack") as connection:
            try:
                connection.channel().queue_purge(name)
            except (ChannelClosedByBroker, ConnectionClosedByBroker) as refusal:
                if refusal.reply_code not in _NOT_TO_BE_EMPTIED:
                    raise

    def _empty_database(self) -> None:
        dsn = make_url(self.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            tables = [sql.Identifier(name) for (name,) in cursor if name not in {"alembic_version", "schema_revision"}]
            cursor.execute(sql.SQL("TRUNCATE {} RESTART IDENTITY").format(sql.SQL(", ").join(tables)))

    def _start(self, verb: str) -> ForkedProcess:
        settings = {
            **self._given_settings,
            "ALLOCATION_AMQP_URL": self.amqp_url,
            "ALLOCATION_DATABASE_URL": self.database_url,
        }
        log = self._folder / f"{verb}.log"
        log.unlink(missing_ok=True)
        return self._fork_server.start(verb, settings=settings, log=log)

    def _run_verb(self, verb: str) -> None:
        child = self._start(verb)
        if child.wait(_SET_UP_WITHIN) != 0:
            raise StackError(f"{verb} ended with {child.exit_code}.{_tail(child)}")

    def _kill(self) -> None:
        for child in self._children:
            child.send(SIGKILL)

    def _died(self) -> str:
        return "\n".join(
            f"{child.arguments[0]} has ended with {child.exit_code}.{_tail(child)}"
            for child in self._children
            if child.exit_code is not None
        )

    def _check_children(self) -> None:
        if died := self._died():
            raise StackError(died)

    def _not_arrived(
        self, kind: type[Message], fields: Mapping[str, object], caused_by: str | None, within: float
    ) -> str:
        wanted = " ".join([kind.__name__, *(f"{name}={value!r}" for name, value in fields.items())])
        cause = "" if caused_by is None else f", caused by {caused_by!r},"
        return f"{wanted}{cause} did not arrive within {within:g} s.\n{self.story()}"


def _check_fields(kind: type[Message], fields: Mapping[str, object]) -> None:
    if unknown := fields.keys() - kind.model_fields.keys():
        raise TypeError(
            f"{kind.__name__} has no field {', '.join(sorted(unknown))}; it has {', '.join(kind.model_fields)}."
        )


def _fits(event: contracts.Event, fields: Mapping[str, object]) -> bool:
    return all(getattr(event, name) == value for name, value in fields.items())


def _tail(child: ForkedProcess) -> str:
    return f" Its log ends:\n{child.log[-_LOG_SHOWN:]}"
