"""The verb `consume`."""

from typing import Annotated

import typer

import allocation_contracts as contracts
from allocation_worker.bootstrap import consume as wiring
from allocation_worker.cli.loading import load_settings

verbs = typer.Typer()


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
    wiring.consume(load_settings("consume"), queues)
