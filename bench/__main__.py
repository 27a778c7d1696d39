"""The command line of the benchmarks: `python -m bench`, or `python -m bench profile`. QUICK=1 takes two minutes.

PEERS=1 adds the programs that a user would pick instead, in an environment of their own: `make bench PEERS=1`.
"""

import os
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from allocation_worker import logs
from allocation_worker.testing.servers import NoServersError, Servers, start_servers
from bench import bad_messages, lapsing, large, measured, others, plain_allocate, pruning, report, small_batch, written
from bench.peers.row import peers
from bench.processor_time import processor_time
from bench.profiling import profile as run_profile
from bench.progress import ProgressBar
from bench.results import Result
from bench.throughput import Throughput

RESULTS = Path(__file__).parent / "results"
COMMANDS = 20_000
NAMED_ONLY = ("prune",)
"""Rows that take minutes, and are measured only if they are named."""

app = typer.Typer(add_completion=False, help="Measures the worker beside a bare loop that does the same by hand.")

Row = Callable[[], Result | None]


def _rows(servers: Servers, shown: ProgressBar, *, quick: bool) -> Iterator[tuple[str, Row]]:
    repeats, count = (1, COMMANDS // 2) if quick else (3, COMMANDS)
    throughput = Throughput(servers, shown, repeats=repeats, count=count)
    yield "spread", throughput.spread
    yield "one-sku", throughput.one_sku
    yield "mixed", throughput.mixed
    if _is_set("PEERS"):
        yield "peers", partial(peers, servers, shown, repeats=repeats, count=count)
    if quick:
        return
    yield "history", throughput.with_history
    yield "shrink", partial(large.shrink, servers, shown)
    yield "serve", partial(large.serve, servers, shown)
    yield "later-ship", partial(large.later_ship, servers, shown)
    yield "too-late", partial(large.too_late, servers, shown)
    yield "small-batch", partial(small_batch.small_batch, servers, shown)
    yield "lapsing", partial(lapsing.lapsing, servers, shown)
    yield "retail", throughput.retail
    yield "kill", partial(bad_messages.after_a_kill, servers, shown)
    yield "bad-message", partial(bad_messages.one_bad_message, servers, shown)
    yield "latency", partial(others.latency, servers, shown)
    yield "memory", partial(others.memory, servers, shown)
    yield "written", partial(written.written, servers, shown)
    yield "processor-time", partial(processor_time, servers, shown, repeats=repeats, count=2 * count)
    yield "plain-allocate", partial(plain_allocate.plain_allocate, servers, shown, repeats=4 * repeats, count=2 * count)
    yield "measured", partial(measured.measured, servers, shown, repeats=repeats, count=2 * count)
    yield "consumers", throughput.consumers
    yield "prune", partial(pruning.prune, servers, shown)


def _is_set(switch: str) -> bool:
    return os.environ.get(switch, "") not in {"", "0"}


@app.callback(invoke_without_command=True)
def main(
    context: typer.Context,
    only: Annotated[list[str] | None, typer.Option(help="A row by name, such as spread; may be repeated.")] = None,
) -> None:
    """Measure every row, print the table, write bench/results/."""
    logs.configure("warning")
    if context.invoked_subcommand:
        return
    quick = _is_set("QUICK")
    console = Console(width=None if sys.stdout.isatty() else 160)
    results = []
    with ProgressBar(console) as shown, start_servers() as servers:
        for name, row in _rows(servers, shown, quick=quick):
            if name in only if only else name not in NAMED_ONLY:
                if found := row():
                    results.append(found)
                servers.broker.remove_made()
    report.table(console, results)
    for file in report.write(results, RESULTS, "-".join(only) if only else "quick" if quick else "full"):
        console.print(f"written: {file}")


@app.command()
def profile() -> None:
    """Run the first row under py-spy and pg_stat_statements, and print where the time goes."""
    run_profile(RESULTS)


if __name__ == "__main__":
    try:
        app()
    except NoServersError as error:
        sys.exit(str(error))
