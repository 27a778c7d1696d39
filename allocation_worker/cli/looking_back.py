"""The verbs that look back: what was announced, announced again; what was decided, explained."""

import json
from typing import Annotated

import typer

from allocation_worker import bootstrap
from allocation_worker.cli import story as telling
from allocation_worker.cli.settings import settings

verbs = typer.Typer()


@verbs.command(epilog="Example: allocation-worker replay --sku RED-CHAIR --from 10 --to 20 --queue shipping.catch-up")
def replay(
    sku: Annotated[str, typer.Option(help="The SKU whose events were missed.")],
    first: Annotated[int, typer.Option("--from", min=1, help="The first `sequence` to announce again.")],
    queue: Annotated[str, typer.Option(help="The queue to announce them to; it must stand.")],
    last: Annotated[int | None, typer.Option("--to", min=1, help="The last one; left out: the latest.")] = None,
) -> None:
    """Announce published events again, to one queue: same message_id, same body, same properties, in order."""
    done = bootstrap.replay(settings(), sku=sku, first=first, last=last, queue=queue)
    typer.echo(
        f"The events {done.first} to {done.last} of SKU {sku!r} were announced again to the queue {queue}: "
        f"{done.events}, all confirmed."
    )


@verbs.command(epilog="Example: allocation-worker explain order-17/1")
def explain(
    message_id: Annotated[str, typer.Argument(help="The command's message_id.")],
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Tell the story of a command: when it came, its outcome, the batches it passed over, its events."""
    story = bootstrap.explain(settings(), message_id)
    if story is None:
        typer.echo(_nothing_known(message_id), err=True)
        raise typer.Exit(1)
    if as_json:
        typer.echo(json.dumps(telling.as_json(story), ensure_ascii=False))
    else:
        telling.print_story(story)


def _nothing_known(message_id: str) -> str:
    sentence = (
        f"Nothing is stored under the message_id {message_id!r}: it was never sent, it waits in a queue or for a "
        "retry, it is a dead letter, or it is older than the history"
    )
    waiting = bootstrap.waiting_messages(settings())
    if waiting is None:
        return f"{sentence} (the broker cannot be asked now)."
    counts = ", ".join(f"{queue} {count}" for queue, count in waiting.items() if count)
    return f"{sentence} (messages that wait now: {counts or 'none'})."
