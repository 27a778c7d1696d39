"""Wires `send`, which publishes commands."""

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
# Rows in memory at a time; a file may have millions.
BATCH = 5000


def _log_nothing(level: int, event: str, **fields: object) -> None:
    """Log nothing: the final error says the same as the link's log lines."""


_quiet_link = partial(Link, log=_log_nothing)


def build_command(model: type[contracts.Command], **fields: str | int | None) -> contracts.Command:
    """Build a command from the options of the command line.

    Raises:
        ContractError: The worker would dead-letter this command; the text says why.
    """
    return contracts.read_command(model.TYPE, json.dumps(fields).encode())


def send(settings: Settings, command: contracts.Command, *, message_id: str, correlation_id: str | None) -> None:
    """Publish one command, and wait for its confirm.

    Raises:
        PublishError: The broker did not confirm it, or refused it; the text says why.
    """
    with Publisher(settings.amqp_url, app_id=APP_ID, timeout=SEND_TIMEOUT, link=_quiet_link) as publisher:
        publisher.publish(command, message_id=message_id, correlation_id=correlation_id)


def survey_file(
    path: Path, *, type_: str | None, columns: Mapping[str, str], skip_bad: bool
) -> tuple[CommandFile, Survey]:
    """Read and check a whole file of commands, before any is sent.

    Raises:
        CommandFileError: The file cannot be read, or has bad rows and `skip_bad` is false; the text names them.
    """
    file = CommandFile(path, type_=type_, columns=columns)
    survey = file.survey()
    if survey.bad and not skip_bad:
        raise CommandFileError(f"{survey.complaint}\nNothing was sent.")
    return file, survey


def send_file(settings: Settings, file: CommandFile, survey: Survey, confirmed: Callable[[str], None]) -> None:
    """Publish the commands of a file in order.

    A message_id is derived from all commands of the file and from the row number. Sending the same file again uses the
    same ids, so it has no second effect. A corrected file has other ids, so no row conflicts with its earlier version.

    Args:
        settings: The settings of the process.
        file: The file.
        survey: The result of `survey_file`.
        confirmed: Called with the message_id of each confirmed command.

    Raises:
        CommandFileError: The broker does not confirm, or the file has changed since the survey; the text says how many
            commands are confirmed, and what to do.
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
