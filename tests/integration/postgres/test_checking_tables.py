"""The checker finds differences between events and tables."""

from harness.checker.events import Report
from harness.checker.states import BatchState, LineState
from harness.checker.tables import check_tables, count_unpublished
from tests.fakes.messages import message
from tests.integration.postgres.staging import create, order, process
from tests.integration.postgres.store import PostgresStore


def report_of(**lines: tuple[str, int]) -> Report:
    """What the events of a batch of 10 LAMPs and of these lines come to."""
    allocated = sum(qty for _, qty in lines.values())
    return Report(
        batches={"shelf": BatchState("LAMP", 10, allocated)},
        lines={(orderid, "LAMP", ""): LineState("allocated", *held) for orderid, held in lines.items()},
    )


def faults(store: PostgresStore, report: Report) -> list[str]:
    url = store.engine.url.render_as_string(hide_password=False)
    check_tables(report, url)
    return report.faults


def a_shop(store: PostgresStore) -> None:
    process(store.unit_of_work, message(create("shelf", 10)), message(order("o1", qty=4)))
    store.execute("UPDATE outbox_pages SET published_at = now()")


def test_what_agrees_has_no_fault(store: PostgresStore) -> None:
    a_shop(store)
    assert faults(store, report_of(o1=("shelf", 4))) == []


def test_a_line_that_only_one_of_them_knows_is_a_fault(store: PostgresStore) -> None:
    a_shop(store)
    assert faults(store, report_of()) == [
        "Batch shelf is ('LAMP', 10, 0, 0, None) by its events, and ('LAMP', 10, 4, 0, None) in the tables.",
        (
            "Line ('o1', 'LAMP', '') is None by its events, "
            "and LineState(status='allocated', batchref='shelf', qty=4) in the tables."
        ),
    ]


def test_a_batch_that_was_never_announced_is_a_fault(store: PostgresStore) -> None:
    a_shop(store)
    report = report_of(o1=("shelf", 4))
    del report.batches["shelf"]
    assert faults(store, report) == ["Batch shelf is None by its events, and ('LAMP', 10, 4, 0, None) in the tables."]


def test_an_event_that_still_waits_is_a_fault(store: PostgresStore) -> None:
    a_shop(store)
    store.edit("UPDATE history SET published_at = NULL WHERE sequence = 2")
    # A page waits as a whole.
    assert count_unpublished(store.engine.url.render_as_string(hide_password=False)) == len(store.published())
    found = faults(store, report_of(o1=("shelf", 4)))
    assert found
    assert all("has waited to be published" in fault for fault in found)


def test_tables_that_do_not_agree_with_themselves_are_a_fault(store: PostgresStore) -> None:
    a_shop(store)
    store.execute("UPDATE batches SET allocated = 5")
    assert "Batch shelf counts 5 as allocated, and its lines hold 4." in faults(store, report_of(o1=("shelf", 4)))
