"""What the audience sees: the port of the views, and the plain one."""

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
    """A process, as the header shows it."""

    verb: str
    pid: int
    alive: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All there is to see at one moment."""

    shop: Shop
    meter: Meter
    sent: int
    processes: Sequence[Running]


class View(AbstractContextManager["View"], Protocol):
    """Shows the play; it is entered before the first act and left after the last."""

    def act(self, number: int, title: str) -> None:
        """Begin an act."""

    def tell(self, sentence: str) -> None:
        """Say what has just happened."""

    def show(self, scene: Scene) -> None:
        """Show how things stand now; called often, so it decides itself when it is time."""


class PlainView(View):
    """Lines, as they are told: for a file, a pipe, a CI log.

    Args:
        console: Where to.
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
