"""Scenarios on a synchronous pair of database servers; see `harness.pair`."""

import signal
from collections.abc import Callable, Sequence

from allocation_contracts import Allocate, CreateBatch
from harness.pair import Pair
from harness.service import RunningService
from tests.planted.steps import faults_of, not_seen

CONSUMERS = "%consume"
RELAYS = "%relay"
SESSIONS = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'allocation-worker %'"


def commit_cancelled(service: RunningService) -> Sequence[str]:
    """The standby is away, an operator cancels a COMMIT that waits for it, and the primary dies."""
    pair = _pair(service)
    with service.client() as client:
        service.start("consume")
        service.start("relay")
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=10))
        with pair.standby_away():
            client.send(Allocate(orderid="o", sku="SKU", qty=1))
            cancelled = pair.cancel_commit(CONSUMERS)
            missed = not_seen(
                lambda: bool(set(pair.waiting_commits(CONSUMERS)) - {cancelled}), "The command was not asked again."
            )
            pair.fail_over()
        pair.rejoin()
        return [*missed, *faults_of(service, client)]


def backend_killed(service: RunningService) -> Sequence[str]:
    """The standby is away and the primary crashes, so that it shows rows that no standby has; then it dies.

    The command behind those rows is decided again after another one, which takes the place of its event.
    """
    pair = _pair(service)
    with service.client() as client:
        holder = service.start("consume", settings={"ALLOCATION_PREFETCH": "1"})
        service.start("relay")
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=10))
        with pair.standby_away():
            shown = client.send(Allocate(orderid="shown", sku="SKU", qty=1))
            pair.wait_for_commit(CONSUMERS)
            pair.kill_backend(CONSUMERS)
            missed = not_seen(
                lambda: bool(pair.waiting_commits(RELAYS) or client.answers(shown)), "The relay did not see the event."
            )
            holder.send(signal.SIGSTOP)
            pair.fail_over()
        pair.rejoin()
        service.start("consume")
        client.ask(Allocate(orderid="other", sku="SKU", qty=2))
        holder.send(signal.SIGCONT)
        return [*missed, *faults_of(service, client)]


def demoted(service: RunningService) -> Sequence[str]:
    """A planned switchover: the former primary is read-only, goes on, and keeps its sessions."""
    pair = _pair(service)
    with service.client() as client:
        service.start("consume")
        service.start("relay")
        client.ask(CreateBatch(batchref="b", sku="SKU", qty=10))
        former = pair.primary
        pair.switch_over()
        pair.decide_alone()
        client.send(Allocate(orderid="o", sku="SKU", qty=1))
        faults = faults_of(service, client)
        missed = not_seen(lambda: not former.execute(SESSIONS), "A process stays at the server that was demoted.")
        pair.rejoin()
        return [*missed, *faults]


FAILOVERS: Sequence[Callable[[RunningService], Sequence[str]]] = (commit_cancelled, backend_killed, demoted)


def _pair(service: RunningService) -> Pair:
    assert isinstance(service.servers.database, Pair)
    return service.servers.database
