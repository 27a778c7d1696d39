"""A broker that refuses a program: permanent errors are reported at once."""

import re
import time
from collections.abc import Iterator

import pytest

from allocation_contracts import Allocate
from allocation_contracts.amqp import AccessRefusedError, Publisher, UnreachableError
from allocation_worker.adapters.rabbitmq import topology_check
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.testing.servers import Servers
from tests.integration.rabbitmq.rig import Place

COMMAND = Allocate(orderid="o", sku="LAMP", qty=1)
AT_ONCE = 10.0
"""Seconds; far less than the publisher's timeout, and more than a slow machine needs."""


def _without_login(url: str) -> str:
    return re.sub(r"//[^@]*@", "//nobody:hush@", url)


def _without_virtual_host(url: str) -> str:
    return url.rpartition("/")[0] + "/no%2Fsuch"


@pytest.fixture(params=["login", "virtual host", "permission"])
def refused(request: pytest.FixtureRequest, servers: Servers, place: Place) -> Iterator[tuple[str, str]]:
    """An address that the broker refuses, and what is said of it."""
    match request.param:
        case "login":
            yield _without_login(place.url), "it refuses the login: the user, the password or auth_mechanism is wrong"
        case "virtual host":
            yield _without_virtual_host(place.url), "it has no virtual host no/such"
        case _:
            if servers.how != "programs":
                pytest.skip("only a broker that is ours gets another user")
            servers.broker.ctl("add_user", "stranger", "hush")
            yield re.sub(r"//[^@]*@", "//stranger:hush@", place.url), "its user may not use the virtual host "
            servers.broker.ctl("delete_user", "stranger")


def test_a_verb_ends_with_one_sentence(refused: tuple[str, str]) -> None:
    url, told = refused
    with pytest.raises(BrokerError, match=re.escape(told)) as error:
        topology_check.check([url], retry_delays=[])
    assert str(error.value).startswith("The broker refuses access: amqp://")
    assert str(error.value).endswith("; look at ALLOCATION_AMQP_URL.")
    assert "hush" not in str(error.value)


def test_a_command_fails_at_once_and_does_not_wait_for_its_timeout(refused: tuple[str, str]) -> None:
    url, told = refused
    started = time.monotonic()
    with Publisher(url, timeout=120) as publisher:
        for _ in range(2):
            with pytest.raises(AccessRefusedError, match=re.escape(told)) as error:
                publisher.publish(COMMAND, message_id="m")
    assert time.monotonic() - started < AT_ONCE
    assert isinstance(error.value, UnreachableError)
    assert error.value.message_id == "m"
    assert "hush" not in str(error.value)


def test_a_node_that_refuses_is_passed_over_for_one_that_does_not(place: Place) -> None:
    with Publisher([_without_login(place.url), place.url], timeout=60) as publisher:
        assert publisher.publish(COMMAND, message_id="m") == "m"


def test_a_login_that_is_put_right_is_used(servers: Servers, place: Place) -> None:
    if servers.how != "programs":
        pytest.skip("only a broker that is ours gets another user")
    vhost = place.url.rpartition("/")[2]
    with Publisher(re.sub(r"//[^@]*@", "//late:hush@", place.url), timeout=60) as publisher:
        with pytest.raises(AccessRefusedError):
            publisher.publish(COMMAND)
        servers.broker.ctl("add_user", "late", "hush")
        servers.broker.ctl("set_permissions", "--vhost", vhost, "late", ".*", ".*", ".*")
        deadline = time.monotonic() + 30
        while True:
            try:
                publisher.publish(COMMAND, message_id="m")
                break
            except AccessRefusedError:
                assert time.monotonic() < deadline
    servers.broker.ctl("delete_user", "late")
