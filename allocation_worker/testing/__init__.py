"""The public test kit: the whole service for the tests of other teams, and real servers for any test.

Other teams start `AllocationStack`, or use the fixture `allocation_stack` of its pytest plugin.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allocation_worker.testing.arrivals import DeadLetter
    from allocation_worker.testing.stack import AllocationStack, NotArrivedError, StackError

__all__ = ["AllocationStack", "DeadLetter", "NotArrivedError", "StackError"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - one of several classes
    # pytest imports this package in every run wherever it is installed, so the rest is imported on first use.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from allocation_worker.testing import arrivals, stack  # noqa: PLC0415 - as said

    return getattr(arrivals if name == "DeadLetter" else stack, name)
