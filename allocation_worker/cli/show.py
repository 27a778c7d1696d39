"""The verbs `show order`, `show sku`, `show batch` and `show stock`, which read the read model."""

import json
from collections.abc import Sequence
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any

import typer

from allocation_worker.bootstrap import show as wiring
from allocation_worker.cli import exit_codes, tables
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.output import echo
from allocation_worker.cli.tables import shown
from allocation_worker.service_layer.ports import BatchView, LineView, RejectionView, SkuView
from allocation_worker.service_layer.show import Freshness

if TYPE_CHECKING:
    from allocation_worker.adapters.redis.views import RedisViews

verbs = typer.Typer(
    no_args_is_help=True,
    help="Show the lines of an order, the available stock of a SKU or a batch, or all stock.",
    epilog="Example: allocation-worker show sku RED-CHAIR",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@verbs.command("order", epilog="Example: allocation-worker show order order-17")
def show_order(orderid: Annotated[str, typer.Argument(help="The order.")], *, as_json: AsJson = False) -> None:
    """Show the batch of each line of an order, and its rejected commands."""
    views, freshness = _open()
    lines, rejections = views.order(orderid), views.rejections(orderid)
    if not lines and not rejections:
        _unknown(f"order {orderid!r}", freshness, explain=f"--order {quote(orderid)}")
    if as_json:
        found = {"lines": [_line(line) for line in lines], "rejections": [_rejection(each) for each in rejections]}
        _print_json({"orderid": orderid} | found, freshness)
        return
    if lines:
        header = ("SKU", "line", "quantity", "status", "batch", "ETA")
        rows = [(line.sku, line.lineid, line.qty, line.status, line.batchref or "", _eta(line)) for line in lines]
        _print_table(f"Order {orderid}", header, rows)
    if rejections:
        header = ("command", "SKU", "line", "rejected", "reason", "detail")
        told = [(each.command, each.sku, each.lineid, shown(each.rejected_at), *each[4:6]) for each in rejections]
        _print_table(f"Rejected commands of order {orderid}", header, told)
    echo(freshness.sentence())


@verbs.command("sku", epilog="Example: allocation-worker show sku RED-CHAIR --json")
def show_sku(sku: Annotated[str, typer.Argument(help="The SKU.")], *, as_json: AsJson = False) -> None:
    """Show the available stock of each batch of a SKU, in order of preference."""
    views, freshness = _open()
    view = views.sku(sku)
    if view is None:
        _unknown(f"SKU {sku!r}", freshness, explain=f"--sku {quote(sku)}")
        return
    if as_json:
        batches = [_batch(batch) for batch in view.batches]
        found = {"sku": sku, "sequence": view.sequence, "available": view.available, "batches": batches}
        _print_json(found, freshness)
        return
    _print_batches(f"SKU {sku} after its event {view.sequence}", view.batches)
    echo(freshness.sentence())


@verbs.command("batch", epilog="Example: allocation-worker show batch shipment-7")
def show_batch(reference: Annotated[str, typer.Argument(help="The batch.")], *, as_json: AsJson = False) -> None:
    """Show the available stock of a batch."""
    views, freshness = _open()
    batch = views.batch(reference)
    if batch is None:
        _unknown(f"batch {reference!r}", freshness)
        return
    if as_json:
        _print_json({"sku": batch.sku} | _batch(batch), freshness)
        return
    _print_batches(f"Batch {reference} of SKU {batch.sku}", [batch])
    echo(freshness.sentence())


@verbs.command("stock", epilog="Example: allocation-worker show stock --below 10")
def show_stock(
    *,
    below: Annotated[int | None, typer.Option(min=1, help="Only SKUs with less than this available.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is available of each SKU, the least first."""
    views, freshness = _open()
    found = views.stock(below)
    if as_json:
        _print_json({"skus": [_stock(view) for view in found]}, freshness)
        return
    header = ("SKU", "available", "in the warehouse", "next ETA")
    rows = [(view.sku, view.available, view.in_warehouse, view.next_eta or "") for view in found]
    _print_table("Stock" if below is None else f"SKUs with less than {below} available", header, rows)
    echo(freshness.sentence())


def _open() -> tuple["RedisViews", Freshness]:
    """Return the views, and their age before they are read: what is read then is no older."""
    settings = load_settings("show", quiet=True)
    views = wiring.views(settings)
    return views, wiring.freshness(settings, views)


def _unknown(what: str, freshness: Freshness, *, explain: str | None = None) -> None:
    """Say that nothing is known, and no more: what the read model lacks may have been decided all the same."""
    hint = f" `allocation-worker explain {explain}` asks the database." if explain else ""
    echo(f"Nothing is known of {what}. {freshness.sentence()}{hint}", err=True)
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


def _rejection(rejection: RejectionView) -> dict[str, Any]:
    values = rejection._asdict()
    del values["orderid"]
    return values | {"rejected_at": rejection.rejected_at.isoformat()}


def _stock(view: SkuView) -> dict[str, Any]:
    return {
        "sku": view.sku,
        "available": view.available,
        "in_warehouse": view.in_warehouse,
        "next_eta": view.next_eta,
    }


def _print_json(found: dict[str, Any], freshness: Freshness) -> None:
    age = {
        "seconds": freshness.seconds,
        "events_waiting": freshness.waiting,
        "project_running": freshness.running,
        "current": freshness.current,
    }
    echo(json.dumps(found | {"read_model": age}, default=str, ensure_ascii=False))


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
