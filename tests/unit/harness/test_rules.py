"""The checker knows the domain rules, and names the rule that an event breaks."""

from typing import Any

import pytest

from harness.checker.rules import Replay

Told = tuple[str, dict[str, Any]]


def created(batchref: str, qty: int, eta: str | None = None) -> Told:
    return "batch-created.v1", {"batchref": batchref, "sku": "LAMP", "qty": qty, "eta": eta}


def changed(batchref: str, qty: int, previous: int) -> Told:
    return "batch-quantity-changed.v1", {"batchref": batchref, "sku": "LAMP", "qty": qty, "previous_qty": previous}


def allocated(orderid: str, qty: int, batchref: str) -> Told:
    return "allocated.v1", {"orderid": orderid, "sku": "LAMP", "lineid": "", "qty": qty, "batchref": batchref}


def taken_off(orderid: str, qty: int, batchref: str | None, reason: str = "batch-quantity-changed") -> Told:
    data = {"orderid": orderid, "sku": "LAMP", "lineid": "", "qty": qty, "batchref": batchref, "reason": reason}
    return "deallocated.v1", data


def out_of_stock(orderid: str, qty: int, largest: int, next_eta: str | None = None) -> Told:
    data = {"orderid": orderid, "sku": "LAMP", "lineid": "", "qty": qty, "largest_available": largest}
    return "out-of-stock.v1", data | {"next_eta": next_eta}


def faults(*told: Told) -> list[str]:
    found: list[str] = []
    replay = Replay(found.append)
    for type_, data in told:
        replay.apply(type_, data)
    replay.end()
    return found


def test_a_right_history_has_no_fault() -> None:
    history = [
        created("ship", 10, "2031-01-01"),
        created("shelf", 10),
        allocated("o1", 6, "shelf"),
        allocated("o2", 4, "shelf"),
        allocated("o3", 7, "ship"),
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
            f"Line {LINE} was taken off batch b before one that got its stock later.",
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
    ],
)
def test_a_broken_rule_is_told(history: list[Told], fault: str) -> None:
    assert fault in faults(*history)
