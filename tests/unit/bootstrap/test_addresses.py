"""Addresses that only what uses them can judge: refused in a sentence before anything is connected to."""

import pytest

from allocation_worker import bootstrap
from allocation_worker.config import SettingsError, load


@pytest.mark.parametrize(
    "url",
    [
        "amqp://broker:none/shop",
        "amqp://me:hu/sh@broker/shop",
        "amqp://broker/shop?heartbeat=often",
        "amqp://broker/shop?prefetch=7",
        "amqps://broker/shop?ssl_options={'ca_certs':'/nowhere'}",
        "amqp://broker/shop,amqp://broker:99999/shop",
    ],
)
def test_an_address_of_a_broker_that_cannot_be_read_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"^ALLOCATION_AMQP_URL is wrong: .*\.$") as refused:
        bootstrap.check_addresses(load(amqp_url=url))
    assert "hu" not in str(refused.value)


def test_an_address_of_a_database_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(SettingsError, match=r"^ALLOCATION_DATABASE_URL is wrong: .*\.$"):
        bootstrap.check_addresses(load(database_url="postgresql://db:none/shop"))


def test_addresses_that_can_be_read_are_taken() -> None:
    bootstrap.check_addresses(
        load(
            amqp_url="amqp://me:hush@a:5672/shop?heartbeat=10,amqps://b/%2F",
            database_url="postgresql:///shop?host=/run/postgresql",
        )
    )
