"""Define what a fault is, and register all faults."""

import random
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

from chaos.sandbox import Sandbox
from chaos.schedule import Kind
from chaos.traffic import CommandStream

InjectFault = Callable[[Sandbox, CommandStream, random.Random], AbstractContextManager[None]]
"""A context manager: the fault begins on entry, and is healed on exit."""

F = TypeVar("F", bound=InjectFault)

KINDS: dict[str, list[Kind]] = {}
"""By target, for the schedule."""

FAULTS: dict[str, InjectFault] = {}
"""By the name of the kind."""


def fault(target: str, name: str, shortest: float = 0, longest: float = 0) -> Callable[[F], F]:
    """Register a fault."""

    def enter(function: F) -> F:
        KINDS.setdefault(target, []).append(Kind(name, shortest, longest))
        FAULTS[name] = function
        return function

    return enter
