"""Wires `settings`, which shows the settings that are in force."""

from typing import NamedTuple

from allocation_contracts.amqp.urls import masked
from allocation_worker.adapters.postgres import address as postgres
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
    match field, getattr(settings, field):
        case "amqp_url", urls:
            return ",".join(map(masked, urls))
        case "database_url", url:
            return postgres.parse(url).masked
        case "redis_url", url:
            return redis.parse(url).masked
        case _, None:
            return None
        case _, tuple() as parts:
            return ",".join(map(str, parts))
        case _, value:
            return str(value)
