"""The checker compares outcomes with what was asked for, and rejections with what is so for ever."""

import json
from typing import Any

import pytest
from pika.spec import BasicProperties

from harness.checker.events import check
from harness.checker.messages import ReceivedEvent, SentCommand

LAMP = {"orderid": "o1", "sku": "LAMP", "lineid": ""}
UNTIL = "2030-01-01T12:00:00Z"
Message = tuple[str, dict[str, Any]]

CREATED: tuple[Message, Message] = (
    ("create-batch.v1", {"batchref": "b", "sku": "LAMP", "qty": 5}),
    ("batch-created.v1", {"batchref": "b", "sku": "LAMP", "qty": 5, "eta": None}),
)
ORDER: Message = ("allocate.v1", {"orderid": "o1", "sku": "LAMP", "qty": 2})
ALLOCATED: Message = ("allocated.v1", LAMP | {"qty": 2, "batchref": "b", "eta": None})


def faults(*told: tuple[Message, Message]) -> list[str]:
    """The faults of commands, each with the event that it has caused."""
    sent, received = [], []
    sequence = 0
    for number, ((asked, body), (type_, data)) in enumerate(told):
        message_id = f"m{number}"
        sent.append(SentCommand(message_id=message_id, type=asked, body=json.dumps(body).encode()))
        if type_ != "command-rejected.v1":
            sequence += 1
        numbered = data | {"sequence": sequence}
        properties = BasicProperties(type=type_, message_id=f"e{number}", headers={"causation_id": message_id})
        received.append(ReceivedEvent.of(properties, json.dumps(numbered).encode(), routing_key=""))
    return check(sent, received).faults


def rejected(command: str, reason: str) -> Message:
    return "command-rejected.v1", {"command": command, "reason": reason}


def test_right_answers_have_no_fault() -> None:
    hold = ("hold.v1", {"orderid": "o2", "sku": "LAMP", "qty": 1, "lineid": None, "until": "2031-01-01T00:00:00Z"})
    held = ("held.v1", {**LAMP, "orderid": "o2", "qty": 1, "batchref": "b", "eta": None, "until": UNTIL})
    ship = ("ship.v1", {"orderid": "o1", "sku": "LAMP"})
    shipped = ("shipped.v1", LAMP | {"qty": 2, "batchref": "b"})
    cancel = ("deallocate.v1", {"orderid": "o1", "sku": "LAMP"})
    history = [
        CREATED,
        (ORDER, ALLOCATED),
        (hold, held),
        (ship, shipped),
        (cancel, rejected("deallocate.v1", "line-shipped")),
    ]
    assert faults(*history) == []


@pytest.mark.parametrize(
    ("last", "fault"),
    [
        (
            (ORDER, ("allocated.v1", ALLOCATED[1] | {"qty": 3})),
            "allocate.v1 m1 asked for the qty 2, and the answer says 3.",
        ),
        (
            (
                ("hold.v1", {"qty": 1, "until": UNTIL}),
                ("held.v1", {**LAMP, "qty": 1, "batchref": "b", "eta": None, "until": "2030-01-01T12:00:00.5Z"}),
            ),
            f"hold.v1 m1 asked for the until {UNTIL!r}, and the answer says '2030-01-01T12:00:00.5Z'.",
        ),
        (
            (ORDER, rejected("allocate.v1", "unknown-batch")),
            "allocate.v1 m1 was rejected as allocate.v1, unknown-batch.",
        ),
        (
            (ORDER, rejected("allocate.v1", "line-cancelled")),
            "m1 was rejected, line-cancelled, and that is not so: {'orderid': 'o1', 'sku': 'LAMP', 'qty': 2}.",
        ),
        (
            (CREATED[0], rejected("create-batch.v1", "batch-exists")),
            "m1 was rejected, batch-exists, and that is not so: {'batchref': 'b', 'sku': 'LAMP', 'qty': 5}.",
        ),
    ],
)
def test_a_wrong_answer_is_told(last: tuple[Message, Message], fault: str) -> None:
    assert fault in faults(CREATED, last)
