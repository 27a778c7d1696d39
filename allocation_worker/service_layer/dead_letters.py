"""The use cases of `dead-letters`: count, redrive and discard."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import islice
from typing import Any, Generic, TypeVar

from allocation_contracts import ContractError
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import MESSAGE_ID_CONFLICT
from allocation_worker.service_layer.ports import Letter, Letters

L = TypeVar("L", bound=Letter)

_SECONDS_A_DAY = 86_400
_CLOCKS_DIFFER = 300
"""Seconds by which the clock of another computer may be ahead."""
_SAVED_TOGETHER = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters are meant: those with these ids, or all, or those for which everything else holds.

    Attributes:
        ids: Their own ids.
        reason: Their reason.
        exception: The type of their exception, such as `ValueError`, or its whole text.
        message_ids: The message_ids that they were sent with.
        everything: Whether all are meant.
    """

    ids: frozenset[str] = frozenset()
    reason: str | None = None
    exception: str | None = None
    message_ids: frozenset[str] = frozenset()
    everything: bool = False

    @property
    def narrows(self) -> bool:
        """Whether a reason, an exception or message_ids are given."""
        return self.reason is not None or self.exception is not None or bool(self.message_ids)

    def __contains__(self, letter: Letter) -> bool:
        return self.everything or letter.id in self.ids or (self.narrows and self._describes(letter))

    def _describes(self, letter: Letter) -> bool:
        return (
            self.reason in {None, letter.reason}
            and self.exception in {None, letter.exception, exception_type(letter)}
            and (not self.message_ids or letter.message_id in self.message_ids)
        )


class By(StrEnum):
    """What dead letters are counted by."""

    REASON = "reason"
    EXCEPTION = "exception"
    MESSAGE_ID = "message-id"


@dataclass(slots=True)
class Group:
    """The dead letters that have one value in common.

    Attributes:
        value: Their reason, type of exception or message_id; None for those without one.
        example: The detail, or the exception, of one.
        count: Their number.
        oldest: When the first of them died, if any tells.
        newest: When the last of them died, if any tells.
    """

    value: str | None
    example: str
    count: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None

    def add(self, letter: Letter) -> None:
        self.count += 1
        if letter.failed_at is not None:
            self.oldest = min(self.oldest or letter.failed_at, letter.failed_at)
            self.newest = max(self.newest or letter.failed_at, letter.failed_at)


def exception_type(letter: Letter) -> str | None:
    """Return the type of the exception that a dead letter names, such as `ValueError`."""
    return None if letter.exception is None else letter.exception.partition(":")[0]


def _value(letter: Letter, by: By) -> str | None:
    match by:
        case By.REASON:
            return letter.reason
        case By.EXCEPTION:
            return exception_type(letter)
        case By.MESSAGE_ID:
            return letter.message_id


def grouped(letters: Iterable[Letter], by: By) -> list[Group]:
    """Return the dead letters counted by what they have in common, the largest group first."""
    groups: dict[str | None, Group] = {}
    for letter in letters:
        value = _value(letter, by)
        example = (letter.exception if by is By.EXCEPTION else None) or letter.detail
        groups.setdefault(value, Group(value, example)).add(letter)
    return sorted(groups.values(), key=lambda group: (-group.count, group.value or ""))


@dataclass(frozen=True, slots=True, kw_only=True)
class RedrivePolicy:
    """Decides whether a dead letter may be redriven.

    Attributes:
        read: Reads its command, as `consume` does.
        now: The time, in seconds since the epoch.
        inbox_days: The days for which the inbox keeps a message_id.
        even_if_forgotten: Whether to redrive messages older than that.
    """

    read: Callable[[Any], CommandMessage]
    now: float
    inbox_days: int
    even_if_forgotten: bool = False

    def reason_to_keep(self, letter: Letter) -> str | None:
        """Return a sentence, or None if the dead letter may be redriven."""
        return self._why_it_would_return(letter) or (
            None if self.even_if_forgotten else self._why_it_may_repeat(letter)
        )

    def _why_it_would_return(self, letter: Letter) -> str | None:
        if letter.destination is None:
            return "neither its routing key nor its type says which queue it is for; it would be dead-lettered again."
        try:
            self.read(letter)
        except ContractError as violation:
            return f"it would be dead-lettered again: {violation}"
        if letter.reason == MESSAGE_ID_CONFLICT:
            return (
                "it would be dead-lettered again: another message has used its message_id; have its sender send it "
                "under an id of its own."
            )
        return None

    def _why_it_may_repeat(self, letter: Letter) -> str | None:
        remedy = "look whether it was done under that id meanwhile, then say --even-if-forgotten."
        # A time in the future, such as milliseconds taken for seconds, tells nothing.
        if letter.known_since is None or letter.known_since > self.now + _CLOCKS_DIFFER:
            return f"nothing tells how old it is, so its message_id may be forgotten already; {remedy}"
        if self.now - letter.known_since >= self.inbox_days * _SECONDS_A_DAY:
            return (
                f"it is more than {self.inbox_days} days old, so its message_id may be forgotten already and its "
                f"effect could happen twice; {remedy}"
            )
        return None


class Redrive(Generic[L]):
    """Publishes dead letters as commands again.

    A dead letter is removed only after the broker has confirmed its copy. After a crash between the two, both exist,
    and the inbox ignores the second.

    Args:
        letters: The dead letters.
        publish: Publishes copies in order, and yields each letter with True if the broker has confirmed its copy, or
            False if no queue takes it.
        reason_to_keep: Returns why a dead letter must stay, or None.
    """

    def __init__(
        self,
        letters: Letters[L],
        publish: Callable[[Iterable[L]], Iterator[tuple[L, bool]]],
        reason_to_keep: Callable[[L], str | None],
    ) -> None:
        self._letters = letters
        self._publish = publish
        self._reason_to_keep = reason_to_keep
        self._kept: deque[tuple[L, str]] = deque()

    def run(self, selection: Selection) -> Iterator[tuple[L, str | None]]:
        """Yield each selected dead letter with the reason why it stays, or with None if it was redriven."""
        for letter, safe in self._publish(self._to_publish(selection)):
            yield from self._take_kept()
            if safe:
                self._letters.remove(letter)
                yield letter, None
            else:
                yield letter, "its queue is not there; run `allocation-worker topology`."
        yield from self._take_kept()

    def _to_publish(self, selection: Selection) -> Iterator[L]:
        for letter in self._letters:
            if letter not in selection:
                continue
            reason = self._reason_to_keep(letter)
            if reason is None:
                yield letter
            else:
                self._kept.append((letter, reason))

    def _take_kept(self) -> Iterator[tuple[L, str]]:
        while self._kept:
            yield self._kept.popleft()


def discard(
    letters: Letters[L], selection: Selection, save: Callable[[Sequence[L]], None] | None = None
) -> Iterator[L]:
    """Delete the selected dead letters, and yield each.

    Args:
        letters: The dead letters.
        selection: Which are meant.
        save: Keeps copies of some. None of them is deleted before it has returned.
    """
    selected = (letter for letter in letters if letter in selection)
    while some := list(islice(selected, _SAVED_TOGETHER)):
        if save is not None:
            save(some)
        for letter in some:
            letters.remove(letter)
            yield letter
