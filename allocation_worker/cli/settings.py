"""The verb `settings`."""

import json
from typing import Annotated

import typer

from allocation_worker.bootstrap.settings import in_force
from allocation_worker.cli import tables
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.output import echo

verbs = typer.Typer()


@verbs.command(epilog="Example: allocation-worker settings --json")
def settings(*, as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show the settings in force and where each comes from; addresses without passwords and options."""
    found = in_force(load_settings("settings", quiet=True))
    if as_json:
        echo(json.dumps({each.name: {"value": each.value, "source": each.source} for each in found}))
        return
    rows = [(each.name, each.value or "", each.source) for each in found]
    tables.console().print(tables.table("Settings in force", ("setting", "value", "from"), rows))
