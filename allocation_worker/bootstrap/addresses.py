"""Checks the addresses among the settings, with the parsers of the adapters that connect to them."""

from collections.abc import Iterator
from contextlib import contextmanager

from allocation_contracts.amqp import urls
from allocation_contracts.amqp.urls import AddressError
from allocation_worker.adapters.postgres import address as postgres
from allocation_worker.adapters.redis import address as redis
from allocation_worker.config import PREFIX, Settings, SettingsError


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


def check_database_files(settings: Settings) -> None:
    """Check that the files in the address of the database, such as `sslrootcert`, are readable.

    Raises:
        SettingsError: A file cannot be read.
    """
    with _named("DATABASE_URL"):
        postgres.parse(settings.database_url).check_files()


def redis_address(settings: Settings) -> redis.RedisAddress:
    """Return the address of Redis, and check that the files in it are readable.

    Raises:
        SettingsError: A file cannot be read.
    """
    with _named("REDIS_URL"):
        address = redis.parse(settings.redis_url)
        address.check_files()
        return address


@contextmanager
def _named(name: str) -> Iterator[None]:
    try:
        yield
    except AddressError as error:
        raise SettingsError(f"{PREFIX}{name} is wrong: {error}.") from error
