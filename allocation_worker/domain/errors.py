"""The ways in which the shop says no."""

from typing import ClassVar

MAX_QUOTED = 300


def quoted(text: str) -> str:
    """An identifier as it stands in a refusal's sentence, which must stay short.

    One of 255 printable characters is shown whole; others take up to ten characters each.
    """
    whole = repr(text)
    return whole if len(whole) <= MAX_QUOTED else f"{whole[: MAX_QUOTED - 2]}…{whole[0]}"


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an error
    """A rule of the shop forbids the command; nothing has changed. Its text is one sentence for people."""

    reason: ClassVar[str]
    may_pass: ClassVar[bool] = False
    """Whether a little patience may help."""


class UnknownSku(Refusal):
    """No batch of this SKU has been created yet; it may be on its way in the other queue."""

    reason = "unknown-sku"
    may_pass = True


class LineQuantityConflict(Refusal):
    """The line holds stock already, in another quantity."""

    reason = "line-quantity-conflict"


class LineCancelled(Refusal):
    """The line was cancelled, and stays so."""

    reason = "line-cancelled"


class BatchExists(Refusal):
    """The batch was created before, with other content."""

    reason = "batch-exists"


class UnknownBatch(Refusal):
    """No batch has this reference."""

    reason = "unknown-batch"
