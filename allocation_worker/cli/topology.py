"""The verb `topology`."""

import json
from typing import Annotated

import typer

from allocation_worker.bootstrap import topology as wiring
from allocation_worker.cli import exit_codes
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.output import echo
from allocation_worker.cli.streams import tell
from allocation_worker.config import Settings

verbs = typer.Typer()


@verbs.command(epilog="Example: ALLOCATION_AMQP_URL=amqp://me:secret@broker/shop allocation-worker topology")
def topology(
    *,
    check: Annotated[
        bool,
        typer.Option("--check", help="Check that all exchanges and queues exist, and change nothing; exit 4 if not."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Declare exchanges, queues and bindings; safe to repeat."""
    if check:
        _check(load_settings("topology", quiet=True), as_json=as_json)
        return
    loaded = load_settings("topology")
    wiring.declare_topology(loaded)
    outdated = wiring.outdated_queues(loaded)
    done = "All exchanges, queues and bindings exist."
    if as_json:
        tell(json.dumps({"outdated": outdated}), done=done)
        return
    tell(done, done=done)
    for queue, messages in outdated.items():
        tell(
            f"The queue {queue} is no longer used, and holds {messages} messages. Once no older version of the "
            f"worker runs and it is empty, delete it: rabbitmqctl delete_queue {queue} --if-empty",
            done=done,
        )


def _check(loaded: Settings, *, as_json: bool) -> None:
    missing = wiring.check_topology(loaded)
    if as_json:
        echo(json.dumps({"missing": missing}))
    else:
        echo(missing or "All exchanges and queues exist.", err=missing is not None)
    if missing is not None:
        raise typer.Exit(exit_codes.FINDINGS)
