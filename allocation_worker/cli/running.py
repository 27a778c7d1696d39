"""The verbs that set a place up and run in it."""

from typing import Annotated

import typer

import allocation_contracts as contracts
from allocation_worker import bootstrap
from allocation_worker.cli.settings import settings

verbs = typer.Typer()


@verbs.command(epilog="Example: ALLOCATION_DATABASE_URL=postgresql://me:secret@db/allocation allocation-worker migrate")
def migrate() -> None:
    """Bring the database schema up to date; safe to repeat, and for two to run at once."""
    before, after = bootstrap.migrate(settings())
    typer.echo(f"The schema was at {before or 'nothing'}, and is at {after}.")


@verbs.command(epilog="Example: ALLOCATION_AMQP_URL=amqp://me:secret@broker/shop allocation-worker topology")
def topology(
    *,
    check: Annotated[
        bool,
        typer.Option("--check", help="Look whether exchanges and queues stand, and change nothing; exit 1 if not."),
    ] = False,
) -> None:
    """Declare exchanges, queues and bindings; safe to repeat."""
    if check:
        bootstrap.check_topology(settings(quiet=True))
        typer.echo("Exchanges and queues stand.")
    else:
        bootstrap.declare_topology(settings())
        typer.echo("Exchanges, queues and bindings stand.")


@verbs.command(epilog="Example: ALLOCATION_GROUP_LIMIT=100 allocation-worker consume --queue allocation.orders")
def consume(
    queue: Annotated[
        list[str] | None, typer.Option(help="A queue to take commands from; may be repeated. Default: both.")
    ] = None,
) -> None:
    """Take commands and answer them, until SIGTERM or Ctrl-C."""
    queues = tuple(queue or (contracts.ORDERS_QUEUE, contracts.STOCK_QUEUE))
    unknown = set(queues) - {contracts.ORDERS_QUEUE, contracts.STOCK_QUEUE}
    if unknown:
        raise typer.BadParameter(
            f"there is no queue {', '.join(sorted(unknown))}; take {contracts.ORDERS_QUEUE} or {contracts.STOCK_QUEUE}."
        )
    bootstrap.consume(settings(), queues)


@verbs.command(epilog="Example: run two; one is active, the other takes over when it ends.")
def relay() -> None:
    """Publish the events of the outbox, until SIGTERM or Ctrl-C."""
    bootstrap.relay(settings())


@verbs.command(epilog="Example: ALLOCATION_REDIS_URL=redis://cache:6379/0 allocation-worker project")
def project(
    *,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Build it anew beside the one that is shown, switch over, and end."),
    ] = False,
) -> None:
    """Keep the read model in Redis, until SIGTERM or Ctrl-C; run two, and one stands by."""
    if rebuild:
        typer.echo(f"The read model is built anew: {bootstrap.rebuild(settings())} SKUs.")
    else:
        bootstrap.project(settings())
