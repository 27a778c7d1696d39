"""Log events as slugs with fields, whatever the program logs with."""

import logging
from typing import Any, Protocol

from allocation_contracts.printable import printable


class Log(Protocol):
    """Writes one log event. structlog's `log` method is one; `log_to` makes one of a standard logger."""

    def __call__(self, level: int, event: str, **fields: Any) -> object: ...  # noqa: ANN401 - the fields of a log line


def log_to(logger: logging.Logger) -> Log:
    """Return what writes log events to a standard logger, as `slug name=value name=value`."""

    def log(level: int, event: str, *, exc_info: bool = False, **fields: Any) -> None:  # noqa: ANN401 - as above
        if logger.isEnabledFor(level):
            text = " ".join([event, *(f"{name}={printable(str(value))}" for name, value in fields.items())])
            logger.log(level, "%s", text, exc_info=exc_info)

    return log
