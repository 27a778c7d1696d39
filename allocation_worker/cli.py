"""The command line: one verb a process, one sentence an error."""

import sys
from collections.abc import Callable
from datetime import date
from typing import Annotated
from uuid import uuid4

import typer

import allocation_contracts as contracts
from allocation_worker import __version__, bootstrap, logs
from allocation_worker.config import Settings, SettingsError, load

EX_CONFIG = 78
"""sysexits.h: something was found in an unconfigured or misconfigured state."""

app = typer.Typer(
    name="allocation-worker",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Allocates order lines to batches of stock: commands in from RabbitMQ, events out.",
    epilog="Settings come from the environment, such as ALLOCATION_AMQP_URL and ALLOCATION_DATABASE_URL; see README.",
)
sending = typer.Typer(no_args_is_help=True, help="Publish one command, confirmed; print its message_id.")
app.add_typer(sending, name="send")


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's shape of a callback
    if wanted:
        typer.echo(f"allocation-worker {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Allocates order lines to batches of stock: commands in from RabbitMQ, events out."""


@app.command(epilog="Example: ALLOCATION_DATABASE_URL=postgresql://me:secret@db/allocation allocation-worker migrate")
def migrate() -> None:
    """Bring the database schema up to date; safe to repeat, and for two to run at once."""
    before, after = bootstrap.migrate(_settings())
    typer.echo(f"The schema was at {before or 'nothing'}, and is at {after}.")


@app.command(epilog="Example: ALLOCATION_AMQP_URL=amqp://me:secret@broker/shop allocation-worker topology")
def topology() -> None:
    """Declare exchanges, queues and bindings; safe to repeat."""
    bootstrap.declare_topology(_settings())
    typer.echo("Exchanges, queues and bindings stand.")


@app.command(epilog="Example: ALLOCATION_GROUP_LIMIT=100 allocation-worker consume --queue allocation.orders")
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
    bootstrap.consume(_settings(), queues)


@app.command(epilog="Example: run two; one is active, the other takes over when it ends.")
def relay() -> None:
    """Publish the events of the outbox, until SIGTERM or Ctrl-C."""
    bootstrap.relay(_settings())


@app.command(epilog="Example: allocation-worker demo --orders 300")
def demo(
    orders: Annotated[int, typer.Option(min=10, max=20000, help="How many orders the day brings.")] = 300,
) -> None:
    """Play a short day of a shop on private servers, with live processes, and check what came out."""
    from allocation_worker.testing.demo import play  # noqa: PLC0415 - production never loads the test kit

    raise typer.Exit(play(orders))


MessageId = Annotated[str | None, typer.Option(help="The idempotency key; a new one if left out.")]
CorrelationId = Annotated[str | None, typer.Option(help="Ties together the messages of one business process.")]
OrderId = Annotated[str, typer.Option(help="The order.")]
Sku = Annotated[str, typer.Option(help="What is ordered, or stocked.")]
LineId = Annotated[str, typer.Option(help="Tells apart lines of one order with the same SKU.")]
Qty = Annotated[int, typer.Option(help="How many, a whole number.")]
BatchRef = Annotated[str, typer.Option(help="The batch.")]


@sending.command("allocate", epilog="Example: allocation-worker send allocate --orderid o1 --sku RED-CHAIR --qty 3")
def send_allocate(
    orderid: OrderId,
    sku: Sku,
    qty: Qty,
    lineid: LineId = "",
    message_id: MessageId = None,
    correlation_id: CorrelationId = None,
) -> None:
    """Ask for stock for an order line."""
    _send(contracts.Allocate, message_id, correlation_id, orderid=orderid, sku=sku, qty=qty, lineid=lineid)


@sending.command("deallocate", epilog="Example: allocation-worker send deallocate --orderid o1 --sku RED-CHAIR")
def send_deallocate(
    orderid: OrderId,
    sku: Sku,
    lineid: LineId = "",
    message_id: MessageId = None,
    correlation_id: CorrelationId = None,
) -> None:
    """Cancel an order line."""
    _send(contracts.Deallocate, message_id, correlation_id, orderid=orderid, sku=sku, lineid=lineid)


@sending.command(
    "create-batch",
    epilog="Example: allocation-worker send create-batch --batchref b1 --sku RED-CHAIR --qty 100 --eta 2030-01-31",
)
def send_create_batch(
    batchref: BatchRef,
    sku: Sku,
    qty: Qty,
    eta: Annotated[str | None, typer.Option(help="YYYY-MM-DD; left out: in the warehouse.")] = None,
    message_id: MessageId = None,
    correlation_id: CorrelationId = None,
) -> None:
    """Tell of a batch of stock."""
    _send(contracts.CreateBatch, message_id, correlation_id, batchref=batchref, sku=sku, qty=qty, eta=_date(eta))


@sending.command(
    "change-batch-quantity", epilog="Example: allocation-worker send change-batch-quantity --batchref b1 --qty 50"
)
def send_change_batch_quantity(
    batchref: BatchRef, qty: Qty, message_id: MessageId = None, correlation_id: CorrelationId = None
) -> None:
    """Correct how much of a batch was purchased."""
    _send(contracts.ChangeBatchQuantity, message_id, correlation_id, batchref=batchref, qty=qty)


def _date(text: str | None) -> date | None:
    try:
        return date.fromisoformat(text) if text else None
    except ValueError:
        raise typer.BadParameter(f"--eta must be a day as YYYY-MM-DD, got {text!r}.") from None


def _send(
    model: Callable[..., contracts.Command],
    message_id: str | None,
    correlation_id: str | None,
    **fields: str | int | date | None,
) -> None:
    command = bootstrap.build_command(model, **fields)
    identity = message_id or str(uuid4())
    bootstrap.send(_settings(), command, message_id=identity, correlation_id=correlation_id)
    typer.echo(identity)


def _settings() -> Settings:
    settings = load()
    logs.configure(settings.log_level)
    return settings


def main() -> None:
    """Run the command line; exit 78 for a bad setting, 1 for what a server refused."""
    try:
        app()
    except SettingsError as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(EX_CONFIG)
    except bootstrap.EXPECTED_ERRORS as error:
        sys.stderr.write(f"{error}\n")
        sys.exit(1)
