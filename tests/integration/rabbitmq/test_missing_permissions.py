"""A broker's user that lacks a permission: a verb ends at once with one sentence."""

import re
import secrets
import time
from collections.abc import Callable, Iterator
from threading import Event

import pytest
from structlog.testing import capture_logs

from allocation_contracts.names import DEAD_LETTERS, REDRIVING_EXCHANGE, REPLAYING_EXCHANGE
from allocation_worker.adapters.rabbitmq import topology
from allocation_worker.adapters.rabbitmq.dead_letter_publisher import publish_copies
from allocation_worker.adapters.rabbitmq.dead_letter_queue import open_dead_letters
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.adapters.rabbitmq.queue_publisher import publish_to_queue
from allocation_worker.adapters.rabbitmq.tail import tail_events
from allocation_worker.testing.servers import Servers
from tests.fakes.relay import outgoing
from tests.integration.rabbitmq.rig import Place, eventually

AT_ONCE = 10.0
"""Seconds; far less than the publishers' patience, and more than a slow machine needs."""
QUEUE = "catch-up"
NOTHING = "^$"

NewUser = Callable[..., str]


@pytest.fixture
def new_user(servers: Servers, place: Place) -> Iterator[NewUser]:
    """Makes a user that may do what the patterns say, and no more; returns the address with it."""
    if servers.how != "programs":
        pytest.skip("only a broker that is ours gets another user")
    vhost = place.url.rpartition("/")[2]
    made = []

    def new(*, configure: str = NOTHING, write: str = NOTHING, read: str = NOTHING) -> str:
        name = f"user-{secrets.token_hex(4)}"
        servers.broker.ctl("add_user", name, "hush")
        made.append(name)
        servers.broker.ctl("set_permissions", "--vhost", vhost, name, configure, write, read)
        return re.sub(r"//[^@]*@", f"//{name}:hush@", place.url)

    yield new
    for name in made:
        servers.broker.ctl("delete_user", name)


def refusal(resource: str) -> str:
    access = "(configure |write )?access"  # RabbitMQ 4.3 says which
    return rf"^The broker refused: {access} to {resource}.* an administrator can give this user the permission\.$"


def bury(place: Place) -> None:
    place.send("m", key="nobody-is-bound-for-this")
    eventually(lambda: place.depth(DEAD_LETTERS) == 1)


def test_redrive_without_permission_to_publish_says_so_at_once(place: Place, new_user: NewUser) -> None:
    bury(place)
    url = new_user(read="dead-letters")
    started = time.monotonic()
    with open_dead_letters([url], lambda _seen, _total: None) as letters:
        [letter] = letters
        letter.destination = "allocation.orders"
        with (
            capture_logs() as lines,
            pytest.raises(BrokerError, match=refusal(f"exchange '{REDRIVING_EXCHANGE}'")),
        ):
            list(publish_copies([url], [letter]))
    assert [line["event"] for line in lines if line["log_level"] == "error"] == []
    assert time.monotonic() - started < AT_ONCE
    eventually(lambda: place.depth(DEAD_LETTERS) == 1)


def test_dead_letters_that_may_not_be_read_are_told_in_one_sentence(place: Place, new_user: NewUser) -> None:
    bury(place)
    url = new_user()
    with (
        pytest.raises(BrokerError, match=refusal(f"queue '{DEAD_LETTERS}'")),
        open_dead_letters([url], lambda _seen, _total: None) as letters,
    ):
        list(letters)


def test_replay_without_permission_to_publish_says_so_at_once(place: Place, new_user: NewUser) -> None:
    place.channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    url = new_user(read="replaying", write=QUEUE)
    topology.bind_for_replay([url], QUEUE)
    started = time.monotonic()
    with pytest.raises(BrokerError, match=refusal(f"exchange '{REPLAYING_EXCHANGE}'")):
        publish_to_queue([url], QUEUE, [outgoing(1)])
    assert time.monotonic() - started < AT_ONCE


@pytest.mark.parametrize("may", [{"write": QUEUE}, {"read": "replaying"}], ids=["no read", "no write"])
def test_replay_that_may_not_bind_the_queue_says_what_it_needs(
    place: Place, new_user: NewUser, may: dict[str, str]
) -> None:
    place.channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    with pytest.raises(BrokerError) as error:
        topology.bind_for_replay([new_user(**may)], QUEUE)
    assert str(error.value) == (
        f"The broker does not let this user bind the queue {QUEUE} for a replay: it needs permission to write to the "
        f"queue, and to read from and write to the exchange {REPLAYING_EXCHANGE}."
    )


def test_topology_and_tail_tell_a_missing_permission_in_one_sentence(new_user: NewUser) -> None:
    url = new_user()
    with pytest.raises(BrokerError, match=refusal(f"exchange '{DEAD_LETTERS}'")):
        topology.declare([url], retry_delays=[1])
    with pytest.raises(BrokerError, match=refusal("queue 'amq.gen-")):
        next(tail_events([url], ["#"], stopping=Event(), on_listening=lambda: None, on_lost=lambda: None))
