"""The worker's link to the broker, which logs by structlog."""

import logging
from functools import partial
from typing import Any

import structlog

from allocation_contracts.amqp.link import Link

_logger = structlog.get_logger()

# The link tells in one line what matters of pika's log; for one bad header pika would write hundreds.
logging.getLogger("pika").setLevel(logging.CRITICAL)


def log_event(level: int, event: str, **fields: Any) -> None:  # noqa: ANN401 - the fields of a log line
    """Write one log event."""
    _logger.log(level, event, **fields)


worker_link = partial(Link, log=log_event)
