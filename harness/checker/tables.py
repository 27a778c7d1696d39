"""Checks the tables against themselves and against the published events."""

from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from allocation_worker.adapters.postgres.engine import create_engine
from allocation_worker.adapters.postgres.verify import CHECKS, WRONG_IDS, audit
from harness.checker.events import Report
from harness.checker.states import LineState

_STATEMENT_TIMEOUT = 600
_DAYS = 30
# The other kinds are of the servers, which the tests stop and misconfigure.
_OF_DATA = {*(check.kind for check in CHECKS), WRONG_IDS.kind, "sequence-behind"}


def check_tables(report: Report, database_url: str) -> None:
    """Add the faults of the tables to a report on the events. The service must be idle.

    The tables must pass `verify`, no event may wait in the outbox, and batches and lines must match the events.

    Raises:
        StoreUnavailableError: The database is unreachable.
    """
    engine = create_engine(database_url, application_name="checker", statement_timeout=_STATEMENT_TIMEOUT)
    try:
        found = audit(engine, history_days=_DAYS, inbox_days=_DAYS, stuck_after=0)
        for fault in found.faults:
            if fault.kind not in _OF_DATA:
                continue
            report.faults += fault.examples
            if fault.count > len(fault.examples):
                report.fault(f"... and {fault.count - len(fault.examples)} more like these.")
        with engine.connect() as connection:
            _set_pruned_aside(report, connection)
            _compare("Batch", _batches(report), _batches_in(connection), report)
            _compare("Line", report.lines, _lines_in(connection), report)
    finally:
        engine.dispose()


def _set_pruned_aside(report: Report, connection: Connection) -> None:
    """Leave the lines and batches out of the comparison that were pruned, if they may go and are counted."""
    stored = _lines_in(connection)
    missing: dict[str, int] = {}
    for line, state in list(report.lines.items()):
        if state.status == "shipped" and line not in stored:
            del report.lines[line]
            missing[str(state.batchref)] = missing.get(str(state.batchref), 0) + state.qty
    for (batchref,) in connection.execute(sa.text("SELECT reference FROM pruned_batches")):
        batch = report.batches.pop(batchref, None)
        if batch is None or batch.purchased != missing.pop(batchref, 0):
            report.fault(f"Batch {batchref} was pruned, and is {batch} by its events.")
    for batchref, pruned in connection.execute(sa.text("SELECT reference, pruned FROM batches")):
        if pruned != missing.get(batchref, 0):
            report.fault(f"Batch {batchref} counts {pruned} as pruned, and {missing.get(batchref, 0)} were.")


def count_unpublished(database_url: str) -> int:
    """Return the number of events in unpublished pages, so without those that no queue is bound for."""
    return _count(database_url, "SELECT sum(count) FROM outbox_pages WHERE published_at IS NULL")


def count_holds(database_url: str, within: timedelta) -> int:
    """Return the number of holds that lapse within this time, or should have lapsed."""
    statement = "SELECT count(*) FROM order_lines WHERE held_until < now() + make_interval(secs => :seconds)"
    return _count(database_url, statement, seconds=within.total_seconds())


def _count(database_url: str, statement: str, **parameters: float) -> int:
    engine = create_engine(database_url, application_name="checker")
    try:
        with engine.connect() as connection:
            return int(connection.scalar(sa.text(statement), parameters) or 0)
    finally:
        engine.dispose()


def _compare(what: str, told: Mapping[Any, object], stored: Mapping[Any, object], report: Report) -> None:
    for key in told.keys() | stored.keys():
        if told.get(key) != stored.get(key):
            report.fault(f"{what} {key} is {told.get(key)} by its events, and {stored.get(key)} in the tables.")


def _batches(report: Report) -> dict[object, object]:
    return {
        key: (batch.sku, batch.purchased, batch.allocated, batch.shipped, batch.eta)
        for key, batch in report.batches.items()
    }


def _batches_in(connection: Connection) -> dict[object, object]:
    rows = connection.execute(sa.text("SELECT reference, sku, purchased, allocated, shipped, eta::text FROM batches"))
    return {reference: tuple(numbers) for reference, *numbers in rows}


def _lines_in(connection: Connection) -> dict[object, object]:
    rows = connection.execute(
        sa.text("""
            SELECT orderid, sku, lineid, batchref, qty, CASE
                WHEN batchref IS NULL THEN 'waiting'
                WHEN shipped THEN 'shipped'
                WHEN held_until IS NOT NULL THEN 'held'
                ELSE 'allocated' END
            FROM order_lines WHERE batchref IS NOT NULL OR (wait AND NOT cancelled)
        """)
    )
    return {
        (orderid, sku, lineid): LineState(status, batchref, qty) for orderid, sku, lineid, batchref, qty, status in rows
    }
