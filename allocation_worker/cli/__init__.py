"""The command line. Each process runs one verb; each error is one sentence on stderr."""

import sys
from typing import Annotated

import typer

from allocation_contracts import AllocationError
from allocation_worker import __version__
from allocation_worker.cli import (
    consume,
    dead_letters,
    exit_codes,
    explain,
    health,
    migrate,
    project,
    relay,
    replay,
    restored,
    send,
    settings,
    show,
    status,
    streams,
    tail,
    topology,
    verify,
)
from allocation_worker.cli.output import echo, lines

app = typer.Typer(
    name="allocation-worker",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
    help="Allocates order lines to batches of stock: commands in from RabbitMQ, events out.",
    epilog="Settings come from the environment, such as ALLOCATION_AMQP_URL and ALLOCATION_DATABASE_URL; see README. "
    + exit_codes.IN_HELP,
)
for verb in (
    migrate,
    topology,
    consume,
    relay,
    project,
    verify,
    explain,
    replay,
    restored,
    tail,
    settings,
    health,
    status,
):
    app.add_typer(verb.verbs)
app.add_typer(send.verbs, name="send")
app.add_typer(dead_letters.verbs, name="dead-letters")
app.add_typer(show.verbs, name="show")


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - typer's shape of a callback
    if wanted:
        echo(f"allocation-worker {__version__}")
        raise typer.Exit


@app.callback()
def root(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Allocates order lines to batches of stock: commands in from RabbitMQ, events out."""


def main() -> None:
    """Run the command line, and exit with one of `exit_codes`."""
    streams.prepare()
    try:
        sys.exit(app(standalone_mode=False))
    except typer.TyperException as error:
        sys.stderr.write(lines(_usage(error)))
        sys.exit(exit_codes.USAGE)
    except typer.Abort:
        sys.stderr.write("Nothing was done.\n")
        sys.exit(exit_codes.FAILED)
    except AllocationError as error:
        sys.stderr.write(lines(f"{error}\n"))
        sys.exit(exit_codes.code_of(error))


def _usage(error: typer.TyperException) -> str:
    """Return a usage error as one sentence; an empty text if typer has shown the help instead."""
    told = (
        error.format_message().strip().removeprefix("Invalid value: ").removesuffix(".").replace(": Input", ": input")
    )
    if not told:
        return ""
    context = getattr(error, "ctx", None)
    verb = context.command_path if context else app.info.name
    return f"{verb}: {told[0].lower()}{told[1:]}; see `{verb} --help`.\n"
