"""Sends for the verb `send`: waits for outcomes, and says what was published, however it ends."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from time import monotonic
from typing import NamedTuple, Self

import typer
from rich.console import Console
from rich.progress import Progress

import allocation_contracts as contracts
from allocation_contracts.amqp import UnconfirmedError
from allocation_worker.bootstrap import send as wiring
from allocation_worker.bootstrap.send import OutcomeListener
from allocation_worker.bootstrap.tail import SeenEvent
from allocation_worker.cli import event_lines, exit_codes
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.output import echo
from allocation_worker.cli.streams import tell
from allocation_worker.config import Settings
from allocation_worker.service_layer.ports import Survey
from allocation_worker.service_layer.send import Tally, id_prefix

_LOOK_EVERY = 0.2


class Wanted(NamedTuple):
    """How to send.

    Attributes:
        timeout: How many seconds to wait for the next outcome; None to wait for none.
        as_json: Whether to print JSON.
    """

    timeout: float | None
    as_json: bool


def send_one(command: contracts.Command, message_id: str, correlation_id: str | None, wanted: Wanted) -> None:
    """Send one command, and print its message_id and its outcome, if that is wanted."""
    settings = load_settings("send")
    again = f"Send it again with --message-id {message_id}: what is sent twice has no second effect."
    state = "Nothing was sent."
    done = f"The command is confirmed, and its message_id is {message_id}."
    tally = Tally(1)
    outcome: SeenEvent | None = None
    with (
        _told_if_interrupted(lambda: state),
        _listening(settings, message_id.__eq__, wanted) as listener,
        _Interruption() as interruption,
    ):
        state = f"It is not known whether the command was published. {again}"
        try:
            wiring.send(
                settings,
                command,
                message_id=message_id,
                correlation_id=correlation_id,
                while_waiting=interruption.check,
            )
        except UnconfirmedError:
            echo(f"The command's message_id is {message_id}.", err=True)
            raise
        state = done
        if not wanted.as_json:
            tell(message_id, done=done)
        for cause, event in _outcomes(listener, tally, wanted, interruption):
            if tally.add(cause, _type(event)):
                outcome = event
    if wanted.as_json:
        told: dict[str, object] = {"message_id": message_id}
        if listener:
            told |= {"outcome": event_lines.as_object(outcome) if outcome else None}
        tell(json.dumps(told, ensure_ascii=False), done=done)
    elif outcome:
        tell(event_lines.as_text(outcome), done=done)
    if listener:
        _end(tally, listener, wanted, explain=message_id)


def send_file(
    path: Path, type_: str | None, columns: dict[str, str], wanted: Wanted, *, skip_bad: bool, attempt: int
) -> None:
    """Send the commands of a file, and print how many are confirmed, and their outcomes, if they are wanted."""
    console = Console(stderr=True)
    settings = load_settings("send")
    sending: _FileSending | None = None
    with (
        _told_if_interrupted(lambda: sending.state if sending else "Nothing was sent."),
        wiring.readable(path) as (readable, name),
    ):
        with console.status(f"Checking {name}", spinner="line"):
            file, survey = wiring.survey_file(readable, name=name, type_=type_, columns=columns, skip_bad=skip_bad)
        if survey.unused:
            echo(f"Columns not used: {', '.join(sorted(survey.unused))}.", err=True)
        prefix = id_prefix(survey, attempt)
        with (
            _listening(settings, lambda cause: cause.startswith(prefix), wanted) as listener,
            _Interruption() as interruption,
        ):
            sending = _FileSending(name, survey, prefix, wanted, listener, interruption)
            with Progress(
                console=console, transient=True, disable=bool(listener) or not console.is_terminal
            ) as progress:
                bar = progress.add_task("Sending", total=survey.good)
                confirmed = sending.confirmed

                def on_confirmed(_message_id: str) -> None:
                    progress.advance(bar)
                    confirmed()

                wiring.send_file(settings, file, survey, on_confirmed, attempt=attempt)
            sending.finish(attempt)


class _FileSending:
    """The commands of one file on their way.

    Args:
        name: The file's.
        survey: What the file holds.
        prefix: What the message_ids begin with.
        wanted: How to send.
        listener: Hears the outcomes; None if they are not wanted.
        interruption: Hears Ctrl-C.
    """

    def __init__(
        self,
        name: str,
        survey: Survey,
        prefix: str,
        wanted: Wanted,
        listener: OutcomeListener | None,
        interruption: "_Interruption",
    ) -> None:
        self._name = name
        self._survey = survey
        self._prefix = prefix
        self._wanted = wanted
        self._listener = listener
        self._interruption = interruption
        self._confirmed = 0
        self._tally = Tally(survey.good)

    @property
    def state(self) -> str:
        """What has been done so far, and what to do if it ends here."""
        good = self._survey.good
        if self._confirmed == good:
            return f"All {good} commands of {self._name} are confirmed, under the message_ids {self._prefix}ROW."
        return (
            f"{self._confirmed} of {good} commands of {self._name} are confirmed, and some more may be. Send the file "
            "again for the others: what is sent twice has no second effect."
        )

    def confirmed(self) -> None:
        """Count a command that is confirmed, and show the outcomes that have come."""
        self._confirmed += 1
        self._interruption.check()
        while self._listener and (taken := self._listener.take(0)):
            self._show(*taken)

    def finish(self, attempt: int) -> None:
        """Wait for the other outcomes, and print the totals."""
        again = f"--attempt {attempt + 1}"
        if self._survey.bad:
            echo(f"{self._survey.error_report}\nRows skipped: {self._survey.bad}.", err=True)
        if not self._wanted.as_json:
            tell(f"Confirmed commands of {self._name}: {self._survey.good}.", done=self.state)
        for cause, event in _outcomes(self._listener, self._tally, self._wanted, self._interruption):
            self._show(cause, event)
        if self._wanted.as_json:
            tell(json.dumps(self._totals(), ensure_ascii=False), done=self.state)
        elif self._listener:
            counts = ", ".join(f"{count} {type_.removesuffix('.v1')}" for type_, count in self._tally.counts.items())
            tell(f"Outcomes: {counts or 'none'}.", done=self.state)
        echo(
            f"The message_ids are {self._prefix}ROW: the same file sent again has no second effect. {again} sends it "
            "under ids of its own, such as for commands that were rejected.",
            err=True,
        )
        if self._listener:
            _end(self._tally, self._listener, self._wanted, explain=f"{self._prefix}ROW")

    def _show(self, cause: str, event: SeenEvent) -> None:
        self._tally.add(cause, _type(event))
        row = cause.removeprefix(self._prefix)
        if self._wanted.as_json:
            line = json.dumps({"row": int(row)} | event_lines.as_object(event), ensure_ascii=False)
        else:
            line = f"row {row}: {event_lines.as_text(event)}"
        tell(line, done=self.state)

    def _totals(self) -> dict[str, object]:
        totals: dict[str, object] = {
            "file": self._name,
            "confirmed": self._survey.good,
            "skipped": self._survey.bad,
            "message_ids": f"{self._prefix}ROW",
        }
        if self._listener:
            totals |= {"outcomes": dict(self._tally.counts), "without_outcome": self._tally.missing}
        return totals


class _Interruption:
    """Ctrl-C while commands are on their way: noted, and raised where that is safe.

    An exception amid the publisher could leave one of its locks taken for ever. A second Ctrl-C ends the process.
    """

    def __init__(self) -> None:
        self._heard = False

    def __enter__(self) -> Self:
        self._before = signal.signal(signal.SIGINT, self._hear)
        return self

    def __exit__(self, *_: object) -> None:
        signal.signal(signal.SIGINT, self._before)

    def check(self) -> None:
        """Raise KeyboardInterrupt if Ctrl-C was heard."""
        if self._heard:
            raise KeyboardInterrupt

    def _hear(self, *_: object) -> None:
        if self._heard:
            os._exit(exit_codes.INTERRUPTED)
        self._heard = True


@contextmanager
def _told_if_interrupted(state: Callable[[], str]) -> Iterator[None]:
    try:
        yield
    except KeyboardInterrupt:
        echo(f"Interrupted. {state()}", err=True)
        raise typer.Exit(exit_codes.INTERRUPTED) from None


@contextmanager
def _listening(settings: Settings, is_ours: Callable[[str], bool], wanted: Wanted) -> Iterator[OutcomeListener | None]:
    if wanted.timeout is None:
        yield None
    else:
        with wiring.outcomes(settings, is_ours) as listener:
            yield listener


def _outcomes(
    listener: OutcomeListener | None, tally: Tally, wanted: Wanted, interruption: _Interruption
) -> Iterator[tuple[str, SeenEvent]]:
    """Yield events until each command has its outcome, or none comes for as long as is wanted."""
    if listener is None or wanted.timeout is None:
        return
    deadline = monotonic() + wanted.timeout
    while tally.missing and monotonic() < deadline:
        interruption.check()
        if taken := listener.take(_LOOK_EVERY):
            yield taken
            deadline = monotonic() + wanted.timeout


def _end(tally: Tally, listener: OutcomeListener, wanted: Wanted, *, explain: str) -> None:
    """Say what is wrong with the outcomes, and raise `typer.Exit` then."""
    if tally.missing:
        lost = " The connection was lost meanwhile, so outcomes may have been missed." if listener.missed_some else ""
        echo(
            f"Commands without an outcome after {wanted.timeout:g} s: {tally.missing}. Perhaps `consume` or `relay` is "
            "stopped, or they are dead letters, or they were sent before under the same message_id and answered then; "
            f"`explain {explain}` tells.{lost}",
            err=True,
        )
        raise typer.Exit(exit_codes.NOT_KNOWN)
    if tally.refused:
        raise typer.Exit(exit_codes.FINDINGS)


def _type(event: SeenEvent) -> str:
    return str(event.properties.type)
