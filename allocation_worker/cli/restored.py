"""The verb `restored`."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from allocation_worker.bootstrap import restored as wiring
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.streams import tell

verbs = typer.Typer()


@verbs.command(epilog="Example: allocation-worker restored && systemctl start allocation-worker.target")
def restored(*, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Go on from a restored backup: number events beyond all that were published; stop the processes before."""
    found = wiring.restored(load_settings("restored"))
    done = (
        f"Restoration {found.number}. Products: {found.products:,}. "
        f"The next event of each has the sequence {found.sequence + 1}."
    )
    if as_json:
        tell(json.dumps(asdict(found)), done=done)
        return
    tell(done, done=done)
    tell("Subscribers see a gap, and take no new event for a repeat.", done=done)
    tell("Now start the processes, and publish again what was sent since the backup.", done=done)
