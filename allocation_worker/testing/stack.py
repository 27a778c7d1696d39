"""The whole service for the tests of another team: a broker, a database, a worker and a relay, in one `with`."""

import tempfile
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from signal import SIGKILL, SIGTERM
from time import monotonic
from types import TracebackType
from typing import Any, Final, Self, TypeVar

import psycopg2
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

E = TypeVar("E", bound=contracts.Event)


class StackError(RuntimeError):
    """The stack is not as it should be: a process of it ended unasked, or does not end. Its log is in the text."""


class NotArrivedError(AssertionError):
    """What was expected did not come; the text lists what did."""


class AllocationStack:
    """A real broker and a real database, as `testing.servers` finds them, and the real processes beside them.

    To be entered with `with`; for one thread. A test uses `send`, then `expect`; between tests, `reset`.

    Args:
        settings: Environment variables for the worker, on top of this process's own, such as
            {"ALLOCATION_GRACE_ATTEMPTS": "0"}.
        servers: Where to make room; left out, servers are started, and ended with the stack.

    Attributes:
        amqp_url: The broker, for the program under test; its virtual host is the stack's own.
        database_url: The worker's database.
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
        """Publish a command, as another program would; its message_id, once the broker has confirmed it.

        Raises:
            ContractError: message_id or correlation_id is not what the contract takes.
            PublishError: The broker did not confirm it within 15 s, or refused it.
        """
        identity = self._publisher.publish(command, message_id=message_id, correlation_id=correlation_id)
        self._sent[identity] = command
        return identity

    def expect(self, kind: type[E], *, within: float = 5, caused_by: str | None = None, **fields: Any) -> E:  # noqa: ANN401 - compared with whatever the event holds
        """Wait for an event; the first since the last reset that fits, so that asking again gives it again.

        Args:
            kind: Such as `Allocated`.
            within: Seconds.
            caused_by: The message_id of the command that it must have been caused by.
            fields: What it must hold, such as orderid="o1".

        Raises:
            NotArrivedError: (an AssertionError) it did not come; the text lists what did, and the dead letters.
            TypeError: Such events have no such field.
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
        """All events so far, since the last reset, in the order of their coming."""
        self._arrivals.catch_up()
        self._check_children()
        return [arrival.event for arrival in self._arrivals.events]

    def dead_letters(self) -> list[DeadLetter]:
        """All messages that were dead-lettered since the last reset, in the order of their coming."""
        self._arrivals.catch_up()
        self._check_children()
        return list(self._arrivals.dead_letters)

    def story(self) -> str:
        """What was sent and not answered, and all that has arrived, for a person to read."""
        self._arrivals.catch_up()
        answered = {arrival.causation_id for arrival in self._arrivals.events}
        answered |= {letter.message_id for letter in self._arrivals.dead_letters}
        waiting = [f"  {show(command)} {key!r}" for key, command in self._sent.items() if key not in answered]
        unanswered = [f"{len(waiting)} of the commands sent have no answer yet:", *waiting] if waiting else []
        return "\n".join([*unanswered, self._arrivals.story()])

    def logs(self) -> str:
        """What the worker's processes have logged since the last reset."""
        return "\n".join(child.log for child in self._children)

    def reset(self) -> None:
        """Begin anew, at the same addresses: nothing that was sent or decided before is seen or felt afterwards.

        The processes are asked to end, so that no transaction and no publication is under way any more; then the
        queues, the tables and what `events` and `dead_letters` give are emptied, and new processes are started. A
        program that publishes meanwhile will see its commands answered, or lost with all the rest; and what it has in
        hand of its own queues is for it to forget.

        Raises:
            StackError: A process had ended before, or did not end in time.
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
        """Empty all queues of the virtual host; whoever consumes one goes on doing so, but the worker.

        A purge does not reach a message that is passing from a retry queue to its command queue. Without the one there
        is no way to the other, so these are deleted, first those where the way ends, and made again.
        """
        names = self._servers.broker.queue_names(self.amqp_url)
        commands = (contracts.ORDERS_QUEUE, contracts.STOCK_QUEUE)
        retries = [name for name in names if name.startswith(tuple(f"{queue}.retry." for queue in commands))]
        with connect_any(self.amqp_url.split(","), "allocation stack") as connection:
            channel = connection.channel()
            for name in (*commands, *retries):
                channel.queue_delete(name)
        self._run_verb("topology")
        with connect_any(self.amqp_url.split(","), "allocation stack") as connection:
            channel = connection.channel()
            for name in set(names) - {*commands, *retries}:
                channel.queue_purge(name)

    def _empty_database(self) -> None:
        dsn = make_url(self.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        with closing(psycopg2.connect(dsn)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
            tables = [sql.Identifier(name) for (name,) in cursor if name != "alembic_version"]
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
