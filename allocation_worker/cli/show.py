"""The verbs `show order`, `show sku` and `show batch`, which read the read model."""

import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer

from allocation_worker.bootstrap import show as wiring
from allocation_worker.cli import exit_codes, tables
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.output import echo
from allocation_worker.service_layer.ports import BatchView, LineView

verbs = typer.Typer(
    no_args_is_help=True,
    help="Show the lines of an order, or the available stock of a SKU or a batch.",
    epilog="Example: allocation-worker show sku RED-CHAIR",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@verbs.command("order", epilog="Example: allocation-worker show order order-17")
def show_order(orderid: Annotated[str, typer.Argument(help="The order.")], *, as_json: AsJson = False) -> None:
    """Show the batch of each line of an order."""
    lines = wiring.views(load_settings("show")).order(orderid)
    if not lines:
        _unknown(f"Nothing is known of order {orderid!r}: no line of it was ever allocated, out of stock or cancelled.")
    if as_json:
        _print_json({"orderid": orderid, "lines": [_line(line) for line in lines]})
        return
    header = ("SKU", "line", "quantity", "status", "batch", "ETA")
    _print_table(
        f"Order {orderid}",
        header,
        [(line.sku, line.lineid, line.qty, line.status, line.batchref or "", _eta(line)) for line in lines],
    )


@verbs.command("sku", epilog="Example: allocation-worker show sku RED-CHAIR --json")
def show_sku(sku: Annotated[str, typer.Argument(help="The SKU.")], *, as_json: AsJson = False) -> None:
    """Show the available stock of each batch of a SKU, in order of preference."""
    view = wiring.views(load_settings("show")).sku(sku)
    if view is None:
        _unknown(f"Nothing is known of SKU {sku!r}: no batch of it was ever created, and no line of it cancelled.")
        return
    if as_json:
        available = sum(batch.available for batch in view.batches)
        batches = [_batch(batch) for batch in view.batches]
        _print_json({"sku": sku, "sequence": view.sequence, "available": available, "batches": batches})
        return
    _print_batches(f"SKU {sku} after its event {view.sequence}", view.batches)


@verbs.command("batch", epilog="Example: allocation-worker show batch shipment-7")
def show_batch(reference: Annotated[str, typer.Argument(help="The batch.")], *, as_json: AsJson = False) -> None:
    """Show the available stock of a batch."""
    batch = wiring.views(load_settings("show")).batch(reference)
    if batch is None:
        _unknown(f"Nothing is known of batch {reference!r}: it was never created.")
        return
    if as_json:
        _print_json({"sku": batch.sku} | _batch(batch))
        return
    _print_batches(f"Batch {reference} of SKU {batch.sku}", [batch])


def _unknown(sentence: str) -> None:
    echo(sentence, err=True)
    raise typer.Exit(exit_codes.NOT_KNOWN)


def _line(line: LineView) -> dict[str, Any]:
    values = line._asdict()
    del values["orderid"]
    return values


def _batch(batch: BatchView) -> dict[str, Any]:
    return {
        "batchref": batch.reference,
        "purchased": batch.purchased,
        "allocated": batch.allocated,
        "available": batch.available,
        "eta": batch.eta,
    }


def _print_json(value: object) -> None:
    echo(json.dumps(value, default=str, ensure_ascii=False))


def _print_batches(title: str, batches: Sequence[BatchView]) -> None:
    header = ("batch", "ETA", "purchased", "allocated", "available")
    rows = [(batch.reference, _eta(batch), batch.purchased, batch.allocated, batch.available) for batch in batches]
    _print_table(title, header, rows)


def _print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    tables.console().print(tables.table(title, header, rows))


def _eta(view: LineView | BatchView) -> str:
    if isinstance(view, LineView) and view.batchref is None:
        return ""
    return view.eta.isoformat() if view.eta else "in the warehouse"
