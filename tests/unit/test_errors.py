"""One root for all errors, and old names that still work."""

import importlib
import inspect
import pkgutil

import pytest

import allocation_contracts
import allocation_worker
from allocation_contracts import AllocationError
from allocation_contracts.amqp import PublishError, RefusedError

NOT_FOR_OPERATORS = {
    # An answer to the sender of a command.
    "RefusalError",
}


def _errors() -> list[type[Exception]]:
    found = set()
    for package in (allocation_contracts, allocation_worker):
        for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if ".testing" in module.name or module.name.endswith("__main__") or ".migrations" in module.name:
                continue
            for _, value in inspect.getmembers(importlib.import_module(module.name), inspect.isclass):
                if issubclass(value, Exception) and value.__module__ == module.name:
                    found.add(value)
    return sorted(found, key=lambda error: error.__qualname__)


@pytest.mark.parametrize("error", _errors())
def test_each_error_of_ours_has_the_one_root_and_a_name_that_says_so(error: type[Exception]) -> None:
    assert error.__name__.endswith("Error")
    roots = {each.__name__ for each in error.__mro__}
    assert issubclass(error, AllocationError) or roots & NOT_FOR_OPERATORS


@pytest.mark.parametrize(
    ("module", "old", "new"),
    [
        ("allocation_contracts", "ContractViolation", "ContractError"),
        ("allocation_contracts", "Gap", "GapError"),
        ("allocation_contracts.amqp", "Refused", "RefusedError"),
        ("allocation_contracts.amqp", "Unconfirmed", "UnconfirmedError"),
        ("allocation_contracts.amqp", "Unreachable", "UnreachableError"),
        ("allocation_contracts.amqp", "Unroutable", "UnroutableError"),
    ],
)
def test_an_old_name_still_works_and_says_what_it_is_called_now(module: str, old: str, new: str) -> None:
    where = importlib.import_module(module)
    with pytest.warns(DeprecationWarning, match=f"{old} is called {new} now"):
        assert getattr(where, old) is getattr(where, new)


def test_what_there_never_was_is_missing_as_in_any_module() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'Nothing'"):
        _ = allocation_contracts.Nothing


def test_a_publishers_errors_are_caught_by_their_kind_or_by_the_root() -> None:
    error = RefusedError("m-1", "The queue is full.")
    assert isinstance(error, PublishError)
    assert isinstance(error, AllocationError)
    assert str(error) == "The queue is full."
