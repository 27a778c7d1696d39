"""The final output of the demo: a line for each check, or the faults."""

from datetime import date

from demo import words
from demo.closing import Ending, verdict
from demo.shop import Shop
from harness.checker.events import Report
from harness.checker.states import BatchState
from tests.unit.demo.demo_events import allocated, backordered, comes, created, promised, received

SOON = date(2030, 1, 1)


def ending(*faults: str, **exit_codes: int) -> Ending:
    report = Report(faults=list(faults))
    report.batches = {"shelf": BatchState("LAMP", 10, 4)}
    report.counts = {"batch-created.v1": 1, "allocated.v1": 2}
    shop = Shop()
    for event in (
        created("shelf", 10, eta=SOON),
        backordered("o1", 12, 10),
        allocated("o2", "shelf", 4),
        comes("shelf", None, SOON),
        promised("o2", "shelf", 4, None, SOON),
    ):
        shop.take(received(event))
    codes = {"consume": 0, "relay": 0} | exit_codes
    return Ending(shop=shop, chronicle=[], report=report, answered=3, exit_codes=codes)


def told(done: Ending) -> list[str]:
    return [line.plain for line in verdict(done, words.UNICODE)]


def test_every_check_has_a_line() -> None:
    assert told(ending()) == [
        "",
        "✓ Every command was answered, and once: 3 of 3.",
        "✓ Nothing was oversold: 1 batch, 4 of 10 pieces allocated.",
        "✓ No line waits for what is there, and none was left with an old date: 1 line waited, 1 new date was told.",
        "✓ The sequences have no gap: 3 events of 1 SKU, each SKU's in order.",
        "✓ consume and relay ended when asked, and so did the servers.",
    ]


def test_where_there_is_a_fault_nothing_is_ticked() -> None:
    assert told(ending("Batch shelf is oversold.")) == ["", "✗ Batch shelf is oversold."]


def test_a_process_that_does_not_end_in_order_is_a_fault() -> None:
    assert ending(relay=-9).faults == ["relay ended with -9."]
