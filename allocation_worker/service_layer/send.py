"""The use case `send`: publishes one command, or all rows of a file in order."""

import json
from collections import Counter
from itertools import islice

import allocation_contracts as contracts
from allocation_contracts import AllocationError
from allocation_worker.service_layer.ports import CommandFileError, CommandRows, GoodRow, PublishCommands, Survey

BATCH = 5000
"""The number of commands in memory at a time, since a file may have millions of rows."""

_REFUSALS = frozenset({contracts.OutOfStock.TYPE, contracts.CommandRejected.TYPE})


class Tally:
    """Counts the outcomes of commands: the first event that each has caused.

    Args:
        sent: The number of commands.

    Attributes:
        counts: The number of outcomes by type of event.
    """

    def __init__(self, sent: int) -> None:
        self.counts: Counter[str] = Counter()
        self._sent = sent
        self._answered: set[str] = set()

    @property
    def missing(self) -> int:
        """The number of commands without an outcome."""
        return self._sent - len(self._answered)

    @property
    def refused(self) -> int:
        """The number of commands that were rejected, or found no stock."""
        return sum(self.counts[type_] for type_ in _REFUSALS)

    def add(self, message_id: str, type_: str) -> bool:
        """Count an event that a command has caused; return False if the command has its outcome already."""
        if message_id in self._answered:
            return False
        self._answered.add(message_id)
        self.counts[type_] += 1
        return True


def build_command(model: type[contracts.Command], **fields: str | int | None) -> contracts.Command:
    """Return a command with these fields.

    Raises:
        ContractError: The worker would dead-letter this command; the text says why.
    """
    return contracts.read_command(model.TYPE, json.dumps(fields).encode())


def survey_file(file: CommandRows, *, skip_bad: bool) -> Survey:
    """Read a whole file of commands, before any is sent, and return its totals.

    Raises:
        CommandFileError: The file cannot be read, or has bad rows and `skip_bad` is false; the text lists them.
    """
    survey = file.survey()
    if survey.bad and not skip_bad:
        raise CommandFileError(f"{survey.error_report}\nNothing was sent.")
    return survey


def id_prefix(survey: Survey, attempt: int) -> str:
    """Return what the message_ids of a file's commands begin with; the number of the row follows."""
    return f"file-{survey.digest}{'' if attempt == 1 else f'-{attempt}'}/"


def send_file(file: CommandRows, survey: Survey, publish: PublishCommands, *, attempt: int = 1) -> None:
    """Publish the commands of a file in order.

    A message_id is derived from all commands of the file, the attempt and the row number. So the same file has the same
    ids each time, and no second effect. A corrected file has other ids, so no row conflicts with the earlier file.
    Another attempt has other ids, too, so commands that were rejected are decided once more.

    Raises:
        CommandFileError: The broker does not confirm, or the file has changed since it was surveyed; the text says
            how many are confirmed, and what to do.
    """
    sent = Survey()
    prefix = id_prefix(survey, attempt)
    rows = file.rows()
    while batch := list(islice(rows, BATCH)):
        good = [row for row in batch if isinstance(row, GoodRow)]
        try:
            publish((f"{prefix}{row.number}", row.command) for row in good)
        except AllocationError as error:
            raise CommandFileError(
                f"{error} At least {sent.good} of {survey.good} commands of {file.name} are confirmed; run the "
                "same again for the others: what is sent twice has no second effect."
            ) from error
        for row in batch:
            sent.add(row)
    if sent.digest != survey.digest:
        raise CommandFileError(f"{file.name} was changed while it was sent; {sent.good} commands are confirmed.")
