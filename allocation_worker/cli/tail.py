"""The verb `tail`."""

import select
import sys
from contextlib import closing
from typing import Annotated

import typer

from allocation_contracts.printable import printable
from allocation_worker.bootstrap import tail as wiring
from allocation_worker.cli import event_lines
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.output import echo
from allocation_worker.cli.streams import discard

verbs = typer.Typer()


@verbs.command(epilog="Example: allocation-worker tail --type allocated --type out-of-stock --sku RED-CHAIR")
def tail(
    *,
    type_: Annotated[
        list[str] | None, typer.Option("--type", help="Only these events, such as allocated; may be repeated.")
    ] = None,
    order: Annotated[str | None, typer.Option(help="Only events of this order.")] = None,
    sku: Annotated[str | None, typer.Option(help="Only events of this SKU.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")] = False,
) -> None:
    """Show events as they are published, until SIGTERM or Ctrl-C; other subscribers are not affected."""
    names = [name.removesuffix(".v1") for name in type_ or []]
    if unknown := set(names) - set(wiring.EVENT_NAMES):
        raise typer.BadParameter(
            f"there is no event {', '.join(sorted(unknown))}; take {', '.join(wiring.EVENT_NAMES)}."
        )
    show = event_lines.as_json if as_json else event_lines.as_text
    events = wiring.tail(
        load_settings("tail", quiet=True),
        names,
        on_listening=lambda: echo("Listening; Ctrl-C ends it.", err=True),
        on_lost=lambda: echo("The broker is gone; events are missed until it is back.", err=True),
    )
    try:
        with closing(events):
            for event in events:
                if event is None:
                    _stop_if_nobody_reads()
                elif event_lines.concerns(event, order=order, sku=sku):
                    print(printable(show(event)), flush=True)  # noqa: T201 - typer.echo would hide a broken pipe
    except BrokenPipeError:
        discard(sys.stdout)


def _stop_if_nobody_reads() -> None:
    """Raise BrokenPipeError if the reader of stdout has gone, as in `tail | head`."""
    looking = select.poll()
    looking.register(sys.stdout.fileno(), 0)
    if any(state & (select.POLLERR | select.POLLNVAL) for _, state in looking.poll(0)):
        raise BrokenPipeError
