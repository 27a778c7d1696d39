"""The fixture `allocation_stack` for pytest, there wherever `allocation-worker[testing]` is installed.

Loading it costs nothing but this file: the rest is imported when a test first asks for the fixture.
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
    """The worker's settings; define a fixture of this name to change them."""
    return {}


@pytest.fixture(scope="session")
def _running_allocation_stack(allocation_settings: Mapping[str, str]) -> Iterator["AllocationStack"]:
    from allocation_worker.testing.servers import NoServersError  # noqa: PLC0415 - see the module's docstring
    from allocation_worker.testing.stack import AllocationStack  # noqa: PLC0415 - as above

    with ExitStack() as cleanup:
        try:
            stack = cleanup.enter_context(AllocationStack(allocation_settings))
        except NoServersError as error:
            # Not a skip: nobody would notice that nothing was tested.
            pytest.fail(str(error), pytrace=False)
        yield stack


@pytest.fixture
def allocation_stack(request: pytest.FixtureRequest, _running_allocation_stack: "AllocationStack") -> "AllocationStack":
    """The whole allocation service, started once, and empty at the beginning of each test."""
    _running_allocation_stack.reset()
    request.node.stash[_STACK] = _running_allocation_stack
    return _running_allocation_stack


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:  # noqa: ANN401 - pluggy's generator
    """Show below a failure what the stack has seen, unless the failure tells it."""
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
