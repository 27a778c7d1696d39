"""The verbs `dead-letters list`, `show`, `redrive` and `discard`."""

import json
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from allocation_worker.bootstrap import dead_letters as wiring
from allocation_worker.cli import dead_letter_views as views
from allocation_worker.cli import exit_codes
from allocation_worker.cli.loading import load_settings
from allocation_worker.config import Settings
from allocation_worker.service_layer.dead_letters import Selection, by_reason, discard

verbs = typer.Typer(
    no_args_is_help=True,
    help="List dead letters, send them again, or discard them.",
    epilog="Example: allocation-worker dead-letters list",
)

Ids = Annotated[list[str] | None, typer.Argument(help="The ids, as `list --reason` shows them.", metavar="ID")]
Reason = Annotated[str | None, typer.Option(help="All dead letters of this reason, such as invalid-json.")]
Everything = Annotated[bool, typer.Option("--all", help="All dead letters.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, one object per line.")]


@verbs.command("list", epilog="Example: allocation-worker dead-letters list --reason handler-failed")
def list_letters(
    *,
    reason: Annotated[str | None, typer.Option(help="List the dead letters of this reason.")] = None,
    as_json: AsJson = False,
) -> None:
    """Count the dead letters by reason, or list those of one reason."""
    with (
        _progress() as on_progress,
        wiring.hold_dead_letters(load_settings("dead-letters", quiet=True), on_progress) as letters,
    ):
        if reason is None:
            groups = by_reason(letters)
        else:
            found = 0
            for letter in letters:
                if letter.reason == reason:
                    found += 1
                    typer.echo(views.letter_json(letter) if as_json else views.letter_line(letter))
            if not found and not as_json:
                typer.echo(
                    f"There are no dead letters of the reason {reason!r}; `list` without --reason shows all reasons."
                )
            return
    if as_json:
        for group in groups:
            typer.echo(views.group_json(group))
    elif groups:
        typer.echo("\n".join([views.GROUP_HEADING, *map(views.group_line, groups)]))
    else:
        typer.echo("There are no dead letters.")


@verbs.command(epilog="Example: allocation-worker dead-letters show 3f8a90c41b77")
def show(
    id_: Annotated[str, typer.Argument(metavar="ID", help="As `list --reason` shows it.")], *, as_json: AsJson = False
) -> None:
    """Show one dead letter in full, with the next step."""
    found = 0
    with (
        _progress() as on_progress,
        wiring.hold_dead_letters(load_settings("dead-letters", quiet=True), on_progress) as letters,
    ):
        for letter in letters:
            if letter.id != id_:
                continue
            found += 1
            if found == 1:
                typer.echo(views.letter_json(letter, whole=True) if as_json else "\n".join(views.story(letter)))
    if found > 1 and not as_json:
        typer.echo(f"\nThere are {found:,} identical dead letters with this id.")
    _require({id_}, {id_} if found else set())


@verbs.command(epilog="Example: allocation-worker dead-letters redrive --reason handler-failed --dry-run")
def redrive(
    ids: Ids = None,
    *,
    reason: Reason = None,
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
    selection = _selection(ids, reason, everything=everything)
    if dry_run:
        _dry_run(
            load_settings("dead-letters", quiet=True), selection, even_if_forgotten=even_if_forgotten, as_json=as_json
        )
        return
    found: set[str] = set()
    counts: Counter[bool] = Counter()
    with (
        _progress() as on_progress,
        wiring.redrive_dead_letters(
            load_settings("dead-letters", quiet=True), on_progress, even_if_forgotten=even_if_forgotten
        ) as redriving,
    ):
        for letter, objection in redriving.run(selection):
            found |= selection.ids & {letter.id}
            counts[objection is None] += 1
            if objection is not None:
                stays = json.dumps({"id": letter.id, "stays": objection})
                typer.echo(stays if as_json else f"{letter.id} stays: {objection}")
    totals = json.dumps({"redriven": counts[True], "left": counts[False]})
    typer.echo(totals if as_json else f"{counts[True]:,} redriven, {counts[False]:,} left.")
    _require(selection.ids, found)
    if counts[False]:
        raise typer.Exit(exit_codes.FINDINGS)


@verbs.command("discard", epilog="Example: allocation-worker dead-letters discard --reason invalid-json")
def discard_letters(
    ids: Ids = None,
    *,
    reason: Reason = None,
    everything: Everything = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete dead letters."""
    selection = _selection(ids, reason, everything=everything)
    loaded = load_settings("dead-letters", quiet=True)
    if not yes:
        selection = _confirmed(loaded, selection, as_json=as_json)
    found: set[str] = set()
    count = 0
    with _progress() as on_progress, wiring.hold_dead_letters(loaded, on_progress) as letters:
        for letter in discard(letters, selection):
            found |= selection.ids & {letter.id}
            count += 1
    _tell_discarded(count, as_json=as_json)
    _require(selection.ids, found)


def _tell_discarded(count: int, *, as_json: bool) -> None:
    typer.echo(json.dumps({"discarded": count}) if as_json else f"{count:,} discarded.")


def _dry_run(loaded: Settings, selection: Selection, *, even_if_forgotten: bool, as_json: bool) -> None:
    found: set[str] = set()
    with (
        wiring.dry_run_redrive(loaded, even_if_forgotten=even_if_forgotten) as tell,
        _progress() as on_progress,
        wiring.hold_dead_letters(loaded, on_progress) as letters,
    ):
        for letter in letters:
            if letter in selection:
                found |= selection.ids & {letter.id}
                outcome = views.plain(tell(letter))
                typer.echo(json.dumps({"id": letter.id, "outcome": outcome}) if as_json else f"{letter.id} {outcome}")
    _require(selection.ids, found)


def _confirmed(loaded: Settings, selection: Selection, *, as_json: bool) -> Selection:
    """Return the selection once the operator has agreed to its count; later arrivals are not part of it."""
    counts: Counter[str] = Counter()
    ids = set()
    with _progress() as on_progress, wiring.hold_dead_letters(loaded, on_progress) as letters:
        for letter in letters:
            if letter in selection:
                counts[letter.reason] += 1
                ids.add(letter.id)
    _require(selection.ids, ids)
    if not ids:
        if as_json:
            _tell_discarded(0, as_json=True)
        else:
            typer.echo("There is nothing to discard.")
        raise typer.Exit
    reasons = ", ".join(f"{count:,} {views.plain(reason)}" for reason, count in counts.most_common())
    typer.confirm(f"Discard {counts.total():,} dead letters ({reasons})?", abort=True, err=as_json)
    return Selection(ids=frozenset(ids))


def _selection(ids: list[str] | None, reason: str | None, *, everything: bool) -> Selection:
    if sum((bool(ids), reason is not None, everything)) != 1:
        raise typer.BadParameter("say which dead letters are meant: their ids, or --reason, or --all.")
    return Selection(ids=frozenset(ids or ()), reason=reason, everything=everything)


def _require(wanted: set[str] | frozenset[str], found: set[str]) -> None:
    """Exit with 3 if no dead letter has one of the given ids."""
    missing = sorted(wanted - found)
    if missing:
        names = ", ".join(map(views.plain, missing[:10]))
        typer.echo(
            f"There is no dead letter {names}; `allocation-worker dead-letters list` shows what there is.", err=True
        )
        raise typer.Exit(exit_codes.NOT_KNOWN)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show a progress bar if stderr is a terminal and the work takes a while."""
    console = Console(stderr=True)
    columns = (TextColumn("dead letters"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda seen, total: bar.update(task, completed=seen, total=total)
