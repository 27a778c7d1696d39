"""Whether the service kept its promises."""

from collections import Counter

from pika.exceptions import AMQPError

from allocation_contracts import DEAD_LETTERS
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.testing.waiting import wait_until
from chaos.place import Place
from chaos.traffic import Upstream, read_dead_letters, read_record
from harness.checker.events import Report, check
from harness.checker.read_model import compare, read_model, write_model
from harness.checker.tables import check_tables, count_unpublished

_EQUAL_WITHIN = 120.0


def is_drained(here: Place) -> bool:
    """No command waits, and no event."""
    try:
        depths = here.cluster.queue_depths(",".join(here.amqp_urls))
    except (AMQPError, BrokerError, OSError):
        return False
    waiting = [
        name for name, depth in depths.items() if depth and name.startswith("allocation.") and name != DEAD_LETTERS
    ]
    return not waiting and not count_unpublished(here.database_url)


def judge(here: Place, upstream: Upstream) -> Report:
    """What the checker says of everything that was confirmed and everything that came out."""
    sent = [command for message_id, command in upstream.sent.items() if message_id in upstream.confirmed]
    report = check(sent, read_record(here.amqp_urls))
    for message_id in upstream.sent.keys() - upstream.confirmed:
        report.fault(f"{message_id} was never confirmed.")
    check_tables(report, here.database_url)
    _check_dead_letters(report, here, upstream)
    _check_read_model(report, here)
    return report


def _check_dead_letters(report: Report, here: Place, upstream: Upstream) -> None:
    """At least once each, bytes intact, and nothing else."""
    found = Counter(read_dead_letters(here.amqp_urls))
    planted = set(upstream.poison.items())
    for message_id, body in planted - found.keys():
        report.fault(f"{message_id} with body {body!r} is not in the dead letters.")
    for message_id, body in found.keys() - planted:
        report.fault(f"{message_id!r} is in the dead letters, with body {body[:200]!r}.")
    report.counts["dead letters"] = found.total()


def _check_read_model(report: Report, here: Place) -> None:
    """Equal to the tables, once it has caught up; Redis may have come back empty at the very end."""
    differences: list[str] = []

    def is_equal() -> bool:
        differences[:] = compare(read_model(here.redis_url), write_model(here.database_url))
        return not differences

    try:
        wait_until(is_equal, within=_EQUAL_WITHIN, every=1.0, otherwise=lambda: "")
    except TimeoutError:
        report.faults += differences
