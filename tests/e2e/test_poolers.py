"""Real processes behind PgBouncer, which keeps sessions or shares them."""

from collections.abc import Iterator

import pytest

from allocation_contracts import Allocate, CreateBatch
from allocation_worker.testing.waiting import wait_until
from harness.pgbouncer import NOT_ONE_SESSION, PgBouncer, one_noticed_sharing, pgbouncer
from harness.processes import run_verb
from harness.service import RunningService
from tests.e2e.mixed_commands import send_mixed_commands

SHARING = {"pool_mode": "transaction"}
KEEPING = {"pool_mode": "session"}


@pytest.fixture
def pooler(fresh_service: RunningService) -> Iterator[PgBouncer]:
    """In front of the database, for all processes."""
    with pgbouncer(fresh_service.database_url, **KEEPING) as pooler:
        fresh_service.settings["ALLOCATION_DATABASE_URL"] = pooler.through(fresh_service.database_url)
        yield pooler


@pytest.mark.usefixtures("pooler")
def test_behind_session_pooling_everything_works_and_a_standby_relay_takes_over(fresh_service: RunningService) -> None:
    with fresh_service.client() as client:
        fresh_service.start("consume")
        active, standby = fresh_service.start_relays()
        send_mixed_commands(client)
        active.kill()
        standby.wait_for("ready", role="active")
        client.wait_answered()
        assert fresh_service.judge(client).faults == []
    assert NOT_ONE_SESSION not in fresh_service.logs()
    assert run_verb("verify", settings=fresh_service.settings).returncode == 0


@pytest.mark.parametrize("mode", ["transaction", "statement"])
def test_behind_a_pooler_that_shares_sessions_all_wait_and_go_on_once_it_keeps_them(
    fresh_service: RunningService, pooler: PgBouncer, mode: str
) -> None:
    pooler.change({"pool_mode": mode})
    with fresh_service.client() as client:
        processes = [fresh_service.start(verb) for verb in ("consume", "relay")]
        for process in processes:
            process.wait_for_log(NOT_ONE_SESSION)
        send_mixed_commands(client)
        verify = run_verb("verify", settings=fresh_service.settings)
        assert (verify.returncode, verify.stderr.count("\n")) == (69, 1)
        assert NOT_ONE_SESSION in verify.stderr
        pooler.change(KEEPING)
        for process in processes:
            process.wait_for("ready")
        client.wait_answered()
        assert fresh_service.judge(client).faults == []
        assert fresh_service.count_dead_letters() == 0
    assert [process.exit_code for process in processes] == [None, None]


def test_a_pooler_that_shares_sessions_for_a_while_doubles_and_loses_nothing(
    fresh_service: RunningService, pooler: PgBouncer
) -> None:
    with fresh_service.client() as client:
        fresh_service.start("consume")
        relays = fresh_service.start_relays()
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=1000))
        pooler.change(SHARING)
        for number in range(300):
            client.send(Allocate(orderid=f"o{number}", sku="SKU", qty=1))
        client.wait_confirmed()
        wait_until(
            lambda: one_noticed_sharing(relays),
            within=60,
            otherwise=lambda: f"no relay noticed it; the logs: {fresh_service.logs()}",
        )
        pooler.change(KEEPING)
        client.wait_answered()
        assert fresh_service.judge(client).faults == []
        assert fresh_service.count_dead_letters() == 0
        window = 1000
        assert len(client.received) - len({event.message_id for event in client.received}) <= window
