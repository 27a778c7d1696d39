"""What a fault is, and the tables of all of them."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from chaos.place import Place
from chaos.schedule import Kind
from chaos.traffic import Traffic

Fault = Callable[[Place, Traffic, random.Random], AbstractContextManager[None]]
"""A context: it strikes on the way in, and heals on the way out."""

F = TypeVar("F", bound=Fault)

KINDS: dict[str, list[Kind]] = {}
"""By target, for the schedule."""

FAULTS: dict[str, Fault] = {}
"""By the name of the kind."""


def fault(target: str, name: str, shortest: float = 0, longest: float = 0) -> Callable[[F], F]:
    """Enter a fault into the tables."""

    def enter(function: F) -> F:
        KINDS.setdefault(target, []).append(Kind(name, shortest, longest))
        FAULTS[name] = function
        return function

    return enter
