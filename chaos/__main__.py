"""The command line of the campaign: `python -m chaos`."""

import argparse
import logging
import secrets
import sys
import time
from pathlib import Path

import structlog
from rich.console import Console
from rich.live import Live
from rich.text import Text

from allocation_worker.testing.servers.programs import ProgramError
from chaos import report
from chaos.campaign import CampaignProgress, run

RESULTS = Path(__file__).parent / "results"


class ConsoleProgress(CampaignProgress):
    """Shows a line that changes on a terminal, and a new line every half minute elsewhere."""

    def __init__(self, console: Console, live: Live) -> None:
        self._console = console
        self._live = live
        self._due = 0.0

    def say(self, sentence: str) -> None:
        self._console.print(f"{time.strftime('%H:%M:%S')} {sentence}", highlight=False)

    def show(self, done: float, sentence: str) -> None:
        line = f"{100 * done:3.0f}%  {sentence}"
        if self._console.is_terminal:
            self._live.update(Text(line))
        elif time.monotonic() >= self._due:
            self._due = time.monotonic() + 30
            self.say(line)


def main() -> int:
    """Run a campaign. Return 0 if the service kept every promise."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=None, help="the campaign's seed; default: a new one")
    parser.add_argument("--minutes", type=float, default=10.0, help="the minutes in which faults are injected")
    options = parser.parse_args()
    seed = secrets.randbelow(1_000_000) if options.seed is None else options.seed
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    logging.getLogger("pika").setLevel(logging.CRITICAL)
    folder = RESULTS / f"{time.strftime('%Y%m%d-%H%M%S')}-seed-{seed}"
    repeat = f"make chaos SEED={seed} MINUTES={options.minutes:g}"
    console = Console(stderr=False)
    console.print(f"{repeat}; logs and report: {folder}", highlight=False)
    try:
        with Live(console=console, refresh_per_second=2, transient=True) as live:
            campaign = run(seed, options.minutes, folder / "logs", ConsoleProgress(console, live))
    except KeyboardInterrupt:
        console.print("Stopped; nothing is left running.")
        return 130
    except ProgramError as error:
        console.print(str(error), style="red")
        return 2
    for line in report.write(campaign, folder, repeat):
        console.print(line, highlight=False)
    console.print(f"picture: {folder / 'report.png'}", highlight=False)
    return 1 if campaign.report.faults else 0


if __name__ == "__main__":
    sys.exit(main())
