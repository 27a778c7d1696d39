"""Checks whether the service kept its promises."""

from collections import Counter

from pika.exceptions import AMQPError

from allocation_contracts import DEAD_LETTERS
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.testing.waiting import wait_until
from chaos.orders import LONG_HOLD
from chaos.sandbox import Sandbox
from chaos.traffic import Upstream, read_dead_letters, read_record
from harness.checker.events import Report, check
from harness.checker.read_model import compare, read_model, write_model
from harness.checker.tables import check_tables, count_holds, count_unpublished

_EQUAL_WITHIN = 120.0


def is_drained(sandbox: Sandbox) -> bool:
    """Return whether no command waits in a queue, no event in the outbox, and no hold has to end soon."""
    try:
        depths = sandbox.cluster.queue_depths(",".join(sandbox.amqp_urls))
    except (AMQPError, BrokerError, OSError):
        return False
    waiting = [
        name for name, depth in depths.items() if depth and name.startswith("allocation.") and name != DEAD_LETTERS
    ]
    url = sandbox.database_url
    return not waiting and not count_holds(url, LONG_HOLD / 2) and not count_unpublished(url)


def judge(sandbox: Sandbox, upstream: Upstream) -> Report:
    """Return the checker's report on the confirmed commands and the published events."""
    sent = [command for message_id, command in upstream.sent.items() if message_id in upstream.confirmed]
    report = check(sent, read_record(sandbox.amqp_urls))
    for message_id in upstream.sent.keys() - upstream.confirmed:
        report.fault(f"{message_id} was never confirmed.")
    check_tables(report, sandbox.database_url)
    _check_dead_letters(report, sandbox, upstream)
    _check_read_model(report, sandbox)
    return report


def _check_dead_letters(report: Report, sandbox: Sandbox, upstream: Upstream) -> None:
    """Check that each poison message is a dead letter with the same body, and that there are no others."""
    found = Counter(read_dead_letters(sandbox.amqp_urls))
    planted = set(upstream.poison.items())
    for message_id, body in planted - found.keys():
        report.fault(f"{message_id} with body {body!r} is not in the dead letters.")
    for message_id, body in found.keys() - planted:
        report.fault(f"{message_id!r} is in the dead letters, with body {body[:200]!r}.")
    report.counts["dead letters"] = found.total()


def _check_read_model(report: Report, sandbox: Sandbox) -> None:
    """Check that the read model equals the tables, once it has caught up: Redis may have lost its data at the end."""
    differences: list[str] = []

    def is_equal() -> bool:
        differences[:] = compare(read_model(sandbox.redis_url), write_model(sandbox.database_url))
        return not differences

    try:
        wait_until(is_equal, within=_EQUAL_WITHIN, every=1.0, otherwise=lambda: "")
    except TimeoutError:
        report.faults += differences
