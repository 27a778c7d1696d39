"""The shared suite of all publishers, on a real broker."""

import threading
from collections.abc import Callable, Iterator

import pytest

from allocation_contracts.names import COMMANDS_EXCHANGE
from allocation_contracts.results import PublishResult
from allocation_worker.testing.servers import Servers
from tests.integration.rabbitmq.publishers import DRIVERS, Driver, Message
from tests.integration.rabbitmq.rig import Place, eventually

CONFIRMED, RETURNED, NACKED, LOST = PublishResult

NOWHERE = "amqp://u:secret@127.0.0.1:1/"
QUEUE = "taker"

pytestmark = pytest.mark.parametrize("kind", DRIVERS, ids=lambda kind: kind.__name__.removesuffix("Driver"))


@pytest.fixture
def driver(place: Place, kind: Callable[[str], Driver]) -> Iterator[Driver]:
    """A publisher; one queue takes what is wanted."""
    driver = kind(place.url)
    # The commands exchange has an alternate, which would take what nobody wants.
    place.channel.exchange_delete(COMMANDS_EXCHANGE)
    place.channel.exchange_declare(COMMANDS_EXCHANGE, "topic", durable=True)
    place.channel.queue_declare(QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    place.channel.queue_bind(QUEUE, driver.exchange, driver.key)
    yield driver
    driver.close()


def numbers(place: Place) -> list[int]:
    return [int((properties.message_id or "").removeprefix("m-")) for properties, _ in place.take_all(QUEUE)]


def test_all_is_confirmed_and_in_the_queue_in_its_order(place: Place, driver: Driver) -> None:
    driver.begin([Message(number) for number in range(2000)])
    assert driver.results() == dict.fromkeys(range(2000), CONFIRMED)
    assert numbers(place) == list(range(2000))


def test_what_no_queue_takes_is_told_from_its_neighbours(place: Place, driver: Driver) -> None:
    messages = [Message(number, wanted=number % 3 != 1) for number in range(600)]
    driver.begin(messages)
    assert driver.results() == {message.number: CONFIRMED if message.wanted else RETURNED for message in messages}
    assert numbers(place) == [message.number for message in messages if message.wanted]


def test_what_a_full_queue_refuses_is_not_confirmed(place: Place, driver: Driver) -> None:
    arguments = {"x-max-length": 1, "x-overflow": "reject-publish"}
    place.channel.queue_declare("full", durable=True, arguments=arguments)
    place.channel.queue_bind("full", driver.exchange, driver.key)
    driver.begin([Message(1)])
    driver.begin([Message(2)])
    driver.results()
    driver.begin([Message(3)])
    assert driver.results() == {3: NACKED}


def test_what_a_lost_connection_leaves_open_arrives_in_its_order(
    place: Place, driver: Driver, servers: Servers, request: pytest.FixtureRequest
) -> None:
    driver.patience = 60  # on a busy machine, the alarm and the close take seconds
    driver.begin([Message(0)])
    assert driver.results() == {0: CONFIRMED}
    lift_alarm = request.getfixturevalue("alarm")
    driver.begin([Message(number) for number in range(1, 200)])  # these stay unconfirmed
    place.close()  # pika leaves sockets open when the broker is first
    servers.broker.close_connections(place.url)
    driver.begin([Message(number) for number in range(200, 300)])
    lift_alarm()
    assert driver.results() == dict.fromkeys(range(1, 300), CONFIRMED)
    place.reconnect()
    assert list(dict.fromkeys(numbers(place))) == list(range(300))


def test_the_next_address_is_tried_when_one_does_not_answer(place: Place, kind: Callable[..., Driver]) -> None:
    place.channel.queue_declare(QUEUE, durable=True)
    driver = kind(NOWHERE, place.url)
    place.channel.queue_bind(QUEUE, driver.exchange, driver.key)
    driver.begin([Message(1)])
    assert driver.results() == {1: CONFIRMED}
    driver.close()


def test_without_a_broker_nothing_is_confirmed_and_it_says_so_in_time(kind: Callable[..., Driver]) -> None:
    driver = kind(NOWHERE)
    driver.begin([Message(1), Message(2)])
    assert driver.results() == {1: LOST, 2: LOST}
    driver.close()


def test_closing_ends_its_thread(kind: Callable[..., Driver], place: Place) -> None:
    before = set(threading.enumerate())
    driver = kind(place.url)
    assert set(threading.enumerate()) > before
    driver.close()
    eventually(lambda: set(threading.enumerate()) <= before)
