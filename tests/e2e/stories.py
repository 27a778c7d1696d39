"""Short stories of one SKU: each command with the events that it must cause, told to a running service.

A line of a story is `command -> event; event`, such as `allocate A 3 wait -> backordered A 3 2 -`. A line without an
arrow goes on with the events. The fields stand in the order of the message, without SKU, `lineid`, `sequence` and
`until`. `-` is null; `d1` to `d9` are days.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Final
from uuid import uuid4

from allocation_contracts import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CommandRejected,
    CreateBatch,
    Deallocate,
    Hold,
    Ship,
)
from harness.checker.messages import ReceivedEvent
from harness.client import ExternalClient

_DAYS: Final = {f"d{number}": date(2040, 1, number) for number in range(1, 10)}
_NAMES_OF_DAYS: Final = {day.isoformat(): name for name, day in _DAYS.items()}
_NOT_SHOWN: Final = frozenset({"sku", "lineid", "sequence", "until"})
_REJECTED_AFTER_GRACE: Final = frozenset(
    {"rejected unknown-sku", "rejected unknown-line", "rejected batch-not-arrived"}
)
_SOON = timedelta(seconds=1)
_FAR = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class Step:
    """A command as text, and the events that it must cause, in order."""

    command: str
    events: list[str]

    @property
    def stock(self) -> bool:
        """Whether the command goes to the stock queue."""
        return self.command.startswith(("create", "stock", "eta"))

    @property
    def lapses(self) -> bool:
        """Whether the hold that the command asks for lapses at once."""
        return self.command.endswith("soon")

    @property
    def is_overtaken(self) -> bool:
        """Whether the command has its last event later than commands that are sent after it."""
        return self.lapses or self.events[-1] in _REJECTED_AFTER_GRACE


@dataclass(slots=True)
class Story:
    """A story with a SKU, batches and orders of its own.

    Args:
        title: One sentence: what must hold.
        text: Its lines.
    """

    title: str
    text: str
    suffix: str = field(default_factory=lambda: uuid4().hex[:8])
    steps: list[Step] = field(init=False)

    def __post_init__(self) -> None:
        lines: list[str] = []
        for line in self.text.strip().splitlines():
            if "->" in line:
                lines.append(line)
            else:
                lines[-1] += line
        self.steps = [
            Step(" ".join(command.split()), [" ".join(event.split()) for event in events.split(";")])
            for command, _, events in (line.partition("->") for line in lines)
        ]

    def parts(self, *, together: bool) -> list[list[Step]]:
        """Return the steps that are sent without waiting in between.

        Only what goes to one queue is taken in the order in which it was sent.
        """
        parts: list[list[Step]] = []
        for step in self.steps:
            last = parts[-1][-1] if parts else None
            if together and last and last.stock == step.stock and not last.is_overtaken:
                parts[-1].append(step)
            else:
                parts.append([step])
        return parts

    def message(self, step: Step) -> Command:
        """Return the command of a step. A hold that is asked for `soon` lapses a second from now."""
        verb, name, *rest = step.command.split()
        name, sku = f"{name}-{self.suffix}", f"SKU-{self.suffix}"
        options = dict(zip(rest[1::2], rest[2::2], strict=False))
        command: Command
        match verb:
            case "create":
                command = CreateBatch(batchref=name, sku=sku, qty=int(rest[0]), eta=_day(options.get("eta")))
            case "stock":
                command = ChangeBatchQuantity(batchref=name, qty=int(rest[0]))
            case "eta":
                command = ChangeBatchEta(batchref=name, eta=_day(rest[0]))
            case "hold":
                until = datetime.now(UTC) + (_SOON if step.lapses else _FAR)
                command = Hold(orderid=name, sku=sku, qty=int(rest[0]), until=until)
            case "change":
                from_qty = int(options["from"]) if "from" in options else None
                command = ChangeLineQuantity(orderid=name, sku=sku, qty=int(rest[0]), from_qty=from_qty)
            case "ship":
                command = Ship(orderid=name, sku=sku)
            case "cancel":
                command = Deallocate(orderid=name, sku=sku)
            case "allocate":
                command = Allocate(
                    orderid=name,
                    sku=sku,
                    qty=int(rest[0]),
                    wait=rest[-1] == "wait",
                    priority=int(options.get("priority", 0)),
                    needed_by=_day(options.get("by")),
                )
            case _:
                raise ValueError(f"{verb!r} is not a verb of a story.")
        return command

    def show(self, event: ReceivedEvent) -> str:
        """Return an event as a story has it."""
        if event.type == CommandRejected.TYPE:
            return f"rejected {event.data['reason']}"
        values = [_shown(value) for name, value in event.data.items() if name not in _NOT_SHOWN]
        return " ".join([event.type.removesuffix(".v1"), *(value.removesuffix(f"-{self.suffix}") for value in values)])


def _day(name: str | None) -> date | None:
    return None if name in {None, "-"} else _DAYS[str(name)]


def _shown(value: object) -> str:
    return "-" if value is None else _NAMES_OF_DAYS.get(str(value), str(value))


@dataclass(slots=True)
class _Told:
    """How far a story has been told."""

    story: Story
    parts: Iterator[list[Step]]
    sent: dict[str, Step] = field(default_factory=dict)
    """The step of each message_id."""
    awaited: int = 0
    """The number of events that all sent commands cause."""
    ended: bool = False


def tell(client: ExternalClient, stories: Sequence[Story], *, together: bool, within: float = 60) -> list[str]:
    """Tell all stories side by side.

    Args:
        client: Publishes the commands, and receives the events.
        stories: Each has a SKU of its own.
        together: Send commands in a row for one queue without waiting for their events. Else each is sent when all
            events of the one before have arrived.
        within: Seconds to wait at most for events. What has not arrived by then is a difference.

    Returns:
        What came out differently, a text for each story.
    """
    told = [_Told(story, iter(story.parts(together=together))) for story in stories]
    deadline = time.monotonic() + within
    while not all(each.ended for each in told) and time.monotonic() < deadline:
        caused = _by_cause(client)
        for each in told:
            if not each.ended and sum(len(caused.get(message_id, ())) for message_id in each.sent) >= each.awaited:
                _go_on(client, each)
        time.sleep(0.02)
    caused = _by_cause(client)
    return [text for each in told if (text := _difference(each, caused))]


def _by_cause(client: ExternalClient) -> dict[str, list[ReceivedEvent]]:
    """Return the events by the message_id of their command, each once."""
    caused: dict[str, dict[str, ReceivedEvent]] = {}
    for event in list(client.received):
        caused.setdefault(event.causation_id, {}).setdefault(event.message_id, event)
    return {cause: list(events.values()) for cause, events in caused.items()}


def _go_on(client: ExternalClient, told: _Told) -> None:
    for step in (part := next(told.parts, [])):
        told.sent[client.send(told.story.message(step))] = step
        told.awaited += len(step.events)
    told.ended = not part


def _difference(told: _Told, caused: Mapping[str, Sequence[ReceivedEvent]]) -> str:
    """Return the story as it was told and as it came out, or "" if that is the same."""
    first: dict[str, str] = {}
    for cause, events in caused.items():
        for event in events:
            first.setdefault(event.message_id, cause)
    lines, differs = [], not told.ended
    for message_id, step in told.sent.items():
        events = caused.get(message_id, ())
        again = [first[event.message_id] != message_id for event in events]
        came = [f"{'again ' * repeated}{told.story.show(event)}" for event, repeated in zip(events, again, strict=True)]
        lines.append(f"  {step.command} -> {'; '.join(came)}")
        if came != step.events:
            differs = True
            lines.append(f"     and not: {'; '.join(step.events)}")
    return "\n".join([told.story.title, *lines]) if differs else ""
