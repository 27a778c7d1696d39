"""The refusals of business rules."""

from typing import ClassVar

MAX_QUOTED = 300


def quoted(text: str) -> str:
    """Return an identifier in quotes, shortened to 300 characters, for the sentence of a refusal.

    An identifier of 255 printable characters is shown in full. A character that is not printable takes up to ten.
    """
    whole = repr(text)
    return whole if len(whole) <= MAX_QUOTED else f"{whole[: MAX_QUOTED - 2]}…{whole[0]}"


class RefusalError(Exception):
    """A business rule forbids the command, and nothing has changed.

    It is an answer to the sender, who gets it as `command-rejected`. Its text is one sentence for people.

    Attributes:
        reason: A slug, one of the contract's `RejectionReason`.
        may_pass: Whether the same command may be accepted a little later.
    """

    reason: ClassVar[str]
    may_pass: ClassVar[bool] = False


class UnknownSkuError(RefusalError):
    """No batch of this SKU has been created. Its command may still be in the other queue."""

    reason = "unknown-sku"
    may_pass = True


class LineQuantityConflictError(RefusalError):
    """The line has another quantity."""

    reason = "line-quantity-conflict"


class LineCancelledError(RefusalError):
    """The line was cancelled and stays so."""

    reason = "line-cancelled"


class UnknownLineError(RefusalError):
    """No such line was ever asked for. Its allocate may still be on its way."""

    reason = "unknown-line"
    may_pass = True


class NotEnoughStockError(RefusalError):
    """No batch can take the line in its new quantity."""

    reason = "not-enough-stock"


class LineNotAllocatedError(RefusalError):
    """The line holds no stock, or stock is only held for it."""

    reason = "line-not-allocated"


class LineShippedError(RefusalError):
    """The line has been shipped."""

    reason = "line-shipped"


class BatchNotArrivedError(RefusalError):
    """The batch of the line is not in the warehouse. Its arrival may still be in the other queue."""

    reason = "batch-not-arrived"
    may_pass = True


class BatchShippedError(RefusalError):
    """More of the batch has been shipped than it is to hold."""

    reason = "batch-shipped"


class BatchExistsError(RefusalError):
    """The batch was created with other content, or is no longer kept."""

    reason = "batch-exists"


class BatchArrivedError(RefusalError):
    """The batch is in the warehouse, so it cannot have an ETA again."""

    reason = "batch-arrived"


class UnknownBatchError(RefusalError):
    """No batch has this reference."""

    reason = "unknown-batch"
