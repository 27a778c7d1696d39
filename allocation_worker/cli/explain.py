"""The verb `explain`."""

import json
from typing import Annotated

import typer

from allocation_worker.bootstrap import explain as wiring
from allocation_worker.cli import exit_codes, story_view
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.output import echo

verbs = typer.Typer()


@verbs.command(epilog="Example: allocation-worker explain order-17/1")
def explain(
    message_id: Annotated[str, typer.Argument(help="The command's message_id.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain the outcome of a command: when it arrived, the batches it passed over, its events."""
    story = wiring.explain(load_settings("explain"), message_id)
    if story is None:
        echo(_nothing_known(message_id), err=True)
        raise typer.Exit(exit_codes.NOT_KNOWN)
    if as_json:
        echo(json.dumps(story_view.as_json(story), ensure_ascii=False))
    else:
        story_view.print_story(story)


def _nothing_known(message_id: str) -> str:
    sentence = (
        f"Nothing is stored under the message_id {message_id!r}: it was never sent, it waits in a queue or for a "
        "retry, it is a dead letter, or it is older than the history"
    )
    waiting = wiring.waiting_messages(load_settings("explain"))
    if waiting is None:
        return f"{sentence} (the broker cannot be asked now)."
    counts = ", ".join(f"{queue} {count}" for queue, count in waiting.items() if count)
    return f"{sentence} (messages that wait now: {counts or 'none'})."
