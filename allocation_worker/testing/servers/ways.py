"""The ways in which the servers of the tests are had, and which of them are tried."""

import os
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import TypeVar

VARIABLE = "ALLOCATION_TEST_SERVERS"
GIVEN = "given"
"""Only if the variable asks for it: the addresses that name given servers are those of production, too."""

T = TypeVar("T")


class NoServersError(RuntimeError):
    """No way to start a server works here. The text is one sentence that says what to do."""


def first_that_works(
    stack: ExitStack, ways: Mapping[str, Callable[[], AbstractContextManager[T]]], *, otherwise: str
) -> tuple[str, T]:
    """Enter the first way that works, or the one that `ALLOCATION_TEST_SERVERS` names. Return its name and its servers.

    Args:
        stack: Ends it.
        ways: The ways by their names, the best first.
        otherwise: What to do if none works, as the beginning of a sentence.

    Raises:
        NoServersError: None works, or there is no such way.
    """
    forced = os.environ.get(VARIABLE)
    if forced and forced not in ways:
        raise NoServersError(f"{VARIABLE} must be one of {', '.join(ways)}, and is {forced!r}.")
    reasons = []
    for how in [forced] if forced else [each for each in ways if each != GIVEN]:
        try:
            return how, stack.enter_context(ways[how]())
        except NoServersError as reason:
            reasons.append(f"{how}: {reason}")
    raise NoServersError(f"{otherwise} ({'; '.join(reasons)}).")
