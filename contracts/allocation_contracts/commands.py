"""The commands that other programs send to the allocation worker."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import ClassVar, TypeAlias

from pydantic import Field

from allocation_contracts import strict_json
from allocation_contracts.fields import Eta, NullableText, PositiveQuantity, Quantity, Text
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


class Deallocate(Message):
    """Cancel an order line: free its stock, and reject every later allocate of the line."""

    TYPE: ClassVar[str] = "deallocate.v1"
    QUEUE: ClassVar[str] = ORDERS_QUEUE

    orderid: Text = Field(description="The order that the line belongs to.")
    sku: Text = Field(description="The product that was ordered.")
    lineid: NullableText = Field(
        default="", description="The line's id, as it was when it was allocated; empty when absent or null."
    )


class CreateBatch(Message):
    """Add a batch of stock that was purchased."""

    TYPE: ClassVar[str] = "create-batch.v1"
    QUEUE: ClassVar[str] = STOCK_QUEUE

    batchref: Text = Field(description="The batch's unique reference.")
    sku: Text = Field(description="The product that the batch holds.")
    qty: PositiveQuantity = Field(description="The purchased quantity.")
    eta: Eta = Field(default=None, description="The day on which the batch arrives; null if it is in the warehouse.")


class ChangeBatchQuantity(Message):
    """Correct the quantity of a batch that exists."""

    TYPE: ClassVar[str] = "change-batch-quantity.v1"
    QUEUE: ClassVar[str] = STOCK_QUEUE

    batchref: Text = Field(description="The batch's reference.")
    qty: Quantity = Field(description="The new purchased quantity.")


Command: TypeAlias = Allocate | Deallocate | CreateBatch | ChangeBatchQuantity

COMMANDS: Mapping[str, type[Command]] = MappingProxyType(
    {command.TYPE: command for command in (Allocate, Deallocate, CreateBatch, ChangeBatchQuantity)}
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
