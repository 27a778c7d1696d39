"""The events: what the allocation worker decided, for whoever subscribes."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, TypeAlias

from pydantic import Field

from allocation_contracts import strict_json
from allocation_contracts.fields import (
    Data,
    Eta,
    OptionalText,
    PositiveQuantity,
    Quantity,
    Sentence,
    Sequence,
    Slug,
    Text,
    TextOrNull,
)
from allocation_contracts.message import Message, encode, model_of, validate
from allocation_contracts.reasons import DeallocationReason, RejectionReason

__all__ = [
    "EVENTS",
    "MAX_EVENT_BYTES",
    "Allocated",
    "BatchCreated",
    "BatchQuantityChanged",
    "CommandRejected",
    "Deallocated",
    "Event",
    "OutOfStock",
    "SkuEvent",
    "encode",
    "read_event",
]

# A rejected body of 64 KiB comes back in an event, and grows on the way: 1e15 is written 1000000000000000.0.
MAX_EVENT_BYTES = 262_144
# It also stands one level deeper than it was sent.
_MAX_EVENT_DEPTH = strict_json.MAX_DEPTH + 1

_OPEN_LIST = "Known reasons, to which later versions may add:"


class Allocated(Message):
    """An order line was allocated to a batch."""

    TYPE: ClassVar[str] = "allocated.v1"

    orderid: Text = Field(description="The order that the line belongs to.")
    sku: Text = Field(description="What is ordered.")
    lineid: OptionalText = Field(description="The line's id; empty when the command had none.")
    qty: PositiveQuantity = Field(description="How many were allocated: the whole line.")
    batchref: Text = Field(description="The batch that the line was allocated to.")
    eta: Eta = Field(description="When the batch will arrive; null: it is in the warehouse.")
    sequence: Sequence


class OutOfStock(Message):
    """No batch can take an order line."""

    TYPE: ClassVar[str] = "out-of-stock.v1"

    orderid: Text = Field(description="The order that the line belongs to.")
    sku: Text = Field(description="What is ordered.")
    lineid: OptionalText = Field(description="The line's id; empty when the command had none.")
    qty: PositiveQuantity = Field(description="How many are ordered.")
    largest_available: Quantity = Field(description="The most that one batch could give.")
    next_eta: Eta = Field(description="When the next batch will arrive, or null.")
    sequence: Sequence


class Deallocated(Message):
    """An order line was cancelled, or taken off a batch that shrank."""

    TYPE: ClassVar[str] = "deallocated.v1"

    orderid: Text = Field(description="The order that the line belongs to.")
    sku: Text = Field(description="What was ordered.")
    lineid: OptionalText = Field(description="The line's id; empty when the command had none.")
    qty: Quantity = Field(description="The line's quantity; 0 for a line that was never seen.")
    batchref: TextOrNull = Field(description="The batch that held the line; null: it held no stock.")
    reason: Slug = Field(
        description=f"Why the line holds no stock any more. {_OPEN_LIST} {DeallocationReason.described()}",
        examples=list(DeallocationReason),
    )
    sequence: Sequence


class BatchCreated(Message):
    """A batch of stock exists from now on."""

    TYPE: ClassVar[str] = "batch-created.v1"

    batchref: Text = Field(description="The batch's reference.")
    sku: Text = Field(description="What the batch holds.")
    qty: PositiveQuantity = Field(description="How many were purchased.")
    eta: Eta = Field(description="When the batch will arrive; null: it is in the warehouse.")
    sequence: Sequence


class BatchQuantityChanged(Message):
    """The purchased quantity of a batch is another from now on."""

    TYPE: ClassVar[str] = "batch-quantity-changed.v1"

    batchref: Text = Field(description="The batch's reference.")
    sku: Text = Field(description="What the batch holds.")
    qty: Quantity = Field(description="The purchased quantity from now on.")
    previous_qty: Quantity = Field(description="The purchased quantity before.")
    sequence: Sequence


class CommandRejected(Message):
    """A command was well formed, and refused for a business reason."""

    TYPE: ClassVar[str] = "command-rejected.v1"

    command: Text = Field(description="The command's type, such as allocate.v1.")
    reason: Slug = Field(
        description=f"Why, for programs. {_OPEN_LIST} {RejectionReason.described()}", examples=list(RejectionReason)
    )
    detail: Sentence = Field(description="Why, for people: one English sentence.")
    data: Data = Field(description="The command's body, as it was sent.")


SkuEvent: TypeAlias = Allocated | OutOfStock | Deallocated | BatchCreated | BatchQuantityChanged
"""An event of one SKU, counted by its `sequence`."""

Event: TypeAlias = SkuEvent | CommandRejected

EVENTS: Mapping[str, type[Event]] = MappingProxyType(
    {
        event.TYPE: event
        for event in (Allocated, OutOfStock, Deallocated, BatchCreated, BatchQuantityChanged, CommandRejected)
    }
)


def read_event(type_: str | None, body: bytes) -> Event:
    """Read the body of an event, ignoring fields that this version doesn't know.

    Args:
        type_: The AMQP property `type`, such as `allocated.v1`.
        body: A JSON object in UTF-8, 262,144 bytes at most.

    Raises:
        ContractViolation: `missing-type`, `unknown-type`, `body-too-large`, `invalid-json` or `invalid-body`.
    """
    model: type[Event] = model_of(type_, EVENTS)
    return validate(model, strict_json.read(body, max_bytes=MAX_EVENT_BYTES, max_depth=_MAX_EVENT_DEPTH))
