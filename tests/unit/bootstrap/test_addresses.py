"""What an operator may get wrong in the addresses of broker and database."""

import pytest

from allocation_worker.bootstrap import check_addresses
from allocation_worker.config import SettingsError, load


@pytest.mark.parametrize(
    "url",
    [
        "amqp://me:hush@broker:port/",
        "amqp://me:hush@broker:99999/",
        "amqp://me:hu/sh@broker/",
        "amqp://me:hush@broker/?heartbeat=often",
        "amqp://me:hush@broker/?ssl_options={",
        "amqp://me:hush@broker/?prefetch=7",
        "amqps://me:hush@broker/shop?ssl_options={'ca_certs':'/nowhere'}",
        "amqp://one/,amqp://me:hush@[::1/",
    ],
)
def test_an_address_of_the_broker_that_cannot_be_read_is_refused_without_the_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^ALLOCATION_AMQP_URL is wrong: [^\n]+ like amqp://[^\n]+\.$") as error:
        check_addresses(load(amqp_url=url))
    assert "hu" not in str(error.value)


@pytest.mark.parametrize("url", ["postgresql://me:hush@db:port/shop", "postgresql://me:hush@[::1/shop"])
def test_an_address_of_the_database_that_cannot_be_read_is_refused_without_the_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^ALLOCATION_DATABASE_URL is wrong: it is not a .+\.$") as error:
        check_addresses(load(database_url=url))
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(("name", "url"), [("amqp_url", "http://broker"), ("database_url", "mysql://db")])
def test_an_address_of_another_kind_of_server_is_refused(name: str, url: str) -> None:
    with pytest.raises(SettingsError, match=rf"^ALLOCATION_{name.upper()} is wrong: it must be .+\.$"):
        load(**{name: url})


def test_a_log_level_that_there_is_not_is_told_with_those_that_there_are() -> None:
    with pytest.raises(SettingsError, match=r"^ALLOCATION_LOG_LEVEL is wrong: .+'debug', .+\.$"):
        load(log_level="loud")


def test_addresses_that_can_be_read_are_taken() -> None:
    check_addresses(
        load(
            amqp_url="amqp://me:p%2Fss@one:5672/shop?heartbeat=10,amqps://two",
            database_url="postgresql://me:p%40ss@db:5433/shop?sslmode=require",
        )
    )
