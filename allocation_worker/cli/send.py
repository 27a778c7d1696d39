"""The verbs that publish a command."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated
from uuid import uuid4

import typer

import allocation_contracts as contracts
from allocation_worker.cli import sending
from allocation_worker.cli.sending import Wanted
from allocation_worker.service_layer.send import build_command

verbs = typer.Typer()

MessageId = Annotated[str | None, typer.Option(help="The idempotency key. Default: a new one.")]
CorrelationId = Annotated[str | None, typer.Option(help="The id shared by all messages of one business process.")]
OrderId = Annotated[str, typer.Option(help="The order.")]
Sku = Annotated[str, typer.Option(help="The stock keeping unit.")]
LineId = Annotated[str, typer.Option(help="Distinguishes lines of one order with the same SKU.")]
Qty = Annotated[int, typer.Option(help="The quantity, a whole number.")]
Wait = Annotated[
    bool, typer.Option("--wait", help="Show each outcome; exit 4 if one is a refusal, 3 if one does not come.")
]
Timeout = Annotated[float, typer.Option(min=0.1, max=86_400, help="Seconds to wait for the next outcome.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PATIENCE = 60.0
BatchRef = Annotated[str, typer.Option(help="The batch.")]


@verbs.callback(
    invoke_without_command=True,
    no_args_is_help=True,
    epilog="Example: allocation-worker send --file orders.csv --type allocate --column lineid=#row --wait",
)
def send_verb(
    context: typer.Context,
    *,
    file: Annotated[
        Path | None,
        typer.Option(
            help="Send every row of this file: .csv or .tsv with a header, or .jsonl; - for stdin. All are checked "
            "first."
        ),
    ] = None,
    type_: Annotated[
        str | None,
        typer.Option("--type", help="The type of every row, such as allocate. Default: its column `type`."),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(help="FIELD=NAME: the column of a field, if it has another name; #row is the row's number."),
    ] = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Send the valid rows even if others are invalid.")
    ] = False,
    attempt: Annotated[
        int,
        typer.Option(
            min=1, help="2 or more sends the same file again under ids of its own, such as for rejected commands."
        ),
    ] = 1,
    wait: Wait = False,
    timeout: Timeout = PATIENCE,
    as_json: AsJson = False,
) -> None:
    """Publish one command, or those of a file, and wait for the broker's confirms."""
    if context.invoked_subcommand is not None:
        if file or type_ or column or skip_bad or wait or attempt > 1 or as_json:
            raise typer.BadParameter(f"give either --file and its options, or {context.invoked_subcommand}.")
    elif file is None:
        raise typer.BadParameter("give --file, or a command such as allocate.")
    else:
        columns = dict(map(_mapping, column or []))
        wanted = Wanted(timeout if wait else None, as_json)
        sending.send_file(file, type_, columns, wanted, skip_bad=skip_bad, attempt=attempt)


@verbs.command("allocate", epilog="Example: allocation-worker send allocate --orderid o1 --sku RED-CHAIR --qty 3")
def send_allocate(
    orderid: OrderId,
    sku: Sku,
    qty: Qty,
    lineid: LineId = "",
    message_id: MessageId = None,
    correlation_id: CorrelationId = None,
    *,
    wait_for_stock: Annotated[
        bool, typer.Option("--wait-for-stock", help="Let the line wait if no batch can take it now.")
    ] = False,
    priority: Annotated[int, typer.Option(help="0 to 9: of the lines that wait, the higher are served first.")] = 0,
    needed_by: Annotated[
        str | None, typer.Option(help="YYYY-MM-DD: no batch that arrives after this day is for the line.")
    ] = None,
    wait: Wait = False,
    timeout: Timeout = PATIENCE,
    as_json: AsJson = False,
) -> None:
    """Ask for stock for an order line."""
    _send(
        contracts.Allocate,
        message_id,
        correlation_id,
        Wanted(timeout if wait else None, as_json),
        orderid=orderid,
        sku=sku,
        qty=qty,
        lineid=lineid,
        wait=wait_for_stock,
        priority=priority,
        needed_by=needed_by,
    )


@verbs.command("deallocate", epilog="Example: allocation-worker send deallocate --orderid o1 --sku RED-CHAIR")
def send_deallocate(
    orderid: OrderId,
    sku: Sku,
    lineid: LineId = "",
    message_id: MessageId = None,
    correlation_id: CorrelationId = None,
    *,
    wait: Wait = False,
    timeout: Timeout = PATIENCE,
    as_json: AsJson = False,
) -> None:
    """Cancel an order line."""
    _send(
        contracts.Deallocate,
        message_id,
        correlation_id,
        Wanted(timeout if wait else None, as_json),
        orderid=orderid,
        sku=sku,
        lineid=lineid,
    )


@verbs.command("ship", epilog="Example: allocation-worker send ship --orderid o1 --sku RED-CHAIR")
def send_ship(
    orderid: OrderId,
    sku: Sku,
    lineid: LineId = "",
    message_id: MessageId = None,
    correlation_id: CorrelationId = None,
    *,
    wait: Wait = False,
    timeout: Timeout = PATIENCE,
    as_json: AsJson = False,
) -> None:
    """Ship an order line."""
    _send(
        contracts.Ship,
        message_id,
        correlation_id,
        Wanted(timeout if wait else None, as_json),
        orderid=orderid,
        sku=sku,
        lineid=lineid,
    )


@verbs.command(
    "change-line-quantity",
    epilog="Example: allocation-worker send change-line-quantity --orderid o1 --sku RED-CHAIR --qty 2",
)
def send_change_line_quantity(
    orderid: OrderId,
    sku: Sku,
    qty: Qty,
    lineid: LineId = "",
    message_id: MessageId = None,
    correlation_id: CorrelationId = None,
    *,
    from_qty: Annotated[int | None, typer.Option(help="Only if the line has this quantity so far.")] = None,
    wait: Wait = False,
    timeout: Timeout = PATIENCE,
    as_json: AsJson = False,
) -> None:
    """Set the quantity of an order line."""
    _send(
        contracts.ChangeLineQuantity,
        message_id,
        correlation_id,
        Wanted(timeout if wait else None, as_json),
        orderid=orderid,
        sku=sku,
        qty=qty,
        lineid=lineid,
        from_qty=from_qty,
    )


@verbs.command(
    "hold",
    epilog="Example: allocation-worker send hold --orderid basket-5 --sku RED-CHAIR --qty 1 --minutes 15",
)
def send_hold(
    orderid: OrderId,
    sku: Sku,
    qty: Qty,
    lineid: LineId = "",
    message_id: MessageId = None,
    correlation_id: CorrelationId = None,
    *,
    minutes: Annotated[
        int | None, typer.Option(min=0, max=1440, help="For how long from now; 0 ends a hold. Default: 15.")
    ] = None,
    until: Annotated[
        str | None,
        typer.Option(help="YYYY-MM-DDThh:mm:ssZ: until when, in place of --minutes, to repeat a --message-id."),
    ] = None,
    wait: Wait = False,
    timeout: Timeout = PATIENCE,
    as_json: AsJson = False,
) -> None:
    """Hold stock for an order line that may be ordered soon."""
    if until is None:
        wanted = timedelta(minutes=15 if minutes is None else minutes)
        until = (datetime.now(UTC) + wanted).isoformat(timespec="seconds")
    elif minutes is not None:
        raise typer.BadParameter("give either --minutes or --until.")
    _send(
        contracts.Hold,
        message_id,
        correlation_id,
        Wanted(timeout if wait else None, as_json),
        orderid=orderid,
        sku=sku,
        qty=qty,
        lineid=lineid,
        until=until,
    )


@verbs.command(
    "create-batch",
    epilog="Example: allocation-worker send create-batch --batchref b1 --sku RED-CHAIR --qty 100 --eta 2030-01-31",
)
def send_create_batch(
    batchref: BatchRef,
    sku: Sku,
    qty: Qty,
    eta: Annotated[str | None, typer.Option(help="The day of arrival, YYYY-MM-DD. Default: in the warehouse.")] = None,
    message_id: MessageId = None,
    correlation_id: CorrelationId = None,
    *,
    wait: Wait = False,
    timeout: Timeout = PATIENCE,
    as_json: AsJson = False,
) -> None:
    """Announce a batch of stock."""
    _send(
        contracts.CreateBatch,
        message_id,
        correlation_id,
        Wanted(timeout if wait else None, as_json),
        batchref=batchref,
        sku=sku,
        qty=qty,
        eta=eta,
    )


@verbs.command(
    "change-batch-quantity", epilog="Example: allocation-worker send change-batch-quantity --batchref b1 --qty 50"
)
def send_change_batch_quantity(
    batchref: BatchRef,
    qty: Qty,
    message_id: MessageId = None,
    correlation_id: CorrelationId = None,
    *,
    wait: Wait = False,
    timeout: Timeout = PATIENCE,
    as_json: AsJson = False,
) -> None:
    """Correct how much of a batch was purchased."""
    _send(
        contracts.ChangeBatchQuantity,
        message_id,
        correlation_id,
        Wanted(timeout if wait else None, as_json),
        batchref=batchref,
        qty=qty,
    )


@verbs.command(
    "change-batch-eta", epilog="Example: allocation-worker send change-batch-eta --batchref b1 --eta 2030-02-28"
)
def send_change_batch_eta(
    batchref: BatchRef,
    eta: Annotated[str | None, typer.Option(help="The new day of arrival, YYYY-MM-DD.")] = None,
    message_id: MessageId = None,
    correlation_id: CorrelationId = None,
    *,
    arrived: Annotated[bool, typer.Option("--arrived", help="The batch is in the warehouse.")] = False,
    wait: Wait = False,
    timeout: Timeout = PATIENCE,
    as_json: AsJson = False,
) -> None:
    """Tell a new day of arrival of a batch, or that it has arrived."""
    if arrived == (eta is not None):
        raise typer.BadParameter("give either --eta or --arrived.")
    _send(
        contracts.ChangeBatchEta,
        message_id,
        correlation_id,
        Wanted(timeout if wait else None, as_json),
        batchref=batchref,
        eta=eta,
    )


def _mapping(text: str) -> tuple[str, str]:
    name, equals, column = text.partition("=")
    if not (name and equals and column):
        raise typer.BadParameter(f"--column must be FIELD=NAME, such as orderid=InvoiceNo, got {text!r}.")
    return name, column


def _send(
    model: type[contracts.Command],
    message_id: str | None,
    correlation_id: str | None,
    wanted: Wanted,
    **fields: str | int | None,
) -> None:
    command = build_command(model, **fields)
    sending.send_one(command, str(uuid4()) if message_id is None else message_id, correlation_id, wanted)
