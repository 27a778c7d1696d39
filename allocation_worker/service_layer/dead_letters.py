"""The use cases of `dead-letters`: count, redrive and discard."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from allocation_contracts import ContractError
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.ports import Letter, Letters

L = TypeVar("L", bound=Letter)

_SECONDS_A_DAY = 86_400


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """Which dead letters are meant: those with these ids, or of this reason, or all."""

    ids: frozenset[str] = frozenset()
    reason: str | None = None
    everything: bool = False

    def __contains__(self, letter: Letter) -> bool:
        return self.everything or letter.id in self.ids or letter.reason == self.reason


@dataclass(slots=True)
class Group:
    """The dead letters of one reason: their number, the oldest and newest time, and the detail of one."""

    reason: str
    example: str
    count: int = 0
    oldest: datetime | None = None
    newest: datetime | None = None

    def add(self, letter: Letter) -> None:
        self.count += 1
        if letter.failed_at is not None:
            self.oldest = min(self.oldest or letter.failed_at, letter.failed_at)
            self.newest = max(self.newest or letter.failed_at, letter.failed_at)


def by_reason(letters: Iterable[Letter]) -> list[Group]:
    """Return the dead letters counted by reason, the largest group first."""
    groups: dict[str, Group] = {}
    for letter in letters:
        groups.setdefault(letter.reason, Group(letter.reason, letter.detail)).add(letter)
    return sorted(groups.values(), key=lambda group: (-group.count, group.reason))


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
        if letter.destination is None:
            return "neither its routing key nor its type says which queue it is for; it would be dead-lettered again."
        try:
            self.read(letter)
        except ContractError as violation:
            return f"it would be dead-lettered again: {violation}"
        if self.even_if_forgotten:
            return None
        remedy = "look whether it was done under that id meanwhile, then say --even-if-forgotten."
        if letter.known_since is None:
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


def discard(letters: Letters[L], selection: Selection) -> Iterator[L]:
    """Delete the selected dead letters, and yield each."""
    for letter in letters:
        if letter in selection:
            letters.remove(letter)
            yield letter
