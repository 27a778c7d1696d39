"""The refusals of business rules."""

from typing import ClassVar

MAX_QUOTED = 300


def quoted(text: str) -> str:
    """An identifier as it stands in a refusal's sentence, which must stay short.

    One of 255 printable characters is shown whole; others take up to ten characters each.
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
    """No batch of this SKU has been created yet; it may be on its way in the other queue."""

    reason = "unknown-sku"
    may_pass = True


class LineQuantityConflictError(RefusalError):
    """The line holds stock already, in another quantity."""

    reason = "line-quantity-conflict"


class LineCancelledError(RefusalError):
    """The line was cancelled, and stays so."""

    reason = "line-cancelled"


class BatchExistsError(RefusalError):
    """The batch was created before, with other content."""

    reason = "batch-exists"


class UnknownBatchError(RefusalError):
    """No batch has this reference."""

    reason = "unknown-batch"
