"""`python -m tests.simulation`: runs many simulations, or one step by step; `make simulate` calls it."""

from collections.abc import Iterable
from itertools import islice
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import track

from tests.simulation.faults import Outcome
from tests.simulation.runs import SMALL, Ended, Small, by_seed, every_schedule, planned
from tests.simulation.seams import simulated

app = typer.Typer(add_completion=False)
console = Console(width=200, highlight=False)


@app.command(epilog="Example: make simulate SEED=123")
def main(
    seed: Annotated[int | None, typer.Option(help="Tell this run step by step.")] = None,
    seeds: Annotated[int, typer.Option(help="How many random runs.")] = 2000,
    first: Annotated[int, typer.Option(help="The first of their seeds.")] = 0,
    faults: Annotated[int, typer.Option(help="The most faults in the schedules of the small histories.")] = 2,
    history: Annotated[str, typer.Option(help="Tell a run of this small history, such as shrink:1.")] = "",
    plan: Annotated[str, typer.Option(help="Its faults, such as 12=CRASH_AFTER,40=ERROR_BEFORE.")] = "",
) -> None:
    """Run the consumer and the relay in a simulated world, and judge what came of it; exit 1 on any fault."""
    if history or seed is not None:
        with simulated(with_logs=True):
            try:
                ended = by_seed(seed, trace=True) if seed is not None else _planned(history, plan)
            except LookupError as error:
                raise typer.BadParameter(str(error)) from error
        typer.echo(str(ended))
        raise typer.Exit(bool(ended.faults))
    with simulated():
        bad = _run(f"{seeds} random runs from {first}", map(by_seed, range(first, first + seeds)))
        for small in SMALL:
            bad += _run(f"{small}, up to {faults} faults", every_schedule(small, most=faults))
    raise typer.Exit(bool(bad))


def _run(what: str, runs: Iterable[Ended]) -> int:
    count = bad = steps = 0
    for ended in track(runs, description=what, console=console, transient=True):
        count += 1
        steps += ended.steps
        if ended.faults:
            bad += 1
            console.print(ended, markup=False)
    console.print(f"{what}: {count} runs, {steps} steps, {bad} bad")
    return bad


def _planned(history: str, plan: str) -> Ended:
    return planned(_small(history), _plan(plan), trace=True)


def _small(words: str) -> Small:
    small = next(islice((each for each in SMALL if str(each) == words), 1), None)
    if small is None:
        raise typer.BadParameter(f"There is no small history {words!r}; there are {', '.join(map(str, SMALL))}.")
    return small


def _plan(words: str) -> dict[int, Outcome]:
    try:
        pairs = [part.split("=") for part in words.split(",") if part]
        return {int(position): Outcome[name] for position, name in pairs}
    except (ValueError, KeyError):
        raise typer.BadParameter(f"The plan {words!r} is not like 12=CRASH_AFTER,40=ERROR_BEFORE.") from None


if __name__ == "__main__":
    app()
