"""Scenarios in which old rows are to go, and others are to stay."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from allocation_contracts import Allocate, CreateBatch, Ship
from harness.processes import WorkerProcess
from harness.service import RunningService
from tests.planted.steps import (
    answered,
    database,
    faults_of,
    limit_queue,
    not_seen,
    one,
    rows,
    send_batches,
    send_batches_and_orders,
    send_orders,
)


def clock_jumps(service: RunningService) -> Sequence[str]:
    """The database's clock is 40 days ahead for some seconds, in which the relay is restarted."""
    with service.client() as client, _clock_of_the_database(service) as set_ahead:
        _ready(service.start("consume"))
        relay = _ready(service.start("relay"))
        send_batches_and_orders(client)
        missed = not_seen(lambda: not answered(client), "The commands were not answered.")
        relay.terminate()
        set_ahead("40 days")
        relay = _ready(service.start("relay"))
        missed += not_seen(
            lambda: "prune_clock_behind" in relay.log or "rows_pruned" in relay.log, "Pruning did not see the jump."
        )
        kept, events = one(service, "SELECT count(*) FROM inbox_entries"), one(service, "SELECT count(*) FROM events")
        lost = [] if kept == events == 22 else [f"Of 22 commands, {kept} are known, and {events} events."]
        set_ahead("0 days")
        return [*missed, *lost, *faults_of(service, client)]


def old_events_wait(service: RunningService) -> Sequence[str]:
    """Events wait for longer than the history is kept, since their queue is full; older ones are published."""
    client = service.client()
    limit_queue(service, client.queue, 5)
    consume = _ready(service.start("consume"))
    relay = _ready(service.start("relay"))
    send_batches(client)
    missed = rows(service, "SELECT count(*) FROM events WHERE published_at IS NOT NULL", 2)
    relay.terminate()
    send_orders(client)
    missed += rows(service, "SELECT count(*) FROM events", 22)
    consume.terminate()
    with database(service) as cursor:
        cursor.execute("UPDATE outbox_pages SET created_at = created_at - interval '40 days'")
        cursor.execute("UPDATE inbox_entries SET received_at = received_at - interval '40 days'")
        cursor.connection.commit()
    relay = _ready(service.start("relay"))
    missed += not_seen(lambda: "events_refused" in relay.log, "No event was refused.")
    missed += not_seen(lambda: '"table": "outbox_pages"' in relay.log, "Nothing was pruned.")
    # The pages that it has taken are in its memory, too.
    relay.terminate()
    service.start("relay")
    with client:
        return [*missed, *faults_of(service, client)]


def lines_end(service: RunningService) -> Sequence[str]:
    """All lines are said to have ended long ago, and those that have are pruned. Then a batch comes again."""
    with service.client() as client:
        _ready(service.start("consume"))
        relay = _prunes(service)
        for command in (
            CreateBatch(batchref="b1", sku="LAMP", qty=4),
            Allocate(orderid="shipped", sku="LAMP", qty=2),
            Allocate(orderid="stays", sku="LAMP", qty=2),
            CreateBatch(batchref="b2", sku="LAMP", qty=2),
            Allocate(orderid="waits", sku="LAMP", qty=3, wait=True),
            Allocate(orderid="sold-out", sku="LAMP", qty=2),
            Ship(orderid="shipped", sku="LAMP"),
            Ship(orderid="sold-out", sku="LAMP"),
        ):
            client.ask(command)
        relay.terminate()
        _age(service, "order_lines")
        relay = _prunes(service)
        missed = not_seen(lambda: '"table": "order_lines"' in relay.log, "No line was pruned.")
        relay.terminate()
        relay = _prunes(service)
        missed += rows(service, "SELECT count(*) FROM batches WHERE ended_at IS NOT NULL", 1)
        relay.terminate()
        _age(service, "batches")
        relay = _prunes(service)
        missed += not_seen(lambda: '"table": "batches"' in relay.log, "No batch was pruned.")
        client.ask(CreateBatch(batchref="b2", sku="LAMP", qty=2))
        client.ask(CreateBatch(batchref="b3", sku="LAMP", qty=3))
        return [*missed, *faults_of(service, client)]


PRUNING = (clock_jumps, old_events_wait, lines_end)


def _prunes(service: RunningService) -> WorkerProcess:
    return _ready(service.start("relay", settings={"ALLOCATION_LINES_DAYS": "30"}))


def _age(service: RunningService, table: str) -> None:
    with database(service) as cursor:
        cursor.execute(f"UPDATE {table} SET ended_at = now() - interval '40 days'")  # noqa: S608 - ours
        cursor.connection.commit()


def _ready(process: WorkerProcess) -> WorkerProcess:
    process.wait_for("ready")
    return process


@contextmanager
def _clock_of_the_database(service: RunningService) -> Iterator[Callable[[str], None]]:
    """Have new connections ask a clock that can be set ahead. Rows are stamped with the right time."""
    with database(service) as cursor:
        cursor.connection.autocommit = True

        def set_ahead(interval: str) -> None:
            cursor.execute(
                "CREATE OR REPLACE FUNCTION wrong_clock.now() RETURNS timestamptz LANGUAGE sql STABLE "
                f"AS $$ SELECT pg_catalog.now() + interval '{interval}' $$"
            )

        cursor.execute("CREATE SCHEMA wrong_clock")
        set_ahead("0 days")
        cursor.execute("SELECT quote_ident(current_database())")
        [(name,)] = cursor.fetchall()
        cursor.execute(f"ALTER DATABASE {name} SET search_path = wrong_clock, pg_catalog, public")
        try:
            yield set_ahead
        finally:
            cursor.execute(f"ALTER DATABASE {name} RESET search_path")
