"""The verbs `dead-letters list`, `show`, `redrive` and `discard`."""

import json
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated

import typer

from allocation_worker.adapters.rabbitmq.dead_letter import HeldDeadLetter
from allocation_worker.bootstrap import dead_letters as wiring
from allocation_worker.cli import dead_letter_views as views
from allocation_worker.cli import exit_codes
from allocation_worker.cli.dead_letter_selection import Error, Everything, Found, Ids, MessageIds, Reason, selection
from allocation_worker.cli.loading import load_settings
from allocation_worker.cli.output import echo
from allocation_worker.cli.progress import progress
from allocation_worker.cli.streams import reporting, tell
from allocation_worker.config import Settings
from allocation_worker.service_layer.dead_letters import By, Selection, discard, grouped
from allocation_worker.service_layer.wording import counted

_COUNTED = "dead letters"

verbs = typer.Typer(
    no_args_is_help=True,
    help="List dead letters, send them again, or discard them.",
    epilog="Example: allocation-worker dead-letters list",
)

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


@verbs.command("list", epilog="Example: allocation-worker dead-letters list --reason handler-failed")
def list_letters(
    *,
    reason: Reason = None,
    exception: Error = None,
    message_id: MessageIds = None,
    by: Annotated[By | None, typer.Option(help="Count them by this. Default: by reason, if none are selected.")] = None,
    as_json: AsJson = False,
) -> None:
    """Count the dead letters by reason, exception or message_id, or list the selected ones."""
    meant = Selection(reason=reason, exception=exception, message_ids=frozenset(message_id or ()))
    loaded = load_settings("dead-letters", quiet=True)
    if by is None and meant.narrows:
        _list(loaded, meant, as_json=as_json)
    else:
        _count(loaded, meant if meant.narrows else Selection(everything=True), by or By.REASON, as_json=as_json)


def _list(loaded: Settings, meant: Selection, *, as_json: bool) -> None:
    found = 0
    with progress(_COUNTED) as telling, wiring.hold_dead_letters(loaded, telling.tell) as letters:
        for letter in letters:
            if letter in meant:
                found += 1
                telling.echo(views.letter_json(letter) if as_json else views.letter_line(letter))
    if not found and not as_json:
        echo(f"There are no dead letters {_described(meant)}; `list` without options counts all.")


def _described(meant: Selection) -> str:
    said = [
        f"of the reason {meant.reason!r}" if meant.reason is not None else "",
        f"with the exception {meant.exception!r}" if meant.exception is not None else "",
        f"with the message_id {' or '.join(map(repr, sorted(meant.message_ids)))}" if meant.message_ids else "",
    ]
    return " and ".join(filter(None, said))


def _count(loaded: Settings, meant: Selection, by: By, *, as_json: bool) -> None:
    with progress(_COUNTED) as telling, wiring.hold_dead_letters(loaded, telling.tell) as letters:
        groups = grouped((letter for letter in letters if letter in meant), by)
    if as_json:
        for group in groups:
            echo(views.group_json(group, by))
    elif groups:
        echo("\n".join(views.group_lines(groups, by)))
    else:
        echo(f"There are no dead letters {_described(meant)}".rstrip() + ".")


@verbs.command(epilog="Example: allocation-worker dead-letters show 3f8a90c41b77")
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `list --reason` shows it.")], *, as_json: AsJson = False
) -> None:
    """Show one dead letter in full, with the next step."""
    loaded = load_settings("dead-letters", quiet=True)
    meant = Selection(ids=frozenset({id_}))
    found, count = Found(meant), 0
    with progress(_COUNTED) as telling, wiring.hold_dead_letters(loaded, telling.tell) as letters:
        for letter in letters:
            if letter not in meant:
                continue
            found.note(letter)
            count += 1
            if count == 1:
                telling.echo(views.letter_json(letter, whole=True) if as_json else "\n".join(views.story(letter)))
    if count > 1 and not as_json:
        echo(f"\nThere are {count:,} identical dead letters with this id.")
    found.require()


@verbs.command(epilog="Example: allocation-worker dead-letters redrive --reason handler-failed --dry-run")
def redrive(
    ids: Ids = None,
    *,
    reason: Reason = None,
    exception: Error = None,
    message_id: MessageIds = None,
    everything: Everything = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only show what would happen to each, taken alone.")
    ] = False,
    even_if_forgotten: Annotated[
        bool,
        typer.Option("--even-if-forgotten", help="Also those whose message_id the inbox may have forgotten."),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Send dead letters as commands again; exit 4 if any was not sent."""
    meant = selection(ids, reason, exception, message_id, everything=everything)
    loaded = load_settings("dead-letters", quiet=True)
    if dry_run:
        _dry_run(loaded, meant, even_if_forgotten=even_if_forgotten, as_json=as_json)
        return
    found = Found(meant)
    counts: Counter[bool] = Counter()
    with (
        reporting(lambda: f"{counts[True]:,} redriven so far."),
        progress(_COUNTED) as telling,
        wiring.redrive_dead_letters(loaded, telling.tell, even_if_forgotten=even_if_forgotten) as redriving,
    ):
        for letter, objection in redriving.run(meant):
            found.note(letter)
            counts[objection is None] += 1
            if objection is not None:
                stays = json.dumps({"id": letter.id, "stays": objection})
                telling.echo(stays if as_json else f"{letter.id} stays: {objection}")
    done = f"{counts[True]:,} redriven, {counts[False]:,} left."
    tell(json.dumps({"redriven": counts[True], "left": counts[False]}) if as_json else done, done=done)
    found.require()
    if counts[False]:
        raise typer.Exit(exit_codes.FINDINGS)


def _dry_run(loaded: Settings, meant: Selection, *, even_if_forgotten: bool, as_json: bool) -> None:
    found = Found(meant)
    with (
        wiring.dry_run_redrive(loaded, even_if_forgotten=even_if_forgotten) as outcome_of,
        progress(_COUNTED) as telling,
        wiring.hold_dead_letters(loaded, telling.tell) as letters,
    ):
        for letter in letters:
            if letter in meant:
                found.note(letter)
                outcome = views.plain(outcome_of(letter))
                telling.echo(json.dumps({"id": letter.id, "outcome": outcome}) if as_json else f"{letter.id} {outcome}")
    found.require()


@verbs.command("discard", epilog="Example: allocation-worker dead-letters discard --reason invalid-json")
def discard_letters(
    ids: Ids = None,
    *,
    reason: Reason = None,
    exception: Error = None,
    message_id: MessageIds = None,
    everything: Everything = False,
    save: Annotated[
        Path | None,
        typer.Option(help="Write them to this new file first, with body and headers, as `show --json` does."),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete dead letters."""
    meant = selection(ids, reason, exception, message_id, everything=everything)
    if save is not None and save.exists():
        raise typer.BadParameter(f"{save} exists already; name a new file.")
    loaded = load_settings("dead-letters", quiet=True)
    if not yes:
        meant = _confirmed(loaded, meant, as_json=as_json)
    found, count = Found(meant), 0
    with (
        nullcontext() if save is None else wiring.archive(save) as append,
        progress(_COUNTED) as telling,
        wiring.hold_dead_letters(loaded, telling.tell) as letters,
    ):
        for letter in discard(letters, meant, append and _saving(append)):
            found.note(letter)
            count += 1
    _tell_discarded(count, save, as_json=as_json)
    found.require()


def _saving(append: Callable[[Sequence[str]], None]) -> Callable[[Sequence[HeldDeadLetter]], None]:
    return lambda letters: append([views.letter_json(letter, whole=True) for letter in letters])


def _tell_discarded(count: int, saved: Path | None, *, as_json: bool) -> None:
    done = f"{count:,} discarded." if saved is None else f"{count:,} written to {saved}, then discarded."
    told = json.dumps({"discarded": count} | ({} if saved is None else {"saved": str(saved)}))
    tell(told if as_json else done, done=done)


def _confirmed(loaded: Settings, meant: Selection, *, as_json: bool) -> Selection:
    """Return the selection once the operator has agreed to its count; later arrivals are not part of it."""
    counts: Counter[str] = Counter()
    found = Found(meant)
    with progress(_COUNTED) as telling, wiring.hold_dead_letters(loaded, telling.tell) as letters:
        for letter in letters:
            if letter in meant:
                counts[letter.reason] += 1
                found.note(letter)
    found.require()
    if not found.ids:
        if as_json:
            _tell_discarded(0, None, as_json=True)
        else:
            echo("There is nothing to discard.")
        raise typer.Exit
    reasons = ", ".join(f"{count:,} {views.plain(reason)}" for reason, count in counts.most_common())
    typer.confirm(f"Discard {counted(counts.total(), 'dead letter')} ({reasons})?", abort=True, err=as_json)
    return Selection(ids=frozenset(found.ids))
