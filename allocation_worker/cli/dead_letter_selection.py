"""The options that say which dead letters are meant, and what was found of them."""

from typing import Annotated

import typer

from allocation_worker.adapters.rabbitmq.dead_letter import HeldDeadLetter
from allocation_worker.cli import exit_codes
from allocation_worker.cli.dead_letter_views import plain
from allocation_worker.cli.output import echo
from allocation_worker.service_layer.dead_letters import Selection

_NAMED = 10

Ids = Annotated[list[str] | None, typer.Argument(help="The ids, as `list --reason` shows them.", metavar="ID")]
Reason = Annotated[str | None, typer.Option(help="Those of this reason, such as invalid-json.")]
Error = Annotated[
    str | None,
    typer.Option("--exception", help="Those with this exception: its type, such as ValueError, or all of it."),
]
MessageIds = Annotated[
    list[str] | None, typer.Option("--message-id", help="Those that were sent with this message_id; may be repeated.")
]
Everything = Annotated[bool, typer.Option("--all", help="All dead letters.")]


def selection(
    ids: list[str] | None, reason: str | None, exception: str | None, message_ids: list[str] | None, *, everything: bool
) -> Selection:
    """Return what is meant.

    Raises:
        BadParameter: Nothing is said, or things that exclude each other.
    """
    said = Selection(
        ids=frozenset(ids or ()),
        reason=reason,
        exception=exception,
        message_ids=frozenset(message_ids or ()),
        everything=everything,
    )
    if sum((bool(said.ids), said.narrows, everything)) != 1:
        raise typer.BadParameter(
            "say which dead letters are meant: their ids, or --all, or some of --reason, --exception and --message-id."
        )
    return said


class Found:
    """Those of a selection that were found.

    Args:
        wanted: The selection.
    """

    def __init__(self, wanted: Selection) -> None:
        self._missing_ids = set(wanted.ids)
        self._missing_message_ids = set(wanted.message_ids)
        self.ids: set[str] = set()

    def note(self, letter: HeldDeadLetter) -> None:
        """Take note of one."""
        self.ids.add(letter.id)
        self._missing_ids.discard(letter.id)
        self._missing_message_ids.discard(letter.message_id or "")

    def require(self) -> None:
        """Exit with 3 if an id or a message_id that was named belongs to no dead letter."""
        if not (self._missing_ids or self._missing_message_ids):
            return
        what = "" if self._missing_ids else "with the message_id "
        names = ", ".join(map(plain, sorted(self._missing_ids or self._missing_message_ids)[:_NAMED]))
        echo(
            f"There is no dead letter {what}{names}; `allocation-worker dead-letters list` shows what there is.",
            err=True,
        )
        raise typer.Exit(exit_codes.NOT_KNOWN)
