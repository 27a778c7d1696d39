"""Shows progress: a line for each finished run, and a bar for the current one."""

from collections.abc import Callable
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn


class ProgressBar:
    """On a terminal the bar moves; elsewhere there are only the lines."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), console=console
        )
        self._task = self._progress.add_task("starting a broker and a database", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()

    def say(self, text: str) -> None:
        """A line that stays."""
        self._progress.console.print(text, highlight=False)

    def counting(self, description: str) -> Callable[[int, int], None]:
        """Begin a bar; the function that moves it is given what is done, and of how much."""
        self._progress.reset(self._task, description=description, total=None)

        def told(done: int, total: int) -> None:
            self._progress.update(self._task, completed=done, total=total)

        return told
