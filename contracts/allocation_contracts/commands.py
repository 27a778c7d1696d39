"""The commands that other programs send to the allocation worker."""

import operator
from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, TypeAlias

from pydantic import Field

from allocation_contracts import strict_json
from allocation_contracts.fields import (
    DateOrNull,
    Flag,
    NullableText,
    PositiveQuantity,
    PositiveQuantityOrNull,
    Priority,
    Quantity,
    Text,
    UtcTime,
)
from allocation_contracts.message import Message, model_of, validate
from allocation_contracts.names import ORDERS_QUEUE, STOCK_QUEUE


class Allocate(Message):
    """Allocate a whole order line to one batch of its SKU."""

    TYPE: ClassVar[str] = "allocate.v1"
    QUEUE: ClassVar[str] = ORDERS_QUEUE

    orderid: Text = Field(description="The order that the line belongs to.")
    sku: Text = Field(description="The product that is ordered.")
    qty: PositiveQuantity = Field(description="The ordered quantity.")
    lineid: NullableText = Field(
        default="", description="Distinguishes lines of one order that have the same SKU; empty when absent or null."
    )
    # Left out where they say nothing, so that a command has the same bytes as before there were these fields.
    wait: Flag = Field(
        default=False,
        exclude_if=operator.not_,
        description="Whether the line waits for stock if no batch can take it now; false when null.",
    )
    priority: Priority = Field(
        default=0,
        exclude_if=operator.not_,
        description="Of the lines that wait, those with the higher priority are served first; 0 when null.",
    )
    needed_by: DateOrNull = Field(
        default=None,
        exclude_if=operator.not_,
        description="No batch that arrives after this day is for the line; null if any will do.",
    )


class Deallocate(Message):
    """Cancel an order line: free its stock, and reject every later allocate of the line."""

    TYPE: ClassVar[str] = "deallocate.v1"
    QUEUE: ClassVar[str] = ORDERS_QUEUE

    orderid: Text = Field(description="The order that the line belongs to.")
    sku: Text = Field(description="The product that was ordered.")
    lineid: NullableText = Field(
        default="", description="The line's id, as it was when it was allocated; empty when absent or null."
    )


class Ship(Message):
    """Ask whether an order line may be shipped. After `shipped` it can neither be moved nor cancelled."""

    TYPE: ClassVar[str] = "ship.v1"
    QUEUE: ClassVar[str] = ORDERS_QUEUE

    orderid: Text = Field(description="The order that the line belongs to.")
    sku: Text = Field(description="The product that was ordered.")
    lineid: NullableText = Field(
        default="", description="The line's id, as it was when it was allocated; empty when absent or null."
    )


class ChangeLineQuantity(Message):
    """Set the quantity of an order line."""

    TYPE: ClassVar[str] = "change-line-quantity.v1"
    QUEUE: ClassVar[str] = ORDERS_QUEUE

    orderid: Text = Field(description="The order that the line belongs to.")
    sku: Text = Field(description="The product that was ordered.")
    qty: PositiveQuantity = Field(description="The new quantity, and not the difference.")
    lineid: NullableText = Field(
        default="", description="The line's id, as it was when it was allocated; empty when absent or null."
    )
    from_qty: PositiveQuantityOrNull = Field(
        default=None,
        description="The quantity that the sender knows. If the line has another by now, the command is rejected.",
    )


class Hold(Message):
    """Hold stock for an order line that may be ordered soon, such as for a basket. A hold never waits for stock."""

    TYPE: ClassVar[str] = "hold.v1"
    QUEUE: ClassVar[str] = ORDERS_QUEUE

    orderid: Text = Field(description="The order that the line will belong to.")
    sku: Text = Field(description="The product that may be ordered.")
    qty: PositiveQuantity = Field(description="The quantity to hold.")
    lineid: NullableText = Field(
        default="", description="Distinguishes lines of one order that have the same SKU; empty when absent or null."
    )
    until: UtcTime = Field(
        description="When the hold lapses. The worker may hold for a shorter time; `held` tells until when."
    )


class CreateBatch(Message):
    """Add a batch of stock that was purchased."""

    TYPE: ClassVar[str] = "create-batch.v1"
    QUEUE: ClassVar[str] = STOCK_QUEUE

    batchref: Text = Field(description="The batch's unique reference.")
    sku: Text = Field(description="The product that the batch holds.")
    qty: PositiveQuantity = Field(description="The purchased quantity.")
    eta: DateOrNull = Field(
        default=None, description="The day on which the batch arrives; null if it is in the warehouse."
    )


class ChangeBatchQuantity(Message):
    """Correct the quantity of a batch that exists."""

    TYPE: ClassVar[str] = "change-batch-quantity.v1"
    QUEUE: ClassVar[str] = STOCK_QUEUE

    batchref: Text = Field(description="The batch's reference.")
    qty: Quantity = Field(description="The new purchased quantity.")


class ChangeBatchEta(Message):
    """Tell a new day of arrival of a batch, or that it has arrived."""

    TYPE: ClassVar[str] = "change-batch-eta.v1"
    QUEUE: ClassVar[str] = STOCK_QUEUE

    batchref: Text = Field(description="The batch's reference.")
    eta: DateOrNull = Field(description="The day on which the batch arrives; null if it has arrived in the warehouse.")


Command: TypeAlias = (
    Allocate | Deallocate | Ship | ChangeLineQuantity | Hold | CreateBatch | ChangeBatchQuantity | ChangeBatchEta
)

COMMANDS: Mapping[str, type[Command]] = MappingProxyType(
    {
        command.TYPE: command
        for command in (
            Allocate,
            Deallocate,
            Ship,
            ChangeLineQuantity,
            Hold,
            CreateBatch,
            ChangeBatchQuantity,
            ChangeBatchEta,
        )
    }
)

QUEUES_BY_ROUTING_KEY: Mapping[str, str] = MappingProxyType(
    {command.ROUTING_KEY: command.QUEUE for command in COMMANDS.values()}
)


def read_command(type_: str | None, body: bytes) -> Command:
    """Return the command in a body.

    Args:
        type_: The AMQP property `type`, such as `allocate.v1`.
        body: A JSON object in UTF-8, 65,536 bytes at most.

    Raises:
        ContractError: `missing-type`, `unknown-type`, `body-too-large`, `compressed-body`,
            `invalid-json` or `invalid-body`.
    """
    model: type[Command] = model_of(type_, COMMANDS)
    return validate(model, strict_json.read(body))
