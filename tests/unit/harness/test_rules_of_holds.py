"""The checker finds no fault in what the worker does with holds, and names the rule that an event breaks."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from allocation_worker.domain.commands import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CreateBatch,
    Deallocate,
    Hold,
    LapseHold,
    Ship,
)
from allocation_worker.domain.errors import RefusalError
from allocation_worker.service_layer.handlers import COMMAND_HANDLERS, EVENT_HANDLERS
from allocation_worker.service_layer.messagebus import MessageBus
from harness.checker.rules import Replay
from tests.fakes.messages import delivery, message
from tests.fakes.unit_of_work import FakeDatabase
from tests.unit.harness.test_rules import Told, allocated, changed, created, faults, taken_off

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)
orderids = st.sampled_from(["o1", "o2", "o3", "o4"])
batchrefs = st.sampled_from(["b1", "b2"])
quantities = st.integers(1, 5)
etas = st.sampled_from([None, date(2031, 1, 1), date(2031, 1, 2)])
sku = st.just("LAMP")
stories: st.SearchStrategy[list[Command]] = st.lists(
    st.one_of(
        st.builds(Hold, orderid=orderids, sku=sku, qty=quantities, until=st.just(NOON)),
        st.builds(LapseHold, orderid=orderids, sku=sku, message_id=st.just("")),
        st.builds(Allocate, orderid=orderids, sku=sku, qty=quantities, wait=st.booleans(), needed_by=etas),
        st.builds(ChangeLineQuantity, orderid=orderids, sku=sku, qty=quantities),
        st.builds(Deallocate, orderid=orderids, sku=sku),
        st.builds(Ship, orderid=orderids, sku=sku),
        st.builds(CreateBatch, batchref=batchrefs, sku=sku, qty=st.integers(1, 9), eta=etas),
        st.builds(ChangeBatchQuantity, batchref=batchrefs, qty=st.integers(0, 9)),
        st.builds(ChangeBatchEta, batchref=batchrefs, eta=etas),
    ),
    min_size=1,
    max_size=40,
)


@settings(max_examples=150)
@given(story=stories)
def test_what_the_worker_does_with_holds_has_no_fault(story: list[Command]) -> None:
    database, bus, found = FakeDatabase(), MessageBus(COMMAND_HANDLERS, EVENT_HANDLERS), list[str]()
    sent: dict[str, dict[str, object]] = {}
    for number, command in enumerate([CreateBatch(batchref="b0", sku="LAMP", qty=6), *story]):
        cause = f"m{number}"
        if isinstance(command, LapseHold):
            command = replace(command, message_id=_cause_of_the_hold(database, command))  # noqa: PLW2901 - as of now
        else:
            sending = delivery(command, cause)
            sent[cause] = {"type": sending.properties.type, **json.loads(sending.body)}
        with database.unit_of_work() as uow:
            try:
                bus.handle(message(command, cause), uow)
            except RefusalError:
                continue
            uow.commit()
    replay = Replay(found.append)
    seen = 0
    for event in database.published():
        assert event.sequence
        if event.sequence > seen:
            seen = event.sequence
            replay.apply(event.type, event.body, event.causation_id, sent[event.causation_id])
    replay.end()
    assert found == []


def _cause_of_the_hold(database: FakeDatabase, command: LapseHold) -> str:
    line = database.committed.products["LAMP"].lines.get((command.orderid, ""))
    return line.hold.message_id if line and line.hold else "nothing"


def held(orderid: str, qty: int, batchref: str) -> Told:
    return "held.v1", allocated(orderid, qty, batchref)[1] | {"until": "2030-01-01T12:00:00Z"}


def lapsed(orderid: str, qty: int, batchref: str) -> Told:
    return "hold-lapsed.v1", allocated(orderid, qty, batchref)[1]


@pytest.mark.parametrize(
    ("history", "fault"),
    [
        (
            [created("b", 5), held("o1", 1, "b"), lapsed("o1", 1, "b"), lapsed("o1", 1, "b")],
            "Line ('o1', 'LAMP', '') holds None, and a hold of 1 of b lapsed.",
        ),
        (
            [created("b", 5), held("o1", 1, "b"), created("c", 5), allocated("o1", 1, "c")],
            "Line ('o1', 'LAMP', '') was allocated to c, and another batch was held for it.",
        ),
        (
            [created("b", 2), held("o1", 1, "b"), allocated("o2", 1, "b"), changed("b", 1, 2), taken_off("o2", 1, "b")],
            "Line ('o2', 'LAMP', '') was taken off batch b, which had enough.",
        ),
        (
            [created("b", 1), held("o1", 1, "b"), created("c", 1), changed("b", 0, 1), lapsed("o1", 1, "b")],
            "The hold of line ('o1', 'LAMP', '') lapsed, and another batch had enough.",
        ),
        (
            [created("b", 1), held("o1", 1, "b"), changed("b", 0, 1)],
            "Line ('o1', 'LAMP', '') lost the stock that was held for it, and was not told.",
        ),
        (
            [created("b", 2), held("o1", 1, "b"), held("o2", 1, "b"), changed("b", 0, 2), lapsed("o2", 1, "b")],
            "Line ('o2', 'LAMP', '') was answered before ('o1', 'LAMP', ''), which lost its held stock.",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_broken_rule_of_holds_is_told(history: list[Told], fault: str) -> None:
    assert faults(*history)[0] == fault


@pytest.mark.parametrize(
    ("cause", "timestamp", "expected"),
    [
        ("m2", 1_893_499_200, []),
        (
            "m2",
            1_893_499_199,
            ["The hold of line ('o1', 'LAMP', '') was until 2030-01-01T12:00:00Z, and lapsed by 1893499199."],
        ),
        ("m1", 1_893_499_200, ["The hold of line ('o1', 'LAMP', '') was asked for by m2, and its end names m1."]),
    ],
    ids=["right", "too early", "of another message"],
)
def test_when_and_by_whose_message_a_hold_lapses_is_checked(cause: str, timestamp: int, expected: list[str]) -> None:
    found: list[str] = []
    replay = Replay(found.append)
    hold = {"type": "hold.v1", "orderid": "o1", "sku": "LAMP", "qty": 1}
    for sequence, ((type_, data), sender) in enumerate(
        [(created("b", 5), "m0"), (held("o1", 1, "b"), "m2"), (lapsed("o1", 1, "b"), cause)], start=1
    ):
        replay.apply(type_, data | {"sequence": sequence}, sender, hold, timestamp)
    replay.end()
    assert found == expected
