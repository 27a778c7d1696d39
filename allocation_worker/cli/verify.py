"""The verb `verify`."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from allocation_worker.bootstrap import verify as wiring
from allocation_worker.cli import exit_codes
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.output import echo
from allocation_worker.service_layer.verify import Audit
from allocation_worker.service_layer.wording import counted

verbs = typer.Typer()


@verbs.command(epilog="Example: allocation-worker verify --stuck-after 60 || page-someone")
def verify(
    *,
    stuck_after: Annotated[
        float,
        typer.Option(
            min=0,
            max=1_000_000_000,
            help="Seconds after which an event that is not published counts as stuck, and a hold as overdue.",
        ),
    ] = 300,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Check the tables of a live database, and what the guarantees rest on; read-only; exit 4 if anything is wrong."""
    found = wiring.verify(load_settings("verify"), stuck_after=stuck_after)
    if as_json:
        echo(json.dumps(asdict(found)))
    else:
        _print(found)
    if found.faults:
        raise typer.Exit(exit_codes.FINDINGS)


def _print(found: Audit) -> None:
    for fault in found.faults:
        for example in fault.examples:
            echo(example)
        if fault.count > len(fault.examples):
            echo(f"  ... and {fault.count - len(fault.examples):,} more like these.")
    for notice in found.notices:
        echo(f"Notice: {notice}")
    facts = ", ".join(f"{name} {_shown(value)}" for name, value in found.durability.items())
    echo(f"The guarantees rest on: {facts}.")
    rows = ", ".join(f"{table} {count:,}" for table, count in found.counts.items()) or "none"
    total = sum(fault.count for fault in found.faults)
    faults = counted(total, "fault") if total else "No faults"
    echo(f"{faults}. Rows looked at: {rows}.")


def _shown(value: object) -> str:
    match value:
        case None:
            return "unknown"
        case "" | []:
            return "none"
        case bool():
            return "yes" if value else "no"
        case list():
            return " and ".join(map(str, value))
    return str(value)
