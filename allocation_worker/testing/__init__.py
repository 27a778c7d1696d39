"""The test kit, public: the whole service for other teams' tests, and real servers for ours, the demo and benchmarks.

`AllocationStack` is what other teams start; in pytest, its plugin gives it as the fixture `allocation_stack`.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from allocation_worker.testing.arrivals import DeadLetter
    from allocation_worker.testing.stack import AllocationStack, NotArrivedError, StackError

__all__ = ["AllocationStack", "DeadLetter", "NotArrivedError", "StackError"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - one of several classes
    # pytest loads a module of this package wherever it is installed: nothing is imported before it is used.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from allocation_worker.testing import arrivals, stack  # noqa: PLC0415 - as said

    return getattr(arrivals if name == "DeadLetter" else stack, name)
