"""The verb `project`."""

import json
from typing import Annotated

import typer

from allocation_worker.bootstrap import project as wiring
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.streams import tell
from allocation_worker.service_layer.wording import counted

verbs = typer.Typer()


@verbs.command(epilog="Example: ALLOCATION_REDIS_URL=redis://cache:6379/0 allocation-worker project")
def project(
    *,
    rebuild: Annotated[
        bool,
        typer.Option("--rebuild", help="Build a new read model beside the current one, switch to it, and exit."),
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="With --rebuild, print one JSON object.")] = False,
) -> None:
    """Update the read model in Redis, until SIGTERM or Ctrl-C; run two, one of them on standby."""
    if rebuild:
        skus = wiring.rebuild(load_settings("project"))
        done = f"The read model was rebuilt: {counted(skus, 'SKU')}."
        tell(json.dumps({"skus": skus}) if as_json else done, done=done)
    else:
        wiring.project(load_settings("project"))
