"""Prints what a verb has to say. Whatever comes from outside is escaped here, and nowhere before."""

import typer
from rich.text import Text

from allocation_contracts.printable import printable


def echo(text: str, *, err: bool = False) -> None:
    """Print lines of text or of JSON, with every character escaped that is not printable.

    Args:
        text: One line or several.
        err: Whether to print to stderr.
    """
    typer.echo(lines(text), err=err)


def lines(text: str) -> str:
    """Return lines as they can be printed."""
    return printable(text, keep="\n")


def cell(value: object) -> Text:
    """Return a value as rich can print it on one line; a text may look like rich's markup."""
    return Text(printable(str(value)))
