"""The running world, and the process that is being built in it.

The replacements for threads, conditions and clocks find their world here.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.simulation.processes import Process
    from tests.simulation.world import World

_worlds: list["World"] = []
_processes: list["Process"] = []


def enter(world: "World") -> None:
    _worlds[:] = [world]


def build(process: "Process") -> None:
    _processes[:] = [process]


def world() -> "World":
    return _worlds[0]


def process() -> "Process":
    return _processes[0]
