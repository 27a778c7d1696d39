"""The verb `topology`."""

import json
from dataclasses import asdict
from typing import Annotated

import typer

from allocation_worker.bootstrap import topology as wiring
from allocation_worker.cli import exit_codes
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.output import echo
from allocation_worker.cli.streams import tell
from allocation_worker.config import Settings
from allocation_worker.service_layer.wording import counted

verbs = typer.Typer()


@verbs.command(epilog="Example: ALLOCATION_AMQP_URL=amqp://me:secret@broker/shop allocation-worker topology")
def topology(
    *,
    check: Annotated[
        bool,
        typer.Option(
            "--check",
            help="Check exchanges, queues and their arguments, and by the management API bindings and policies; change "
            "nothing; exit 4 if something is wrong.",
        ),
    ] = False,
    replace: Annotated[
        str | None,
        typer.Option(
            metavar="QUEUE",
            help="Move this queue, while the service runs, to one with the arguments that this version needs. Can be "
            "interrupted, and run again.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Declare exchanges, queues, bindings and our policy; safe to repeat."""
    if check and replace is not None:
        raise typer.BadParameter("take either --check or --replace")
    if check:
        _check(load_settings("topology", quiet=True), as_json=as_json)
        return
    loaded = load_settings("topology")
    if replace is not None:
        _replace(loaded, replace, as_json=as_json)
        return
    wiring.declare_topology(loaded)
    command = wiring.set_policy(loaded)
    outdated = wiring.outdated_queues(loaded)
    done = "All exchanges, queues and bindings exist."
    if as_json:
        tell(json.dumps({"outdated": outdated, "policy": command}), done=done)
        return
    tell(done, done=done)
    if command is not None:
        tell(
            "A policy of the virtual host can still make messages vanish, and AMQP cannot prevent it. Set "
            f"ALLOCATION_MANAGEMENT_URL and run this again, or run: {command}",
            done=done,
        )
    for queue, messages in outdated.items():
        # `--if-empty` is not to be had for quorum queues.
        tell(
            f"The queue {queue} is no longer used, and holds {counted(messages, 'message')}. Once no older version of "
            f"the worker runs and it is empty, delete it: rabbitmqctl delete_queue {queue}",
            done=done,
        )


def _check(loaded: Settings, *, as_json: bool) -> None:
    report = wiring.check_topology(loaded)
    missing = next((each.sentence for each in report.findings if each.kind == "missing"), None)
    if as_json:
        findings = [asdict(each) for each in report.findings]
        echo(json.dumps({"missing": missing, "findings": findings, "unseen": list(report.unseen)}))
    else:
        for each in report.findings:
            echo(each.sentence, err=True)
        if not report.findings:
            echo("All exchanges and queues are as they are to be.")
        for sentence in report.unseen:
            echo(sentence)
    if report.findings:
        raise typer.Exit(exit_codes.FINDINGS)


def _replace(loaded: Settings, queue: str, *, as_json: bool) -> None:
    known = wiring.replaceable_queues(loaded)
    if queue not in known:
        raise typer.BadParameter(f"{queue} is none of the worker's queues, which are {', '.join(known)}")
    moved = wiring.replace_queue(loaded, queue, on_progress=lambda sentence: echo(sentence, err=True))
    if as_json:
        echo(json.dumps({"queue": queue, "replaced": moved is not None, "moved": moved or 0}))
    elif moved is None:
        echo(f"The queue {queue} has the right arguments already.")
    else:
        echo(f"The queue {queue} is replaced; {counted(moved, 'message was', 'messages were')} moved.")
