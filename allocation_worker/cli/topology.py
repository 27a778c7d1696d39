"""The verb `topology`."""

from typing import Annotated

import typer

from allocation_worker.bootstrap import topology as wiring
from allocation_worker.cli.settings import settings

verbs = typer.Typer()


@verbs.command(epilog="Example: ALLOCATION_AMQP_URL=amqp://me:secret@broker/shop allocation-worker topology")
def topology(
    *,
    check: Annotated[
        bool,
        typer.Option("--check", help="Check that all exchanges and queues exist, and change nothing; exit 1 if not."),
    ] = False,
) -> None:
    """Declare exchanges, queues and bindings; safe to repeat."""
    if check:
        wiring.check_topology(settings("topology", quiet=True))
        typer.echo("All exchanges and queues exist.")
    else:
        wiring.declare_topology(settings("topology"))
        typer.echo("All exchanges, queues and bindings exist.")
