"""The verb `migrate`."""

import json
from typing import Annotated

import typer

from allocation_worker.bootstrap import migrate as wiring
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.streams import tell

verbs = typer.Typer()


@verbs.command(epilog="Example: ALLOCATION_DATABASE_URL=postgresql://me:secret@db/allocation allocation-worker migrate")
def migrate(*, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Bring the database schema up to date; safe to repeat and to run concurrently."""
    before, after = wiring.migrate(load_settings("migrate"))
    done = f"The schema was at {before or 'nothing'}, and is at {after}."
    tell(json.dumps({"before": before, "after": after}) if as_json else done, done=done)
