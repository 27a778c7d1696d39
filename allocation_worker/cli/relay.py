"""The verb `relay`."""

import typer

from allocation_worker.bootstrap import relay as wiring
from allocation_worker.cli.loading import load_settings

verbs = typer.Typer()


@verbs.command(epilog="Example: run two; one is active, the other takes over when it ends.")
def relay() -> None:
    """Publish the events of the outbox, until SIGTERM or Ctrl-C."""
    wiring.relay(load_settings("relay"))
