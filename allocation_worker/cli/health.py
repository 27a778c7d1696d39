"""The verb `health`. `bootstrap.health.probe` answers plain command lines without importing this."""

import json
from typing import Annotated

import typer

from allocation_worker.bootstrap import health as wiring
from allocation_worker.cli import exit_codes
from allocation_worker.cli.output import echo

verbs = typer.Typer()


@verbs.command(epilog="Example: allocation-worker health consume --ready")
def health(
    verb: Annotated[str | None, typer.Argument(help="Look at the processes of this verb only.")] = None,
    *,
    ready: Annotated[bool, typer.Option("--ready", help="They must be connected and make progress, too.")] = False,
    max_age: Annotated[
        float | None,
        typer.Option(min=1, help="Seconds from which a loop counts as stalled. Default: what each process gives."),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look at the signs of life of the processes of this machine; exit 4 if a loop is stalled, or there is none."""
    if verb is not None and verb not in wiring.VERBS:
        raise typer.BadParameter(f"{verb} leaves no signs of life; take {', '.join(wiring.VERBS)}.")
    signs, faults = wiring.look(verb, ready=ready, limit=max_age)
    if as_json:
        echo(json.dumps({"processes": signs, "faults": faults}))
    else:
        for fault in faults:
            echo(fault, err=True)
    if faults:
        raise typer.Exit(exit_codes.FINDINGS)
