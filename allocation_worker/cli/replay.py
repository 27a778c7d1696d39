"""The verb `replay`."""

import json
from typing import Annotated

import typer

from allocation_worker.bootstrap import replay as wiring
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.streams import tell

verbs = typer.Typer()


@verbs.command(epilog="Example: allocation-worker replay --sku RED-CHAIR --from 10 --to 20 --queue shipping.catch-up")
def replay(
    sku: Annotated[str, typer.Option(help="The SKU whose events were missed.")],
    first: Annotated[int, typer.Option("--from", min=1, help="The first `sequence` to publish again.")],
    queue: Annotated[str, typer.Option(help="The queue to publish them to; it must exist.")],
    last: Annotated[int | None, typer.Option("--to", min=1, help="The last `sequence`. Default: the latest.")] = None,
    *,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Publish past events again, to one queue, in order, with the same message_id, body and properties."""
    if last is not None and first > last:
        raise typer.BadParameter("--from must not be above --to.")
    replayed = wiring.replay(load_settings("replay"), sku=sku, first=first, last=last, queue=queue)
    done = (
        f"The events {replayed.first} to {replayed.last} of SKU {sku!r} were announced again to the queue {queue}: "
        f"{replayed.events}, all confirmed."
    )
    tell(json.dumps({"sku": sku, "queue": queue, **replayed._asdict()}) if as_json else done, done=done)
