"""The pytest plugin with the fixture `allocation_stack`, active wherever `allocation-worker[testing]` is installed.

The plugin imports the test kit only when a test first uses the fixture.
"""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from allocation_worker.testing.stack import AllocationStack

_STACK = pytest.StashKey["AllocationStack"]()


@pytest.fixture(scope="session")
def allocation_settings() -> Mapping[str, str]:
    """Return the worker's settings. Define a fixture of this name to change them."""
    return {}


@pytest.fixture(scope="session")
def _running_allocation_stack(allocation_settings: Mapping[str, str]) -> Iterator["AllocationStack"]:
    from allocation_worker.testing.servers import NoServersError  # noqa: PLC0415 - see the module's docstring
    from allocation_worker.testing.stack import AllocationStack  # noqa: PLC0415 - as above

    with ExitStack() as cleanup:
        try:
            stack = cleanup.enter_context(AllocationStack(allocation_settings))
        except NoServersError as error:
            # A failure, not a skip, which could go unnoticed.
            pytest.fail(str(error), pytrace=False)
        yield stack


@pytest.fixture
def allocation_stack(request: pytest.FixtureRequest, _running_allocation_stack: "AllocationStack") -> "AllocationStack":
    """Return the whole service, started once per session and reset before each test."""
    _running_allocation_stack.reset()
    request.node.stash[_STACK] = _running_allocation_stack
    return _running_allocation_stack


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:  # noqa: ANN401 - pluggy's generator
    """Add the stack's messages to the report of a failed test, unless the failure shows them."""
    report = yield
    stack = item.stash.get(_STACK, None)
    untold = call.excinfo is not None and call.excinfo.typename != "NotArrivedError"
    if stack is not None and call.when == "call" and report.failed and untold:
        try:
            story = stack.story()
        except OSError as error:
            story = str(error)
        report.sections.append(("Allocation stack", story))
    return report
