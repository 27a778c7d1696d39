"""The verb `explain`."""

import json
from typing import Annotated

import typer

from allocation_worker.adapters.rabbitmq.dead_letter import HeldDeadLetter
from allocation_worker.bootstrap import explain as wiring
from allocation_worker.cli import dead_letter_views, exit_codes, story_view
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.output import echo
from allocation_worker.config import Settings

verbs = typer.Typer()


@verbs.command(epilog="Example: allocation-worker explain order-17/1")
def explain(
    message_id: Annotated[str | None, typer.Argument(help="The command's message_id.")] = None,
    *,
    order: Annotated[str | None, typer.Option(help="List all events about this order instead.")] = None,
    sku: Annotated[str | None, typer.Option(help="List all events about this SKU instead.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Explain the outcome of a command: when it arrived, the batches it passed over, its events, its dead letters."""
    if (message_id is None) == (order is None and sku is None):
        raise typer.BadParameter("give a message_id, or --order, or --sku.")
    settings = load_settings("explain", quiet=True)
    if message_id is None:
        _explain_about(settings, order, sku, as_json=as_json)
    else:
        _explain_command(settings, message_id, as_json=as_json)


def _explain_command(settings: Settings, message_id: str, *, as_json: bool) -> None:
    story = wiring.explain(settings, message_id)
    letters = wiring.dead_letters(settings, lambda letter: letter.properties.message_id == message_id)
    if story is None and not letters:
        echo(_nothing_known(settings, message_id, looked=letters is not None), err=True)
        raise typer.Exit(exit_codes.NOT_KNOWN)
    if as_json:
        told = story_view.as_json(story) if story else {"message_id": message_id}
        echo(json.dumps(told | _letters_json(letters), ensure_ascii=False))
        return
    if story:
        story_view.print_story(story)
    else:
        echo(f"{message_id}: it is a dead letter, and had no effect.")
    _print_letters(letters)


def _explain_about(settings: Settings, order: str | None, sku: str | None, *, as_json: bool) -> None:
    events = wiring.events_about(settings, orderid=order, sku=sku)
    letters = wiring.dead_letters(settings, lambda letter: wiring.names(letter, orderid=order, sku=sku))
    named = [("order", order), ("SKU", sku)]
    subject = " and ".join(f"{kind} {name}" for kind, name in named if name is not None)
    if not events.last and not letters:
        where = "the history" if letters is None else "the history and the dead letters"
        echo(f"Nothing in {where} is about {subject}.{'' if letters is not None else _NOT_LOOKED}", err=True)
        raise typer.Exit(exit_codes.NOT_KNOWN)
    if as_json:
        told = {"orderid": order, "sku": sku} | story_view.events_as_json(events)
        echo(json.dumps(told | _letters_json(letters), ensure_ascii=False))
        return
    if events.last:
        story_view.print_events_about(subject, events)
    _print_letters(letters)
    if letters is None:
        echo(_NOT_LOOKED.strip(), err=True)


_NOT_LOOKED = " The dead letters cannot be read now, or are too many; see `allocation-worker dead-letters list`."


def _letters_json(letters: list[HeldDeadLetter] | None) -> dict[str, object]:
    found = None if letters is None else [json.loads(dead_letter_views.letter_json(letter)) for letter in letters]
    return {"dead_letters": found}


def _print_letters(letters: list[HeldDeadLetter] | None) -> None:
    if letters:
        echo("Dead letters; `allocation-worker dead-letters show ID` says what to do:")
        for letter in letters:
            echo(f"  {dead_letter_views.letter_line(letter)}")


def _nothing_known(settings: Settings, message_id: str, *, looked: bool) -> str:
    sentence = (
        f"Nothing is stored under the message_id {message_id!r}: it was never sent, it waits in a queue or for a "
        f"retry, {'' if looked else 'it is a dead letter, '}or it is older than the history"
    )
    waiting = wiring.waiting_messages(settings)
    if waiting is None:
        return f"{sentence} (the broker cannot be asked now)."
    counts = ", ".join(f"{queue} {count}" for queue, count in waiting.items() if count)
    return f"{sentence} (messages that wait now: {counts or 'none'})."
