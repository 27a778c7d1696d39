"""The verb `topology`."""

from typing import Annotated

import typer

from allocation_worker.bootstrap import topology as wiring
from allocation_worker.cli.loading import load_settings

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
        wiring.check_topology(load_settings("topology", quiet=True))
        typer.echo("All exchanges and queues exist.")
    else:
        loaded = load_settings("topology")
        wiring.declare_topology(loaded)
        typer.echo("All exchanges, queues and bindings exist.")
        for queue, messages in wiring.outdated_queues(loaded).items():
            typer.echo(
                f"The queue {queue} is no longer used, and holds {messages} messages. Once no older version of the "
                f"worker runs and it is empty, delete it: rabbitmqctl delete_queue {queue} --if-empty"
            )
