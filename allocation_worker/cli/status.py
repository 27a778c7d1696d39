"""The verb `status`."""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Group
from rich.live import Live

from allocation_worker.bootstrap.status import StatusReader
from allocation_worker.cli import exit_codes, tables
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.output import cell, echo
from allocation_worker.service_layer.status import Finding, Lines, Status, findings
from allocation_worker.service_layer.wording import counted

_EVERY = 2.0
"""Seconds between two looks of `--watch`."""

verbs = typer.Typer()


@verbs.command(epilog="Example: allocation-worker status --watch")
def status(
    *,
    watch: Annotated[bool, typer.Option("--watch", help="Look again every two seconds, until Ctrl-C.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Exit 4 if something is wrong, 69 if a server is away.")
    ] = False,
    stuck_after: Annotated[
        float,
        typer.Option(
            min=0, help="Seconds after which an event that is not published counts as stuck, and a hold as overdue."
        ),
    ] = 60,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON, one object each time.")] = False,
) -> None:
    """Show queues, processes, waiting events and dead letters on one screen, and what is wrong."""
    with closing(StatusReader(load_settings("status", quiet=True))) as reader:
        if watch:
            _watch(reader, stuck_after, as_json=as_json)
            return
        seen = reader.read()
    found = list(findings(seen, stuck_after=stuck_after))
    if as_json:
        echo(_json(seen, found))
    else:
        tables.console().print(_screen(seen, found))
    if check and found:
        away = {"broker", "database"} & {each.kind for each in found}
        raise typer.Exit(exit_codes.UNAVAILABLE if away else exit_codes.FINDINGS)


def _watch(reader: StatusReader, stuck_after: float, *, as_json: bool) -> None:
    with Live(console=tables.console(), screen=not as_json, auto_refresh=False) as live:
        for seen in reader.watch(_EVERY):
            found = list(findings(seen, stuck_after=stuck_after))
            if as_json:
                echo(_json(seen, found))
            else:
                live.update(_screen(seen, found), refresh=True)


def _json(seen: Status, found: Sequence[Finding]) -> str:
    return json.dumps(asdict(seen) | {"findings": [asdict(each) for each in found]})


def _screen(seen: Status, found: Sequence[Finding]) -> Group:
    return Group(*map(cell, _lines(seen, found)))


def _lines(seen: Status, found: Sequence[Finding]) -> Iterator[str]:
    # First, since a terminal shows as much as it has lines for.
    yield "Nothing is wrong." if not found else "What is wrong"
    yield from (f"  {each.sentence}" for each in found)
    yield "Queues" if seen.queues else "Queues: unknown"
    for queue in seen.queues:
        if not queue.exists:
            yield f"  {queue.name:<36} missing"
        elif queue.kind != "retry" or queue.messages:
            messages = counted(queue.messages, "message ", "messages")
            yield f"  {queue.name:<36} {messages:>18} {counted(queue.consumers, 'consumer ', 'consumers'):>13}".rstrip()
    if seen.policies is None and seen.queues:
        yield "Policies of the broker: not seen (no ALLOCATION_MANAGEMENT_URL)"
    if seen.dead_letters:
        yield "Dead letters"
        yield from (f"  {reason:<36} {count:>9,}" for reason, count in sorted(seen.dead_letters.items()))
    if seen.backlog is not None:
        yield "Processes connected to the database" if seen.processes else "Processes connected to the database: none"
        for process in seen.processes:
            sessions = f"{process.sessions:>9} {'session' if process.sessions == 1 else 'sessions'}"
            yield f"  {process.verb:<36} {sessions}, for {_age(process.seconds)}"
        oldest = seen.backlog.oldest
        yield f"Oldest event to be published: {'none' if oldest is None else _age(oldest)}"
        for type_, count in seen.backlog.unrouted.items():
            yield f"No queue wants {type_}: {counted(count, 'event is', 'events are')} kept"
    if seen.lines is not None:
        yield from _of_lines(seen.lines)


def _of_lines(lines: Lines) -> Iterator[str]:
    if lines.waiting:
        since = "" if lines.longest_wait is None else f", the first for {tables.duration(lines.longest_wait)}"
        yield f"Lines that wait for stock: {lines.waiting:,}{since}"
    if lines.held:
        overdue = ""
        if lines.most_overdue is not None:
            overdue = f", {lines.overdue:,} of them overdue, the first for {tables.duration(lines.most_overdue)}"
        yield f"Lines that are held: {lines.held:,}{overdue}"


def _age(seconds: float | None) -> str:
    return "unknown (only members of pg_monitor see it)" if seconds is None else tables.duration(seconds)
