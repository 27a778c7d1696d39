"""The events that the allocation worker publishes: what it decided."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import ClassVar, TypeAlias

from pydantic import Field

from allocation_contracts import strict_json
from allocation_contracts.fields import (
    MAX_SEQUENCE,
    Data,
    DateOrNull,
    OptionalText,
    PositiveQuantity,
    Quantity,
    Sentence,
    Sequence,
    Slug,
    Text,
    TextOrNull,
    UtcTime,
)
from allocation_contracts.message import Message, encode, model_of, validate
from allocation_contracts.reasons import DeallocationReason, RejectionReason

__all__ = [
    "EVENTS",
    "MAX_EVENT_BYTES",
    "Allocated",
    "Backordered",
    "BatchCreated",
    "BatchEtaChanged",
    "BatchQuantityChanged",
    "CommandRejected",
    "Deallocated",
    "Event",
    "Held",
    "HoldLapsed",
    "LineQuantityChanged",
    "OutOfStock",
    "PromiseChanged",
    "Shipped",
    "SkuEvent",
    "UnknownEvent",
    "encode",
    "read_event",
    "read_unknown_event",
]

# An event may contain a rejected body of 64 KiB, which grows when it is written again: 1e15 becomes 1000000000000000.0.
MAX_EVENT_BYTES = 262_144
# The rejected body is nested one level deeper than it was sent.
_MAX_EVENT_DEPTH = strict_json.MAX_DEPTH + 1

_OPEN_LIST = "Known reasons, to which later versions may add:"


class Allocated(Message):
    """An order line was allocated to a batch."""

    TYPE: ClassVar[str] = "allocated.v1"

    orderid: Text = Field(description="The order that the line belongs to.")
    sku: Text = Field(description="The product that is ordered.")
    lineid: OptionalText = Field(description="The line's id; empty when the command had none.")
    qty: PositiveQuantity = Field(description="The allocated quantity: the whole line.")
    batchref: Text = Field(description="The batch that the line was allocated to.")
    eta: DateOrNull = Field(description="The day on which the batch arrives; null if it is in the warehouse.")
    sequence: Sequence


class OutOfStock(Message):
    """No batch can take an order line."""

    TYPE: ClassVar[str] = "out-of-stock.v1"

    orderid: Text = Field(description="The order that the line belongs to.")
    sku: Text = Field(description="The product that is ordered.")
    lineid: OptionalText = Field(description="The line's id; empty when the command had none.")
    qty: PositiveQuantity = Field(description="The ordered quantity.")
    largest_available: Quantity = Field(
        description="The most that one batch could give, of the batches that arrive by the day that the line is needed."
    )
    next_eta: DateOrNull = Field(
        description="The first day on which another of these batches arrives that has stock left; null if none does. "
        "The batch that could give the most is not counted."
    )
    sequence: Sequence


class Backordered(Message):
    """No batch can take an order line, and it waits for stock."""

    TYPE: ClassVar[str] = "backordered.v1"

    orderid: Text = Field(description="The order that the line belongs to.")
    sku: Text = Field(description="The product that is ordered.")
    lineid: OptionalText = Field(description="The line's id; empty when the command had none.")
    qty: PositiveQuantity = Field(description="The ordered quantity.")
    largest_available: Quantity = Field(
        description="The most that one batch could give, of the batches that arrive by the day that the line is needed."
    )
    next_eta: DateOrNull = Field(
        description="The first day on which another of these batches arrives that has stock left; null if none does. "
        "The batch that could give the most is not counted."
    )
    sequence: Sequence


class Deallocated(Message):
    """An order line was cancelled, or lost its stock because its batch became smaller or comes later."""

    TYPE: ClassVar[str] = "deallocated.v1"

    orderid: Text = Field(description="The order that the line belongs to.")
    sku: Text = Field(description="The product that was ordered.")
    lineid: OptionalText = Field(description="The line's id; empty when the command had none.")
    qty: Quantity = Field(description="The line's quantity; 0 for a line that was never seen.")
    batchref: TextOrNull = Field(description="The batch that held the line; null if the line held no stock.")
    reason: Slug = Field(
        description=f"Why the line holds no stock any more. {_OPEN_LIST} {DeallocationReason.described()}",
        examples=list(DeallocationReason),
    )
    sequence: Sequence


class Shipped(Message):
    """An order line was shipped."""

    TYPE: ClassVar[str] = "shipped.v1"

    orderid: Text = Field(description="The order that the line belongs to.")
    sku: Text = Field(description="The product that was ordered.")
    lineid: OptionalText = Field(description="The line's id; empty when the command had none.")
    qty: PositiveQuantity = Field(description="The shipped quantity: the whole line.")
    batchref: Text = Field(description="The batch that the line was taken from.")
    sequence: Sequence


class LineQuantityChanged(Message):
    """The quantity of an order line was changed."""

    TYPE: ClassVar[str] = "line-quantity-changed.v1"

    orderid: Text = Field(description="The order that the line belongs to.")
    sku: Text = Field(description="The product that was ordered.")
    lineid: OptionalText = Field(description="The line's id; empty when the command had none.")
    qty: PositiveQuantity = Field(description="The new quantity.")
    previous_qty: PositiveQuantity = Field(description="The quantity before.")
    batchref: TextOrNull = Field(
        description="The batch that the whole line is allocated to now; null if it holds no stock."
    )
    eta: DateOrNull = Field(
        description="The day on which that batch arrives; null if it is in the warehouse, or if there is none."
    )
    sequence: Sequence


class BatchCreated(Message):
    """A batch of stock was added."""

    TYPE: ClassVar[str] = "batch-created.v1"

    batchref: Text = Field(description="The batch's reference.")
    sku: Text = Field(description="The product that the batch holds.")
    qty: PositiveQuantity = Field(description="The purchased quantity.")
    eta: DateOrNull = Field(description="The day on which the batch arrives; null if it is in the warehouse.")
    sequence: Sequence


class BatchQuantityChanged(Message):
    """The purchased quantity of a batch was changed."""

    TYPE: ClassVar[str] = "batch-quantity-changed.v1"

    batchref: Text = Field(description="The batch's reference.")
    sku: Text = Field(description="The product that the batch holds.")
    qty: Quantity = Field(description="The new purchased quantity.")
    previous_qty: Quantity = Field(description="The previous purchased quantity.")
    sequence: Sequence


class BatchEtaChanged(Message):
    """The day of arrival of a batch was changed, or the batch has arrived."""

    TYPE: ClassVar[str] = "batch-eta-changed.v1"

    batchref: Text = Field(description="The batch's reference.")
    sku: Text = Field(description="The product that the batch holds.")
    eta: DateOrNull = Field(description="The day on which the batch arrives now; null if it is in the warehouse.")
    previous_eta: DateOrNull = Field(description="The day of arrival before; null if the batch was in the warehouse.")
    sequence: Sequence


class PromiseChanged(Message):
    """The batch of an order line arrives on another day, or has arrived."""

    TYPE: ClassVar[str] = "promise-changed.v1"

    orderid: Text = Field(description="The order that the line belongs to.")
    sku: Text = Field(description="The product that is ordered.")
    lineid: OptionalText = Field(description="The line's id; empty when the command had none.")
    qty: PositiveQuantity = Field(description="The allocated quantity: the whole line.")
    batchref: Text = Field(description="The batch that the line is allocated to, as before.")
    eta: DateOrNull = Field(description="The day on which the batch arrives now; null if it is in the warehouse.")
    previous_eta: DateOrNull = Field(description="The day of arrival before.")
    sequence: Sequence


class Held(Message):
    """Stock is held for an order line. It takes the place of what was held for the line before."""

    TYPE: ClassVar[str] = "held.v1"

    orderid: Text = Field(description="The order that the line will belong to.")
    sku: Text = Field(description="The product that may be ordered.")
    lineid: OptionalText = Field(description="The line's id; empty when the command had none.")
    qty: PositiveQuantity = Field(description="The held quantity: the whole line.")
    batchref: Text = Field(description="The batch whose stock is held.")
    eta: DateOrNull = Field(description="The day on which the batch arrives; null if it is in the warehouse.")
    until: UtcTime = Field(description="When the hold lapses, unless the line is allocated before.")
    sequence: Sequence


class HoldLapsed(Message):
    """The stock that was held for an order line is free again. The line is as if it had never been asked for."""

    TYPE: ClassVar[str] = "hold-lapsed.v1"

    orderid: Text = Field(description="The order that the line would have belonged to.")
    sku: Text = Field(description="The product that was not ordered.")
    lineid: OptionalText = Field(description="The line's id; empty when the command had none.")
    qty: PositiveQuantity = Field(description="The quantity that was held.")
    batchref: Text = Field(description="The batch whose stock was held.")
    sequence: Sequence


class CommandRejected(Message):
    """A well-formed command was refused by a business rule."""

    TYPE: ClassVar[str] = "command-rejected.v1"

    command: Text = Field(description="The command's type, such as allocate.v1.")
    reason: Slug = Field(
        description=f"The reason for programs. {_OPEN_LIST} {RejectionReason.described()}",
        examples=list(RejectionReason),
    )
    detail: Sentence = Field(description="The reason for people, in one English sentence.")
    data: Data = Field(description="The command's body, as it was sent.")


SkuEvent: TypeAlias = (
    Allocated
    | OutOfStock
    | Backordered
    | PromiseChanged
    | LineQuantityChanged
    | Shipped
    | Held
    | HoldLapsed
    | Deallocated
    | BatchCreated
    | BatchQuantityChanged
    | BatchEtaChanged
)
"""An event that belongs to one SKU and is counted by its `sequence`."""

Event: TypeAlias = SkuEvent | CommandRejected

EVENTS: Mapping[str, type[Event]] = MappingProxyType(
    {
        event.TYPE: event
        for event in (
            Allocated,
            OutOfStock,
            Backordered,
            PromiseChanged,
            LineQuantityChanged,
            Shipped,
            Held,
            HoldLapsed,
            Deallocated,
            BatchCreated,
            BatchQuantityChanged,
            BatchEtaChanged,
            CommandRejected,
        )
    }
)


def read_event(type_: str | None, body: bytes) -> Event:
    """Return the event in a body; fields that this version does not know are ignored.

    Args:
        type_: The AMQP property `type`, such as `allocated.v1`.
        body: A JSON object in UTF-8, 262,144 bytes at most.

    Raises:
        ContractError: `missing-type`, `unknown-type`, `body-too-large`, `compressed-body`, `invalid-json` or
            `invalid-body`.
    """
    model: type[Event] = model_of(type_, EVENTS)
    return validate(model, strict_json.read(body, max_bytes=MAX_EVENT_BYTES, max_depth=_MAX_EVENT_DEPTH))


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownEvent:
    """An event of a SKU, of a type that this version does not know.

    Attributes:
        type: The AMQP property `type`.
        sku: The SKU that the event belongs to.
        sequence: Counts the events of the SKU.
    """

    type: str
    sku: str
    sequence: int


def read_unknown_event(type_: str, body: bytes) -> UnknownEvent | None:
    """Return what can be read of an event whose type this version does not know.

    A later version may add types. A reader that counts them sees no gap where one stands.

    Args:
        type_: The AMQP property `type`; not one of `EVENTS`.
        body: As for `read_event`.

    Returns:
        The event, or None if it has no `sku` and `sequence`: then it belongs to no SKU.

    Raises:
        ContractError: `body-too-large`, `compressed-body` or `invalid-json`.
    """
    data = strict_json.read(body, max_bytes=MAX_EVENT_BYTES, max_depth=_MAX_EVENT_DEPTH)
    sku, sequence = data.get("sku"), data.get("sequence")
    if isinstance(sku, str) and sku and type(sequence) is int and 1 <= sequence <= MAX_SEQUENCE:
        return UnknownEvent(type=type_, sku=sku, sequence=sequence)
    return None
