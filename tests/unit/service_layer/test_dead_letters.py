"""Which dead letters are meant, which may be redriven, and what discarding them does first."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import pytest

from allocation_worker.domain.commands import Allocate
from allocation_worker.service_layer.dead_letters import By, RedrivePolicy, Selection, discard, grouped
from tests.fakes.messages import message

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
COMMAND = message(Allocate(orderid="o", sku="s", qty=1))


@dataclass
class FakeLetter:
    """A dead letter that `consume` brought, some hours ago."""

    id: str = "a"
    reason: str = "handler-failed"
    detail: str = "It failed 4 times."
    exception: str | None = "ValueError: no"
    message_id: str | None = "m-1"
    failed_at: datetime | None = NOW
    known_since: float | None = NOW.timestamp() - 3_600
    destination: object = "allocation.orders"


@dataclass
class FakeLetters:
    """Dead letters on hold, and what became of them in order."""

    letters: Sequence[FakeLetter]
    done: list[str] = field(default_factory=list)

    def __iter__(self) -> Iterator[FakeLetter]:
        return iter(self.letters)

    def remove(self, letter: FakeLetter) -> None:
        self.done.append(f"removed {letter.id}")

    def save(self, letters: Sequence[FakeLetter]) -> None:
        self.done.extend(f"saved {letter.id}" for letter in letters)


def objection(letter: FakeLetter, *, even_if_forgotten: bool = False) -> str | None:
    policy = RedrivePolicy(
        read=lambda _letter: COMMAND, now=NOW.timestamp(), inbox_days=7, even_if_forgotten=even_if_forgotten
    )
    return policy.reason_to_keep(letter)


def test_one_that_failed_is_redriven() -> None:
    assert objection(FakeLetter()) is None


@pytest.mark.parametrize("even_if_forgotten", [False, True])
def test_one_whose_id_another_message_has_used_stays_since_it_would_come_straight_back(
    *, even_if_forgotten: bool
) -> None:
    told = objection(FakeLetter(reason="message-id-conflict"), even_if_forgotten=even_if_forgotten)
    assert told == (
        "it would be dead-lettered again: another message has used its message_id; have its sender send it under an id "
        "of its own."
    )


def age(**ago: float) -> float:
    return (NOW - timedelta(**ago)).timestamp()


@pytest.mark.parametrize(
    ("known_since", "told"),
    [
        (age(days=6.9), None),
        (age(days=7), "more than 7 days old"),
        (None, "nothing tells how old it is"),
        (age(seconds=-200), None),  # the clocks of two computers
        (age(hours=-1), "nothing tells how old it is"),
        (NOW.timestamp() * 1_000, "nothing tells how old it is"),  # milliseconds taken for seconds
    ],
)
def test_one_whose_id_may_be_forgotten_stays_and_an_age_in_the_future_is_no_age(
    known_since: float | None, told: str | None
) -> None:
    letter = FakeLetter(known_since=known_since)
    found = objection(letter)
    assert found is None if told is None else found is not None and told in found
    assert objection(letter, even_if_forgotten=True) is None


LETTERS = [
    FakeLetter("a", message_id="m-1"),
    FakeLetter("b", message_id="m-2", exception="StoreError: relation: gone"),
    FakeLetter("c", message_id="m-1", reason="invalid-json", exception=None),
    FakeLetter("d", message_id=None, reason="invalid-json", exception=None, failed_at=NOW - timedelta(days=1)),
]


@pytest.mark.parametrize(
    ("selection", "ids"),
    [
        (Selection(everything=True), "abcd"),
        (Selection(ids=frozenset("bd")), "bd"),
        (Selection(reason="invalid-json"), "cd"),
        (Selection(exception="ValueError"), "a"),
        (Selection(exception="StoreError: relation: gone"), "b"),
        (Selection(exception="StoreError: relation"), ""),
        (Selection(message_ids=frozenset({"m-1"})), "ac"),
        (Selection(message_ids=frozenset({"m-1"}), reason="invalid-json"), "c"),
        (Selection(message_ids=frozenset({"m-2"}), exception="ValueError"), ""),
        (Selection(), ""),
    ],
)
def test_all_that_is_said_must_hold(selection: Selection, ids: str) -> None:
    assert "".join(letter.id for letter in LETTERS if letter in selection) == ids


@pytest.mark.parametrize(
    ("by", "groups"),
    [
        (By.REASON, [("handler-failed", 2), ("invalid-json", 2)]),
        (By.EXCEPTION, [(None, 2), ("StoreError", 1), ("ValueError", 1)]),
        (By.MESSAGE_ID, [("m-1", 2), (None, 1), ("m-2", 1)]),
    ],
)
def test_they_are_counted_by_what_is_asked_for_the_most_first(by: By, groups: list[tuple[str | None, int]]) -> None:
    assert [(group.value, group.count) for group in grouped(LETTERS, by)] == groups


def test_a_group_says_since_when_and_gives_an_example() -> None:
    [_, invalid] = grouped(LETTERS, By.REASON)
    assert (invalid.oldest, invalid.newest) == (NOW - timedelta(days=1), NOW)
    [_, store, _] = grouped(LETTERS, By.EXCEPTION)
    assert store.example == "StoreError: relation: gone"


def test_what_is_discarded_is_saved_before() -> None:
    letters = FakeLetters([FakeLetter(f"{number}") for number in range(250)])
    assert len(list(discard(letters, Selection(everything=True), letters.save))) == 250
    for number in range(250):
        assert letters.done.index(f"saved {number}") < letters.done.index(f"removed {number}")


def test_what_cannot_be_saved_is_not_discarded() -> None:
    def fail(_letters: Sequence[FakeLetter]) -> None:
        raise OSError("No space left on device")

    letters = FakeLetters([FakeLetter()])
    with pytest.raises(OSError, match="No space"):
        list(discard(letters, Selection(everything=True), fail))
    assert letters.done == []
