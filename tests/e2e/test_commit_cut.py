"""The database connection fails inside COMMIT, and every command still has exactly one effect."""

import signal
from collections.abc import Iterator

import pytest

from harness.proxy import ConnectionFault, Proxy
from harness.service import RunningService
from tests.e2e.mixed_commands import ONE_AT_A_TIME, send_mixed_commands

CUTS = (ConnectionFault.CUT_BEFORE, ConnectionFault.CUT_AFTER, ConnectionFault.CUT_ANSWER)
TIMES = 3

# With its end: every transaction begins with READ COMMITTED.
COMMIT = b"COMMIT\0"
# The relay's marks are transactions of their own: the statement is the commit.
MARK = b"UPDATE outbox_pages SET published_at"


@pytest.fixture
def network(fresh_service: RunningService) -> Iterator[Proxy]:
    """Between a process that is told so and the database."""
    with Proxy(fresh_service.database_url) as network:
        yield network


@pytest.mark.parametrize(("verb", "other", "statement"), [("consume", "relay", COMMIT), ("relay", "consume", MARK)])
def test_a_connection_that_is_cut_again_and_again_inside(
    verb: str, other: str, statement: bytes, fresh_service: RunningService, network: Proxy
) -> None:
    with fresh_service.client() as client:
        # Many transactions, so many pages and marks.
        fresh_service.start(other, settings={"ALLOCATION_GROUP_LIMIT": "2"})
        send_mixed_commands(client)
        traps = [network.trap(statement, fault, TIMES) for fault in CUTS]
        victim = fresh_service.start(verb, settings={**ONE_AT_A_TIME, "ALLOCATION_DATABASE_URL": network.url})
        for trap in traps:
            trap.wait()
        client.wait_answered()
        report = fresh_service.judge(client)
        assert report.faults == []
        assert report.batches["b1"].purchased == 10
        assert victim.exit_code is None
        assert victim.log.count('"waiting_for": "the database"') >= TIMES * len(CUTS)
        assert fresh_service.servers.broker.queue_depths(fresh_service.amqp_url)["allocation.dead-letters"] == 0


@pytest.mark.parametrize(("verb", "other", "statement"), [("consume", "relay", COMMIT), ("relay", "consume", MARK)])
def test_an_answer_that_never_comes_to(
    verb: str, other: str, statement: bytes, fresh_service: RunningService, network: Proxy
) -> None:
    settings = {**ONE_AT_A_TIME, "ALLOCATION_DATABASE_URL": network.url, "ALLOCATION_STATEMENT_TIMEOUT": "1"}
    with fresh_service.client() as client:
        # Many transactions, so many pages and marks.
        fresh_service.start(other, settings={"ALLOCATION_GROUP_LIMIT": "2"})
        send_mixed_commands(client)
        silence = network.trap(statement, ConnectionFault.SILENCE)
        victim = fresh_service.start(verb, settings=settings)
        silence.wait()
        victim.wait_for("database_call_abandoned")
        client.wait_answered()
        assert fresh_service.judge(client).faults == []


def test_a_relay_behind_a_black_hole_is_replaced_and_publishes_no_more(
    fresh_service: RunningService, network: Proxy
) -> None:
    hasty = {"ALLOCATION_STATEMENT_TIMEOUT": "1", "ALLOCATION_RELAY_LEASE": "1"}
    with fresh_service.client() as client:
        fresh_service.start("consume")
        first = fresh_service.start("relay", settings={**hasty, "ALLOCATION_DATABASE_URL": network.url})
        first.wait_for("ready", role="active")
        second = fresh_service.start("relay", settings=hasty)
        second.wait_for("ready", role="standby")
        network.hold()
        send_mixed_commands(client)
        second.wait_for("ready", role="active")
        client.wait_answered()
        first.wait_for("waiting", waiting_for="the database")
        network.release()
        first.wait_for("ready", role="standby")
        assert fresh_service.judge(client).faults == []


def test_a_relay_that_was_stopped_finds_itself_replaced_when_it_goes_on(fresh_service: RunningService) -> None:
    with fresh_service.client() as client:
        fresh_service.start("consume")
        first, second = fresh_service.start_relays({"ALLOCATION_RELAY_LEASE": "1"})
        first.send(signal.SIGSTOP)
        send_mixed_commands(client)
        second.wait_for("ready", role="active")
        client.wait_answered()
        first.send(signal.SIGCONT)
        first.wait_for("ready", role="standby")
        assert fresh_service.judge(client).faults == []
