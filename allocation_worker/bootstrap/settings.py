"""Wires `settings`, which shows the settings that are in force."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

from allocation_contracts.amqp.urls import masked
from allocation_worker.adapters.postgres import address as postgres
from allocation_worker.adapters.rabbitmq import management_address
from allocation_worker.adapters.redis import address as redis
from allocation_worker.config import Settings, name_of


class Setting(NamedTuple):
    """A setting as it is in force.

    Attributes:
        name: Its name in the environment.
        value: A text as it would stand there; an address without its password and its options. None if it is not set.
        source: `default`, `environment`, or the path of the file that it comes from.
    """

    name: str
    value: str | None
    source: str


def in_force(settings: Settings) -> list[Setting]:
    """Return all settings, in the order of the reference."""
    return [Setting(name_of(field), _shown(settings, field), settings.source(field)) for field in Settings.model_fields]


def _shown(settings: Settings, field: str) -> str | None:
    value = getattr(settings, field)
    if value is None:
        return None
    if (parse := _PARSERS.get(field)) is not None:
        return str(parse(value))
    if field == "amqp_url":
        return ",".join(map(masked, value))
    return ",".join(map(str, value)) if isinstance(value, tuple) else str(value)


# The text of an address is its masked form.
_PARSERS: Mapping[str, Callable[[str], object]] = {
    "database_url": postgres.parse,
    "management_url": management_address.parse,
    "redis_url": redis.parse,
}
