"""The verbs `show order`, `show sku`, `show batch` and `show stock`, which read the read model, and `show waiting`.

What no event tells in full comes from the database: the queue of lines that wait, and the holds.
"""

import json
from collections.abc import Callable, Sequence
from functools import partial
from shlex import quote
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, TypeVar

import typer

from allocation_worker.bootstrap import show as wiring
from allocation_worker.cli import exit_codes, lines_view, tables
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.output import echo
from allocation_worker.cli.tables import shown
from allocation_worker.config import Settings
from allocation_worker.service_layer.ports import BatchView, LineView, RejectionView, SkuView, StoreError
from allocation_worker.service_layer.ports.show import HeldLine, LineKey, LineQueue, LinesNow, SkuQueue, WaitingLine
from allocation_worker.service_layer.show import Freshness

if TYPE_CHECKING:
    from allocation_worker.adapters.redis.views import RedisViews

T = TypeVar("T")

verbs = typer.Typer(
    no_args_is_help=True,
    help="Show the lines of an order, the stock of a SKU or a batch, all stock, or the lines that wait.",
    epilog="Example: allocation-worker show sku RED-CHAIR",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@verbs.command("order", epilog="Example: allocation-worker show order order-17")
def show_order(orderid: Annotated[str, typer.Argument(help="The order.")], *, as_json: AsJson = False) -> None:
    """Show each line of an order: its batch, its turn or how long it is held; and its rejected commands."""
    settings, views, freshness = _open()
    lines, rejections = views.order(orderid), views.rejections(orderid)
    if not lines and not rejections:
        _unknown(f"order {orderid!r}", freshness, explain=f"--order {quote(orderid)}")
    undecided = [(orderid, line.sku, line.lineid) for line in lines if line.status in {"waiting", "held"}]
    now = _ask(settings, partial(_undecided_now, undecided)) if undecided else ([], [])
    if as_json:
        found = {"lines": [_line(line) for line in lines], "rejections": [_rejection(each) for each in rejections]}
        _print_json({"orderid": orderid} | found | _undecided(now), freshness)
        return
    if lines:
        header = ("SKU", "line", "quantity", "status", "batch", "ETA")
        rows = [(line.sku, line.lineid, line.qty, line.status, line.batchref or "", _eta(line)) for line in lines]
        _print_table(f"Order {orderid}", header, rows)
    waiting, held = now or ([], [])
    if waiting:
        tables.console().print(lines_view.waiting_table(waiting))
    if held:
        tables.console().print(lines_view.held_table(held))
    if rejections:
        header = ("command", "SKU", "line", "rejected", "reason", "detail")
        told = [(each.command, each.sku, each.lineid, shown(each.rejected_at), *each[4:6]) for each in rejections]
        _print_table(f"Rejected commands of order {orderid}", header, told)
    echo(freshness.sentence())


@verbs.command("sku", epilog="Example: allocation-worker show sku RED-CHAIR --json")
def show_sku(sku: Annotated[str, typer.Argument(help="The SKU.")], *, as_json: AsJson = False) -> None:
    """Show the stock of each batch of a SKU, in order of preference, and how many lines wait or are held."""
    settings, views, freshness = _open()
    view = views.sku(sku)
    if view is None:
        _unknown(f"SKU {sku!r}", freshness, explain=f"--sku {quote(sku)}")
        return
    now = _ask(settings, partial(_stock_now, view.sku, view.batches))
    if as_json:
        batches = [_batch(batch, now) for batch in view.batches]
        found = {"sku": sku, "sequence": view.sequence, "available": view.available, "batches": batches}
        _print_json(found | _queue(now), freshness)
        return
    _print_stock(f"SKU {sku} after its event {view.sequence}", sku, view.batches, now)
    echo(freshness.sentence())


@verbs.command("batch", epilog="Example: allocation-worker show batch shipment-7")
def show_batch(reference: Annotated[str, typer.Argument(help="The batch.")], *, as_json: AsJson = False) -> None:
    """Show the stock of a batch, how many lines it is held for, and how many lines of its SKU wait."""
    settings, views, freshness = _open()
    batch = views.batch(reference)
    if batch is None:
        _unknown(f"batch {reference!r}", freshness)
        return
    now = _ask(settings, partial(_stock_now, batch.sku, [batch]))
    if as_json:
        _print_json({"sku": batch.sku} | _batch(batch, now) | _queue(now), freshness)
        return
    _print_stock(f"Batch {reference} of SKU {batch.sku}", batch.sku, [batch], now)
    echo(freshness.sentence())


@verbs.command("stock", epilog="Example: allocation-worker show stock --below 10")
def show_stock(
    *,
    below: Annotated[int | None, typer.Option(min=1, help="Only SKUs with less than this available.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show what is available of each SKU, the least first."""
    _, views, freshness = _open()
    found = views.stock(below)
    if as_json:
        _print_json({"skus": [_stock(view) for view in found]}, freshness)
        return
    header = ("SKU", "available", "in the warehouse", "next ETA")
    rows = [(view.sku, view.available, view.in_warehouse, view.next_eta or "") for view in found]
    _print_table("Stock" if below is None else f"SKUs with less than {below} available", header, rows)
    echo(freshness.sentence())


@verbs.command("waiting", epilog="Example: allocation-worker show waiting --sku RED-CHAIR")
def show_waiting(
    *,
    sku: Annotated[str | None, typer.Option(help="Only this SKU, line by line. Default: how many of each SKU.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="The most lines, or SKUs, that are listed.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show the lines that wait for stock, as the database has them now, in the order in which they are served."""
    with wiring.lines_now(load_settings("show", quiet=True)) as now:
        if sku is None:
            _print_queues(*now.queues(limit), as_json=as_json)
            return
        queue = now.queue(sku, limit)
        if not now.knows(sku):
            echo(f"SKU {sku!r} was never heard of; look at its spelling.", err=True)
            raise typer.Exit(exit_codes.NOT_KNOWN)
    if as_json:
        echo(json.dumps({"sku": sku} | lines_view.queue_json(queue), default=str, ensure_ascii=False))
        return
    if queue.lines:
        tables.console().print(lines_view.queue_table(sku, queue))
    echo(lines_view.queue_sentence(sku, queue))


def _print_queues(queues: Sequence[SkuQueue], count: int, *, as_json: bool) -> None:
    if as_json:
        echo(json.dumps(lines_view.queues_json(queues, count), ensure_ascii=False))
    elif queues:
        tables.console().print(lines_view.queues_table(queues, count))
    else:
        echo("No line waits for stock.")


def _undecided_now(lines: Sequence[LineKey], now: LinesNow) -> tuple[Sequence[WaitingLine], Sequence[HeldLine]]:
    return now.waiting(lines), now.held(lines)


class _StockNow(NamedTuple):
    """What the database tells of a SKU: its queue, and what has become of the allocated parts of batches."""

    queue: LineQueue
    use: lines_view.Use


def _stock_now(sku: str, batches: Sequence[BatchView], now: LinesNow) -> _StockNow:
    return _StockNow(now.queue(sku, 0), now.use([batch.reference for batch in batches]))


def _ask(settings: Settings, ask: Callable[[LinesNow], T]) -> T | None:
    """Ask the database for what the read model lacks. Return None if it cannot be asked, and say so."""
    try:
        with wiring.lines_now(settings) as now:
            return ask(now)
    except StoreError as error:
        echo(f"The database cannot be asked which lines wait, are held or were shipped: {error}", err=True)
        return None


def _open() -> tuple[Settings, "RedisViews", Freshness]:
    """Return the views, and their age before they are read: what is read then is no older."""
    settings = load_settings("show", quiet=True)
    views = wiring.views(settings)
    return settings, views, wiring.freshness(settings, views)


def _unknown(what: str, freshness: Freshness, *, explain: str | None = None) -> None:
    """Say that nothing is known, and no more: what the read model lacks may have been decided all the same."""
    hint = f" `allocation-worker explain {explain}` asks the database." if explain else ""
    echo(f"Nothing is known of {what}. {freshness.sentence()}{hint}", err=True)
    raise typer.Exit(exit_codes.NOT_KNOWN)


def _line(line: LineView) -> dict[str, Any]:
    values = line._asdict()
    del values["orderid"]
    return values


def _undecided(now: tuple[Sequence[WaitingLine], Sequence[HeldLine]] | None) -> dict[str, Any]:
    waiting, held = now or (None, None)
    return {
        "waiting": waiting and [lines_view.waiting_json(line) for line in waiting],
        "held": held and [lines_view.held_json(line) for line in held],
    }


def _batch(batch: BatchView, now: _StockNow | None) -> dict[str, Any]:
    use = now.use.get(batch.reference) if now else None
    return {
        "batchref": batch.reference,
        "purchased": batch.purchased,
        "allocated": batch.allocated,
        "held": use and use.held,
        "held_lines": use and use.holds,
        "shipped": use and use.shipped,
        "available": batch.available,
        "eta": batch.eta,
    }


def _queue(now: _StockNow | None) -> dict[str, Any]:
    queue = now and lines_view.queue_json(now.queue)
    return {name: queue and queue[name] for name in ("waiting_lines", "waiting_qty", "waiting_since")}


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


def _print_stock(title: str, sku: str, batches: Sequence[BatchView], now: _StockNow | None) -> None:
    header = ["batch", "ETA", "purchased", "allocated", *(("held", "shipped") if now else ()), "available"]
    rows = [
        (batch.reference, _eta(batch), batch.purchased, batch.allocated, *_parts(batch, now), batch.available)
        for batch in batches
    ]
    _print_table(title, header, rows)
    if now:
        echo(lines_view.queue_sentence(sku, now.queue))
        echo(lines_view.holds_sentence(now.use))


def _parts(batch: BatchView, now: _StockNow | None) -> tuple[object, ...]:
    if now is None:
        return ()
    use = now.use.get(batch.reference)
    return (use.held, use.shipped) if use else ("", "")  # it was pruned, and the read model has not been built anew


def _print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    tables.console().print(tables.table(title, header, rows))


def _eta(view: LineView | BatchView) -> str:
    if isinstance(view, LineView) and view.batchref is None:
        return ""
    return view.eta.isoformat() if view.eta else "in the warehouse"
