"""The reasons that events give: open lists of slugs.

The worker writes those that are named here. A later version may write others, so a program that reads events must
accept a slug that it doesn't know.
"""

from enum import StrEnum
from typing import Self


class _Reason(StrEnum):
    """A slug with its meaning. It equals the plain text that an event holds.

    Attributes:
        meaning: One English sentence.
    """

    meaning: str

    def __new__(cls, slug: str, meaning: str) -> Self:
        member = str.__new__(cls, slug)
        member._value_ = slug
        member.meaning = meaning
        return member

    @classmethod
    def described(cls) -> str:
        """Return the slugs with their meanings, for the description of a field."""
        return " ".join(f"`{reason}`: {reason.meaning}" for reason in cls)


class RejectionReason(_Reason):
    """Why a command was rejected: `reason` of `command-rejected.v1`."""

    UNKNOWN_SKU = "unknown-sku", "No batch of the SKU has been created, not even after a short wait."
    LINE_QUANTITY_CONFLICT = "line-quantity-conflict", "The line has another quantity."
    LINE_CANCELLED = "line-cancelled", "The line was cancelled and stays so."
    UNKNOWN_LINE = "unknown-line", "No such line was ever asked for, not even after a short wait."
    NOT_ENOUGH_STOCK = "not-enough-stock", "No batch can take the line in its new quantity; it keeps what it has."
    LINE_NOT_ALLOCATED = "line-not-allocated", "The line holds no stock, or stock is only held for it."
    LINE_SHIPPED = "line-shipped", "The line has been shipped."
    BATCH_NOT_ARRIVED = "batch-not-arrived", "The batch of the line has not arrived, not even after a short wait."
    BATCH_SHIPPED = "batch-shipped", "More of the batch has been shipped than it is to hold."
    BATCH_EXISTS = (
        "batch-exists",
        "The reference belongs to a batch that was created with other content, or was pruned.",
    )
    UNKNOWN_BATCH = "unknown-batch", "No batch has the reference, or it was pruned."
    BATCH_ARRIVED = "batch-arrived", "The batch has arrived, so it has no day of arrival any more."


class DeallocationReason(_Reason):
    """Why a line holds no stock any more: `reason` of `deallocated.v1`."""

    CANCELLED = "cancelled", "The line was cancelled."
    BATCH_QUANTITY_CHANGED = "batch-quantity-changed", "The batch became too small for the line."
    BATCH_ETA_CHANGED = "batch-eta-changed", "The batch arrives after the day by which the line is needed."
