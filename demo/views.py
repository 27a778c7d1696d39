"""The interface of the views, and the plain view."""

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from rich.console import Console
from rich.text import Text

from demo.meter import Meter
from demo.shop import Shop


@dataclass(frozen=True, slots=True, kw_only=True)
class Running:
    """A process, as shown in the header."""

    verb: str
    pid: int
    alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """The state to show at one moment."""

    shop: Shop
    meter: Meter
    sent: int
    processes: Sequence[Running]


class View(AbstractContextManager["View"], Protocol):
    """Shows the demo. Enter it before the first step, and leave it after the last."""

    def act(self, number: int, title: str) -> None:
        """Begin a step."""

    def tell(self, sentence: str) -> None:
        """Show a sentence about the current step."""

    def show(self, scene: Scene) -> None:
        """Show the current state. This is called often; the view decides when to redraw."""


class PlainView(View):
    """Prints plain lines, for a file, a pipe or a CI log.

    Args:
        console: The console to print to.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def __exit__(self, *_: object) -> None:
        """Nothing was opened."""

    def act(self, number: int, title: str) -> None:
        self._console.print(Text(f"\n{number}. {title}"), soft_wrap=True)

    def tell(self, sentence: str) -> None:
        self._console.print(Text(f"   {sentence}"), soft_wrap=True)

    def show(self, scene: Scene) -> None:
        """It keeps no picture."""
