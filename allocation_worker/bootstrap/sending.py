"""Wires what publishes commands."""

from collections.abc import Callable
from contextlib import closing
from typing import Any

from pydantic import ValidationError

import allocation_contracts as contracts
from allocation_contracts import ContractViolation
from allocation_worker.adapters.rabbitmq.command_publisher import CommandPublisher
from allocation_worker.config import Settings

SEND_TIMEOUT = 15.0


def build_command(model: Callable[..., contracts.Command], **fields: Any) -> contracts.Command:  # noqa: ANN401 - the model checks
    """A command from options.

    Raises:
        ContractViolation: it would be refused; the text says why.
    """
    try:
        return model(**fields)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ContractViolation(
            "invalid-body", f"--{first['loc'][0]} is wrong: {first['msg']}, got {first['input']!r}."
        ) from error


def send(settings: Settings, command: contracts.Command, *, message_id: str, correlation_id: str | None) -> None:
    """Publish one command, confirmed and mandatory."""
    with closing(CommandPublisher(settings.amqp_url, blocked_timeout=settings.blocked_timeout)) as publisher:
        publisher.publish(command, message_id=message_id, correlation_id=correlation_id)
        publisher.wait_confirmed(within=SEND_TIMEOUT)
