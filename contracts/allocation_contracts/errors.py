"""The root of all errors, the error of a broken contract, and how sentences show a value."""

import json
from typing import Final

from allocation_contracts.printable import printable

_SHOWN_CHARACTERS = 60


class AllocationError(Exception):
    """The root of every error that this package and the worker raise on purpose.

    Its text is a sentence for the person who runs the program: what was wrong, where, and what to do.
    """


class ContractError(AllocationError, ValueError):
    """A message breaks the wire contract, so reading it again would fail again.

    Attributes:
        reason: A slug for programs and metrics: `invalid-json`, `body-too-large`, `compressed-body`, `invalid-body`,
            `missing-type`, `unknown-type`, `missing-message-id`, `invalid-message-id`, `unsupported-content-type` or
            `invalid-header`.
        detail: One English sentence for people: what was wrong, where, and what to do. It is also the `str()`.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(reason, detail)
        self.reason: Final = reason
        self.detail: Final = detail

    def __str__(self) -> str:
        return self.detail


def show(value: object) -> str:
    """Show a value of a message inside a sentence.

    Returns:
        One printable line of about 60 characters at most, the way JSON writes the value: `true`, `"abc"`, `-5`.
        Containers are only named, because a header table may be nested deeper than Python can follow.
    """
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, list | tuple):
        return "an array"
    text = _show_scalar(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}..."


def _show_scalar(value: object) -> str:
    if isinstance(value, str):
        start = value[: _SHOWN_CHARACTERS + 1]
        return printable(json.dumps(start, ensure_ascii=False))
    if value is None or isinstance(value, bool | int | float):
        return json.dumps(value)
    return repr(value)
