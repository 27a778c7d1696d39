"""Structured logs on stderr: JSON, or coloured text on a terminal."""

import logging
import sys
from functools import partial

import structlog


def configure(level: str = "info", *, verb: str | None = None) -> None:
    """Set up structlog for this process; call it once, before anything is logged.

    A traceback on a terminal shows no local variables: they hold customers' data.

    Args:
        level: The lowest level that is logged.
        verb: What this process does; a field of every line.
    """
    on_terminal = sys.stderr.isatty()
    renderer: structlog.typing.Processor = (
        structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        if on_terminal
        else structlog.processors.JSONRenderer(default=repr)
    )
    structlog.configure(
        processors=[
            partial(_add_verb, verb),
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.StackInfoRenderer(),
            *([] if on_terminal else [structlog.processors.format_exc_info]),
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    # What pika has to say about a connection, the adapter says in our words.
    logging.getLogger("pika").setLevel(logging.CRITICAL)


def _add_verb(
    verb: str | None, _logger: object, _method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    if verb is not None:
        event.setdefault("verb", verb)
    return event
