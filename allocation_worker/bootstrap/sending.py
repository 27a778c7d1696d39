"""Wires what publishes commands."""

from collections.abc import Callable, Mapping
from contextlib import closing
from itertools import islice
from pathlib import Path
from typing import Any

from pydantic import ValidationError

import allocation_contracts as contracts
from allocation_contracts import ContractViolation
from allocation_worker.adapters.command_file import CommandFile, CommandFileError, GoodRow, Survey
from allocation_worker.adapters.rabbitmq.command_publisher import CommandPublisher
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.config import Settings

SEND_TIMEOUT = 15.0
# Within a batch nothing waits for a confirm; between two, everything does: so the order outlives a lost connection.
BATCH = 1000
BATCH_TIMEOUT = 60.0


def build_command(model: Callable[..., contracts.Command], **fields: Any) -> contracts.Command:  # noqa: ANN401 - the model checks
    """A command from options.

    Raises:
        ContractViolation: it would be refused; the text says why.
    """
    try:
        return model(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ContractViolation(
            "invalid-body", f"--{first['loc'][0]} is wrong: {first['msg']}, got {first['input']!r}."
        ) from error


def send(settings: Settings, command: contracts.Command, *, message_id: str, correlation_id: str | None) -> None:
    """Publish one command, confirmed and mandatory."""
    with closing(CommandPublisher(settings.amqp_url)) as publisher:
        publisher.publish(command, message_id=message_id, correlation_id=correlation_id)
        publisher.wait_confirmed(within=SEND_TIMEOUT)


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


def send_file(settings: Settings, file: CommandFile, survey: Survey, confirmed: Callable[[str], object]) -> None:
    """Publish a file's commands in their order, `confirmed` being told the message_id of each that is safe.

    A message_id follows from all commands of the file and from the row: the same file again has the same ones, so that
    it has no second effect; a corrected file has others, so that no row is refused for what it was before.

    Raises:
        BrokerError: the broker does not confirm; the text says what to do.
        CommandFileError: the file has changed since it was surveyed.
    """
    sent = Survey()
    rows = file.rows()
    with closing(CommandPublisher(settings.amqp_url, confirmed)) as publisher:
        while batch := list(islice(rows, BATCH)):
            good = [row for row in batch if isinstance(row, GoodRow)]
            publisher.publish_all((f"file-{survey.digest}/{row.number}", row.command) for row in good)
            try:
                publisher.wait_confirmed(within=BATCH_TIMEOUT)
            except BrokerError as error:
                raise BrokerError(
                    f"{error} At least {sent.good} of {survey.good} commands of {file.path} are confirmed; run the "
                    "same again for the others: what is sent twice has no second effect."
                ) from error
            for row in batch:
                sent.add(row)
    if sent.digest != survey.digest:
        raise CommandFileError(f"{file.path} was changed while it was sent; {sent.good} commands are confirmed.")
