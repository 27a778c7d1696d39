"""Wires what publishes commands."""

import json
from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from pathlib import Path

import allocation_contracts as contracts
from allocation_contracts.amqp import Outgoing, Publisher, PublishError
from allocation_contracts.amqp.link import Link
from allocation_worker.adapters.command_file import CommandFile, CommandFileError, GoodRow, Survey
from allocation_worker.config import Settings

APP_ID = "allocation-worker send"
SEND_TIMEOUT = 15.0
# What is under way in memory; a file may have millions of rows.
BATCH = 5000


def _log_nothing(level: int, event: str, **fields: object) -> None:
    """Log nothing: the error in the end says what the link would say at each attempt."""


_quiet_link = partial(Link, log=_log_nothing)


def build_command(model: type[contracts.Command], **fields: str | int | None) -> contracts.Command:
    """A command from options.

    Raises:
        ContractError: it would be refused; the text says why, in the words that the worker itself would use.
    """
    return contracts.read_command(model.TYPE, json.dumps(fields).encode())


def send(settings: Settings, command: contracts.Command, *, message_id: str, correlation_id: str | None) -> None:
    """Publish one command, confirmed and mandatory.

    Raises:
        PublishError: it is not safe; the text says why.
    """
    with Publisher(settings.amqp_url, app_id=APP_ID, timeout=SEND_TIMEOUT, link=_quiet_link) as publisher:
        publisher.publish(command, message_id=message_id, correlation_id=correlation_id)


def survey_file(
    path: Path, *, type_: str | None, columns: Mapping[str, str], skip_bad: bool
) -> tuple[CommandFile, Survey]:
    """Read a file of commands through, before any is sent.

    Raises:
        CommandFileError: it cannot be read, or has bad rows that are not to be skipped; the text tells each.
    """
    file = CommandFile(path, type_=type_, columns=columns)
    survey = file.survey()
    if survey.bad and not skip_bad:
        raise CommandFileError(f"{survey.complaint}\nNothing was sent.")
    return file, survey


def send_file(settings: Settings, file: CommandFile, survey: Survey, confirmed: Callable[[str], None]) -> None:
    """Publish a file's commands in their order, `confirmed` being told the message_id of each that is safe.

    A message_id follows from all commands of the file and from the row: the same file again has the same ones, so that
    it has no second effect; a corrected file has others, so that no row is refused for what it was before.

    Raises:
        CommandFileError: the broker does not confirm, or the file has changed since it was surveyed; the text says
            how far it came, and what to do.
    """
    sent = Survey()
    rows = file.rows()
    with Publisher(settings.amqp_url, app_id=APP_ID, timeout=SEND_TIMEOUT, link=_quiet_link) as publisher:
        while batch := list(islice(rows, BATCH)):
            good = [row for row in batch if isinstance(row, GoodRow)]
            try:
                publisher.publish_all(
                    (Outgoing(command=row.command, message_id=f"file-{survey.digest}/{row.number}") for row in good),
                    on_confirmed=confirmed,
                )
            except PublishError as error:
                raise CommandFileError(
                    f"{error} At least {sent.good} of {survey.good} commands of {file.path} are confirmed; run the "
                    "same again for the others: what is sent twice has no second effect."
                ) from error
            for row in batch:
                sent.add(row)
    if sent.digest != survey.digest:
        raise CommandFileError(f"{file.path} was changed while it was sent; {sent.good} commands are confirmed.")
