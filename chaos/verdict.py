"""Whether the service kept its promises."""

from collections import Counter

import sqlalchemy as sa
from pika.exceptions import AMQPError

from allocation_contracts import DEAD_LETTERS
from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.testing.checker import Report, check
from chaos.place import Place
from chaos.traffic import Upstream, read_dead_letters, read_record


def is_drained(here: Place) -> bool:
    """No command waits, and no event."""
    try:
        depths = here.cluster.queue_depths(",".join(here.amqp_urls))
    except (AMQPError, BrokerError, OSError):
        return False
    waiting = [
        name for name, depth in depths.items() if depth and name.startswith("allocation.") and name != DEAD_LETTERS
    ]
    return not waiting and not _unpublished(here)


def judge(here: Place, upstream: Upstream) -> Report:
    """What the checker says of everything that was confirmed and everything that came out."""
    sent = [command for message_id, command in upstream.sent.items() if message_id in upstream.confirmed]
    report = check(sent, read_record(here.amqp_urls))
    for message_id in upstream.sent.keys() - upstream.confirmed:
        report.fault(f"{message_id} was never confirmed.")
    if rows := _unpublished(here):
        report.fault(f"{rows} events wait in the outbox.")
    _check_dead_letters(report, here, upstream)
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


def _unpublished(here: Place) -> int:
    engine = create_engine(here.database_url, application_name="chaos")
    try:
        with engine.connect() as connection:
            return int(connection.scalar(sa.text("SELECT count(*) FROM outbox WHERE published_at IS NULL")) or 0)
    finally:
        engine.dispose()
