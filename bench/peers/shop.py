"""What all these programs share: the tables, the decision, the orders, and the addresses."""

import json
import os
import random
from collections.abc import Iterator, Sequence
from datetime import date

from sqlalchemy import ForeignKey, Select, select
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column
from typing_extensions import TypedDict  # pydantic, in FastStream, refuses the one of typing before Python 3.12

AMQP_URL = os.environ["PEER_AMQP_URL"]
DATABASE_URL = os.environ["PEER_DATABASE_URL"]
QUEUE = "orders"
EVENTS_EXCHANGE = "allocation.events"
ALLOCATED = "allocated"


class Order(TypedDict):
    """The body of a command."""

    orderid: str
    sku: str
    qty: int


class Base(DeclarativeBase):
    """The tables of the book's last chapter, with a counter in place of a sum over all lines of a batch."""


class ProductRow(Base):
    """One row for each SKU. Locking it makes the decisions about a SKU one after the other."""

    __tablename__ = "products"

    sku: Mapped[str] = mapped_column(primary_key=True)
    version_number: Mapped[int]


class BatchRow(Base):
    """A batch of stock."""

    __tablename__ = "batches"

    reference: Mapped[str] = mapped_column(primary_key=True)
    sku: Mapped[str] = mapped_column(ForeignKey("products.sku"), index=True)
    purchased: Mapped[int]
    allocated: Mapped[int]
    eta: Mapped[date | None]


class LineRow(Base):
    """An allocated line."""

    __tablename__ = "order_lines"

    id: Mapped[int] = mapped_column(primary_key=True)
    orderid: Mapped[str]
    sku: Mapped[str]
    qty: Mapped[int]
    batchref: Mapped[str] = mapped_column(ForeignKey("batches.reference"))


def product(order: Order) -> Select[ProductRow]:
    """Return the statement that locks the product."""
    return select(ProductRow).where(ProductRow.sku == order["sku"]).with_for_update()


def batches(order: Order) -> Select[BatchRow]:
    """Return the statement that reads the batches with enough stock, the preferred one first."""
    return (
        select(BatchRow)
        .where(BatchRow.sku == order["sku"], BatchRow.purchased - BatchRow.allocated >= order["qty"])
        .order_by(BatchRow.eta.nulls_first(), BatchRow.reference)
        .limit(1)
    )


def allocate(order: Order, product: ProductRow, found: Sequence[BatchRow]) -> tuple[LineRow, bytes]:
    """Return the new line and the body of its event.

    Raises:
        LookupError: No batch has enough stock. The benchmark's orders always fit.
    """
    if not found:
        raise LookupError(order["sku"])
    batch = found[0]
    batch.allocated += order["qty"]
    product.version_number += 1
    event = {**order, "batchref": batch.reference, "eta": batch.eta and batch.eta.isoformat()}
    return LineRow(**order, batchref=batch.reference), json.dumps(event).encode()


def orders(count: int, skus: int = 1000) -> Iterator[Order]:
    """Return new lines of random SKUs, the same each time."""
    rng = random.Random(1)
    for number in range(count):
        yield Order(orderid=f"order-{number}", sku=f"SKU-{rng.randrange(skus):05}", qty=rng.randint(1, 10))
