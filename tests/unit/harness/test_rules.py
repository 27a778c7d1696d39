"""The checker knows the domain rules, and names the rule that an event breaks."""

from typing import Any

import pytest

from harness.checker.rules import Replay

Told = tuple[str, dict[str, Any]]


def created(batchref: str, qty: int, eta: str | None = None) -> Told:
    return "batch-created.v1", {"batchref": batchref, "sku": "LAMP", "qty": qty, "eta": eta}


def changed(batchref: str, qty: int, previous: int) -> Told:
    return "batch-quantity-changed.v1", {"batchref": batchref, "sku": "LAMP", "qty": qty, "previous_qty": previous}


def allocated(orderid: str, qty: int, batchref: str, eta: str | None = None) -> Told:
    data = {"orderid": orderid, "sku": "LAMP", "lineid": "", "qty": qty, "batchref": batchref, "eta": eta}
    return "allocated.v1", data


def taken_off(orderid: str, qty: int, batchref: str | None, reason: str = "batch-quantity-changed") -> Told:
    data = {"orderid": orderid, "sku": "LAMP", "lineid": "", "qty": qty, "batchref": batchref, "reason": reason}
    return "deallocated.v1", data


def out_of_stock(orderid: str, qty: int, largest: int, next_eta: str | None = None) -> Told:
    data = {"orderid": orderid, "sku": "LAMP", "lineid": "", "qty": qty, "largest_available": largest}
    return "out-of-stock.v1", data | {"next_eta": next_eta}


def backordered(orderid: str, qty: int, largest: int) -> Told:
    return "backordered.v1", out_of_stock(orderid, qty, largest)[1]


def line_changed(orderid: str, qty: int, previous: int, batchref: str | None) -> Told:
    return "line-quantity-changed.v1", allocated(orderid, qty, str(batchref))[1] | {
        "batchref": batchref,
        "previous_qty": previous,
    }


def shipped(orderid: str, qty: int, batchref: str) -> Told:
    return "shipped.v1", allocated(orderid, qty, batchref)[1]


def eta_changed(batchref: str, eta: str | None, previous: str | None) -> Told:
    data = {"batchref": batchref, "sku": "LAMP", "eta": eta, "previous_eta": previous}
    return "batch-eta-changed.v1", data


def promise_changed(orderid: str, qty: int, batchref: str, eta: str | None, previous: str | None) -> Told:
    return "promise-changed.v1", allocated(orderid, qty, batchref, eta)[1] | {"previous_eta": previous}


def faults(*told: Told) -> list[str]:
    found: list[str] = []
    replay = Replay(found.append)
    for sequence, (type_, data) in enumerate(told, start=1):
        replay.apply(type_, data | {"sequence": sequence})
    replay.end()
    return found


def test_a_right_history_has_no_fault() -> None:
    history = [
        created("ship", 10, "2031-01-01"),
        created("shelf", 10),
        allocated("o1", 6, "shelf"),
        allocated("o2", 4, "shelf"),
        allocated("o3", 7, "ship", "2031-01-01"),
        out_of_stock("o4", 5, 3),
        changed("shelf", 7, 10),
        taken_off("o2", 4, "shelf"),
        out_of_stock("o2", 4, 3),
        created("later", 9, "2031-02-01"),
        out_of_stock("o5", 10, 9, "2031-01-01"),
        taken_off("o1", 6, "shelf", "cancelled"),
        taken_off("never-seen", 0, None, "cancelled"),
    ]
    assert faults(*history) == []


LINE = "('o1', 'LAMP', '')"


@pytest.mark.parametrize(
    ("history", "fault"),
    [
        (
            [created("ship", 9, "2031-01-01"), created("shelf", 9), allocated("o1", 1, "ship")],
            f"Line {LINE} got stock of batch ship, which was not its turn.",
        ),
        (
            [created("late", 9, "2031-02-01"), created("soon", 9, "2031-01-01"), allocated("o1", 1, "late")],
            f"Line {LINE} got stock of batch late, which was not its turn.",
        ),
        (
            [created("first", 9), created("second", 9), allocated("o1", 1, "second")],
            f"Line {LINE} got stock of batch second, which was not its turn.",
        ),
        ([created("b", 9), created("b", 9)], "Batch b was created twice."),
        ([changed("b", 1, 2)], "Batch b was changed and never created."),
        ([created("b", 9), changed("b", 5, 8)], "Batch b had 9, not 8."),
        ([allocated("o1", 1, "b")], f"Line {LINE} was allocated to batch b, which was never created."),
        (
            [created("b", 9), allocated("o1", 1, "b"), allocated("o1", 1, "b")],
            f"Line {LINE} was allocated while it held stock of b.",
        ),
        ([created("b", 2), allocated("o1", 3, "b")], f"Batch b was oversold by {LINE}: 3 of 2."),
        ([created("b", 3), allocated("o1", 3, "b"), changed("b", 1, 3)], "Batch b is oversold: 3 of 1."),
        ([taken_off("o1", 1, "b")], f"Line {LINE} held None, and ('b', 1) was taken off it."),
        (
            [created("b", 9), allocated("o1", 1, "b"), taken_off("o1", 1, "b")],
            f"Line {LINE} was taken off batch b, which had enough.",
        ),
        (
            [
                created("b", 9),
                *(allocated(f"o{n}", 3, "b") for n in (1, 2)),
                changed("b", 4, 9),
                taken_off("o1", 3, "b"),
            ],
            f"Line {LINE} was taken off batch b before one that asked later.",
        ),
        (
            [created("b", 9), allocated("o1", 1, "b"), changed("b", 0, 9), taken_off("o1", 1, "b")],
            f"Line {LINE} was taken off its batch, and not answered.",
        ),
        (
            [
                created("b", 9),
                *(allocated(f"o{n}", 1, "b") for n in (1, 2)),
                changed("b", 0, 9),
                *(taken_off(f"o{n}", 1, "b") for n in (2, 1)),
                out_of_stock("o2", 1, 0),
            ],
            f"Line {LINE} was taken off its batch, and out-of-stock.v1 7 came before its answer.",
        ),
        ([created("b", 9), out_of_stock("o1", 9, 9)], f"Line {LINE} is out of stock, and a batch could take it."),
        (
            [created("b", 9), out_of_stock("o1", 10, 8)],
            f"Line {LINE} was told (8, None) of the largest batch and the next ETA, where it is (9, None).",
        ),
        (
            [created("b", 9, "2031-01-01"), out_of_stock("o1", 10, 9, "2031-01-01")],
            f"Line {LINE} was told (9, '2031-01-01') of the largest batch and the next ETA, where it is (9, None).",
        ),
        (
            [created("b", 9, "2031-01-01"), allocated("o1", 1, "b", "2031-01-02")],
            f"Line {LINE} was told that batch b comes on 2031-01-02, not 2031-01-01.",
        ),
        (
            [created("b", 9), allocated("o1", 1, "b"), taken_off("o1", 1, "b", "cancelled"), allocated("o1", 1, "b")],
            f"Line {LINE} was cancelled, and there is event 4 about it.",
        ),
        (
            [created("b", 9), allocated("o1", 1, "b"), shipped("o1", 1, "b"), taken_off("o1", 1, "b", "cancelled")],
            f"Line {LINE} was shipped, and there is event 4 about it.",
        ),
        (
            [created("b", 9, "2031-01-01"), allocated("o1", 1, "b", "2031-01-01"), shipped("o1", 1, "b")],
            f"Line {LINE} was shipped of batch b, which arrives on 2031-01-01.",
        ),
        (
            [created("b", 9), allocated("o1", 2, "b"), line_changed("o1", 3, 1, "b")],
            f"Line {LINE} had 2, and was changed from 1.",
        ),
        (
            [created("b", 9), allocated("o1", 2, "b"), line_changed("o1", 3, 2, None)],
            f"Line {LINE} held ('b', 2), and lost it by a change of its quantity.",
        ),
        (
            [created("b", 9, "2031-01-01"), eta_changed("b", None, "2031-01-02")],
            "Batch b had the ETA 2031-01-01, not 2031-01-02.",
        ),
        (
            [created("b", 9), eta_changed("b", "2031-01-02", None)],
            "Batch b had arrived, and is to arrive on 2031-01-02.",
        ),
        (
            [
                created("b", 9, "2031-01-01"),
                allocated("o1", 1, "b", "2031-01-01"),
                eta_changed("b", None, "2031-01-01"),
                promise_changed("o1", 1, "b", None, "2031-01-02"),
            ],
            f"Line {LINE} was told ('2031-01-02', None) of the ETA before and after, where it is ('2031-01-01', None).",
        ),
        (
            [
                created("b", 9, "2031-01-01"),
                allocated("o1", 1, "b", "2031-01-01"),
                eta_changed("b", None, "2031-01-01"),
            ],
            "1 lines of SKU LAMP were not told of a new ETA.",
        ),
        ([created("b", 1), backordered("o1", 2, 1)], f"Line {LINE} waits, and was not asked to."),
    ],
)
def test_a_broken_rule_is_told(history: list[Told], fault: str) -> None:
    assert fault in faults(*history)


def wait(orderid: str, qty: int, **terms: object) -> dict[str, object]:
    return {"type": "allocate.v1", "orderid": orderid, "sku": "LAMP", "qty": qty, "wait": True, **terms}


def faults_of_commands(*told: tuple[Told, dict[str, object]]) -> list[str]:
    """The faults of events that these commands have caused, one command each."""
    found: list[str] = []
    replay = Replay(found.append)
    for sequence, ((type_, data), command) in enumerate(told, start=1):
        replay.apply(type_, data | {"sequence": sequence}, f"m{sequence}", command)
    replay.end()
    return found


def test_a_line_that_waits_and_fits_is_told() -> None:
    history = [(created("b", 1), {}), (backordered("o1", 2, 1), wait("o1", 2)), (created("c", 2), {})]
    assert faults_of_commands(*history) == [f"Line {LINE} waits for 2, and a batch has 2."]


def test_a_line_that_is_to_wait_and_does_not_is_told() -> None:
    history = [(created("b", 1), {}), (out_of_stock("o1", 2, 1), wait("o1", 2))]
    assert faults_of_commands(*history) == [f"Line {LINE} is out of stock, and was to wait."]


@pytest.mark.parametrize("terms", [{}, {"priority": 5}])
def test_a_line_that_is_served_before_its_turn_is_told(terms: dict[str, object]) -> None:
    turn, before = ("o1", "o2") if not terms else ("o2", "o1")
    history = [
        (created("b", 1), {}),
        (backordered("o1", 2, 1), wait("o1", 2)),
        (backordered("o2", 2, 1), wait("o2", 2, **terms)),
        (created("c", 4), {}),
        (allocated(before, 2, "c"), {}),
        (allocated(turn, 2, "c"), {}),
    ]
    sentence = f"Line ('{before}', 'LAMP', '') was served before ('{turn}', 'LAMP', ''), whose turn it was."
    assert sentence in faults_of_commands(*history)


def test_a_change_from_another_quantity_is_told() -> None:
    change = {"type": "change-line-quantity.v1", "orderid": "o1", "sku": "LAMP", "qty": 3, "from_qty": 1}
    history = [(created("b", 9), {}), (allocated("o1", 2, "b"), {}), (line_changed("o1", 3, 2, "b"), change)]
    assert faults_of_commands(*history) == [f"Line {LINE} was changed, and did not have the quantity 1."]
