"""The fixture `allocation_stack`, in another team's pytest run."""

import pytest

TESTS = """
from allocation_contracts import Allocate, Allocated, BatchCreated, CreateBatch
import pytest

@pytest.fixture(scope="session")
def allocation_settings():
    return {"ALLOCATION_GRACE_ATTEMPTS": "0"}

def stocked(stack):
    stack.send(CreateBatch(batchref="b1", sku="CHAIR", qty=10))
    return stack.expect(BatchCreated)

def test_passes(allocation_stack):
    assert stocked(allocation_stack).sequence == 1

def test_begins_with_nothing(allocation_stack):
    assert allocation_stack.events() == []
    assert stocked(allocation_stack).sequence == 1

def test_expects_in_vain(allocation_stack):
    stocked(allocation_stack)
    allocation_stack.send(Allocate(orderid="o1", sku="TABLE", qty=1))
    allocation_stack.expect(Allocated, orderid="o1", within=1)

def test_asserts_in_vain(allocation_stack):
    stocked(allocation_stack)
    assert allocation_stack.events() == []
"""


@pytest.mark.long
@pytest.mark.usefixtures("given")
def test_each_test_begins_with_nothing_and_a_failure_shows_what_arrived(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(TESTS)

    result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")

    result.assert_outcomes(passed=2, failed=2)
    result.stdout.fnmatch_lines(
        [
            "E *NotArrivedError: Allocated orderid='o1' did not arrive within 1 s.",
            "E *2 events have arrived:",
            "E *  BatchCreated batchref='b1' sku='CHAIR' qty=10 eta=None sequence=1",
            "E *  CommandRejected command='allocate.v1' reason='unknown-sku' *",
            "E *No dead letter has arrived.",
            "*___ test_asserts_in_vain ___*",
            "*--- Allocation stack ---*",
            "1 event has arrived:",
            "  BatchCreated batchref='b1' sku='CHAIR' qty=10 eta=None sequence=1",
        ]
    )
    assert result.stdout.str().count("--- Allocation stack ---") == 1


def test_a_machine_without_servers_fails_with_a_sentence(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ALLOCATION_TEST_SERVERS", "given")
    monkeypatch.delenv("ALLOCATION_AMQP_URL", raising=False)
    pytester.makepyfile("def test_anything(allocation_stack): pass")

    result = pytester.runpytest_subprocess("-p", "no:cacheprovider")

    result.assert_outcomes(errors=1)
    result.stdout.fnmatch_lines(["Please install rabbitmq-server and postgresql, or start a Docker engine, or set *"])


def test_a_run_that_does_not_ask_for_it_starts_nothing(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("import sys\ndef test_anything(): assert 'allocation_worker.testing.stack' not in sys.modules")

    pytester.runpytest_subprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
