"""The errors for invalid addresses name their settings."""

import pytest

from allocation_worker.bootstrap.addresses import check_addresses
from allocation_worker.config import SettingsError, load


@pytest.mark.parametrize(
    "url",
    [
        "",
        "http://broker",
        "amqp://me:hush@broker:port/",
        "amqp://me:hu/sh@broker/",
        "amqp://broker/?prefetch=7",
        "amqps://broker/shop?cacertfile=/nowhere",
        "amqps://broker/shop?ssl_options={'ca_certs':'/nowhere','server_hostname':'broker'}",
        "amqp://one/,amqp://me:hush@[::1/",
    ],
)
def test_an_address_of_the_broker_that_cannot_be_read_is_told(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^ALLOCATION_AMQP_URL is wrong: [^\n]+\.$") as error:
        check_addresses(load(amqp_url=url))
    assert "hu" not in str(error.value)


@pytest.mark.parametrize("url", ["mysql://db", "postgresql://me:hush@db:port/shop", "postgresql://me:hu@sh@db/shop"])
def test_an_address_of_the_database_that_cannot_be_read_is_told(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^ALLOCATION_DATABASE_URL is wrong: [^\n]+\.$") as error:
        check_addresses(load(database_url=url))
    assert "hush" not in str(error.value)


@pytest.mark.parametrize("url", ["localhost:6379", "http://x", "redis://x/shop", "redis://x:99999/0"])
def test_an_address_of_redis_that_cannot_be_read_is_told(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^ALLOCATION_REDIS_URL is wrong: [^\n]+\.$"):
        check_addresses(load(redis_url=url))


def test_a_log_level_that_there_is_not_is_told_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError, match=r"^ALLOCATION_LOG_LEVEL is wrong: .+'debug', .+\.$"):
        load(log_level="loud")


def test_addresses_that_can_be_read_are_taken() -> None:
    check_addresses(
        load(
            amqp_url="amqp://me:p%2Fss@one:5672/shop?heartbeat=10,amqps://two\n",
            database_url="postgresql://me:p%40ss@db:5433/shop?sslmode=require\n",
            redis_url="rediss://:secret@cache:6380/0?ssl_cert_reqs=none\n",
        )
    )
