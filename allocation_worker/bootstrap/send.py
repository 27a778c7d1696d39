"""Wires `send`, which publishes commands."""

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import wait
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import allocation_contracts as contracts
from allocation_contracts.amqp import Outgoing, Publisher
from allocation_contracts.amqp.link import Link
from allocation_worker.adapters.command_file import CommandFile, spooled
from allocation_worker.adapters.rabbitmq.outcome_listener import OutcomeListener
from allocation_worker.bootstrap.addresses import BrokerUrls
from allocation_worker.config import Settings
from allocation_worker.service_layer import send as service
from allocation_worker.service_layer.ports import Survey

APP_ID = "allocation-worker send"
SEND_TIMEOUT = 15.0
_LOOK_EVERY = 0.2

__all__ = ["OutcomeListener", "outcomes", "readable", "send", "send_file", "survey_file"]


def _log_nothing(level: int, event: str, **fields: object) -> None:
    """Log nothing: the final error says the same as the link's log lines."""


_quiet_link = partial(Link, log=_log_nothing)


def send(
    settings: Settings,
    command: contracts.Command,
    *,
    message_id: str,
    correlation_id: str | None,
    while_waiting: Callable[[], None],
) -> None:
    """Publish one command, and wait for its confirm; call `while_waiting` now and then, which may raise.

    Raises:
        PublishError: The broker did not confirm it, or refused it; the text says why.
    """
    with Publisher(settings.amqp_url, app_id=APP_ID, timeout=SEND_TIMEOUT, link=_quiet_link) as publisher:
        future = publisher.publish_soon(Outgoing(command=command, message_id=message_id, correlation_id=correlation_id))
        while not wait([future], _LOOK_EVERY).done:
            while_waiting()
        future.result()


@contextmanager
def readable(path: Path) -> Iterator[tuple[Path, str]]:
    """Yield a file that can be read twice, and its name: `-` is standard input."""
    if str(path) != "-":
        yield path, str(path)
        return
    with spooled(sys.stdin.buffer) as file:
        yield file, "standard input"


def survey_file(
    path: Path, *, name: str, type_: str | None, columns: Mapping[str, str], skip_bad: bool
) -> tuple[CommandFile, Survey]:
    """Read and check a whole file of commands; see `service_layer.send.survey_file`."""
    file = CommandFile(path, name=name, type_=type_, columns=columns)
    return file, service.survey_file(file, skip_bad=skip_bad)


def send_file(
    settings: Settings, file: CommandFile, survey: Survey, confirmed: Callable[[str], None], *, attempt: int
) -> None:
    """Publish the commands of a file, and call `confirmed` with each message_id that the broker has confirmed."""
    with Publisher(settings.amqp_url, app_id=APP_ID, timeout=SEND_TIMEOUT, link=_quiet_link) as publisher:

        def publish(commands: Iterable[tuple[str, contracts.Command]]) -> None:
            publisher.publish_all(
                (Outgoing(command=command, message_id=message_id) for message_id, command in commands),
                on_confirmed=confirmed,
            )

        service.send_file(file, survey, publish, attempt=attempt)


def outcomes(settings: Settings, is_ours: Callable[[str], bool]) -> OutcomeListener:
    """Return what hears the events that answer commands; enter it before they are sent."""
    return OutcomeListener(BrokerUrls(settings), is_ours)
