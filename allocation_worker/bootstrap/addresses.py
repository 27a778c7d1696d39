"""Checks the addresses among the settings, with the parsers of the adapters that connect to them.

An address that comes from a file is read again for each connection, so that a new password needs no restart.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import overload

import structlog

from allocation_contracts.amqp import urls
from allocation_contracts.amqp.urls import AddressError
from allocation_worker.adapters.postgres import address as postgres
from allocation_worker.adapters.rabbitmq import management_address
from allocation_worker.adapters.redis import address as redis
from allocation_worker.config import PREFIX, Settings, SettingsError

log = structlog.get_logger()


def check_addresses(settings: Settings) -> None:
    """Check the addresses of the broker, the database and Redis, without connecting.

    The files that the addresses of the database and of Redis name are checked by the verbs that connect there.

    Raises:
        SettingsError: An address is invalid.
    """
    with _named("AMQP_URL"):
        if not settings.amqp_url:
            raise AddressError("it must be one or more URLs such as amqp://user:password@host:5672/vhost")
        for url in settings.amqp_url:
            urls.parameters(url, "allocation-worker")
    with _named("DATABASE_URL"):
        postgres.parse(settings.database_url)
    with _named("REDIS_URL"):
        redis.parse(settings.redis_url)
    if settings.management_url is not None:
        with _named("MANAGEMENT_URL"):
            management_address.parse(settings.management_url)


def check_database_files(settings: Settings) -> None:
    """Check that the files in the address of the database, such as `sslrootcert`, are readable.

    Raises:
        SettingsError: A file cannot be read.
    """
    with _named("DATABASE_URL"):
        postgres.parse(settings.database_url).check_files()


def database_url(settings: Settings) -> Callable[[], str]:
    """Return what gives the address of the database for the next connection."""
    latest = _Latest(settings, "database_url")
    return lambda: latest().database_url


def redis_address(settings: Settings) -> Callable[[], redis.RedisAddress]:
    """Return what gives the address of Redis for the next connection, and check that the files in it are readable.

    Raises:
        SettingsError: A file cannot be read.
    """
    with _named("REDIS_URL"):
        redis.parse(settings.redis_url).check_files()
    latest = _Latest(settings, "redis_url")
    return lambda: redis.parse(latest().redis_url)


def management_url(settings: Settings) -> Callable[[], str] | None:
    """Return what gives the address of the management API for the next request; None if none is given."""
    if settings.management_url is None:
        return None
    latest = _Latest(settings, "management_url")
    return lambda: latest().management_url or ""


class BrokerUrls(Sequence[str]):
    """The addresses of the broker for the next connection: each pass over them is one reading of their file."""

    def __init__(self, settings: Settings) -> None:
        self._latest = _Latest(settings, "amqp_url")

    def __iter__(self) -> Iterator[str]:
        return iter(self._latest().amqp_url)

    def __len__(self) -> int:
        return len(self._latest().amqp_url)

    @overload
    def __getitem__(self, index: int) -> str: ...

    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...

    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        return self._latest().amqp_url[index]


class _Latest:
    """The settings with an address as its file holds it now. While that is of no use, the last one stays in force."""

    def __init__(self, settings: Settings, field: str) -> None:
        self._settings = settings
        self._field = field

    def __call__(self) -> Settings:
        try:
            fresh = self._settings.reread(self._field)
            if fresh is not self._settings:
                check_addresses(fresh)
        except SettingsError as error:
            log.warning("setting_unreadable", detail=str(error))
        else:
            self._settings = fresh
        return self._settings


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except AddressError as error:
        raise SettingsError(f"{PREFIX}{name} is wrong: {error}.") from error
