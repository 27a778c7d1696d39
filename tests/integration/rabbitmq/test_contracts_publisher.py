"""Publishing with `allocation_contracts.amqp.Publisher`, as an external program does."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from time import monotonic

import pytest

from allocation_contracts import (
    COMMANDS_EXCHANGE,
    DEAD_LETTERS,
    ORDERS_QUEUE,
    Allocate,
    Command,
    ContractError,
    CreateBatch,
    read_command,
    read_command_properties,
)
from allocation_contracts.amqp import (
    Outgoing,
    Publisher,
    RefusedError,
    UnconfirmedError,
    UnreachableError,
    UnroutableError,
)
from allocation_worker.testing.servers import Servers
from tests.integration.rabbitmq.rig import Place

NOWHERE = "amqp://u:secret@127.0.0.1:1/"


def line(number: int = 1) -> Allocate:
    return Allocate(orderid=f"order-{number}", sku="CHAIR", qty=1)


def outgoing(number: int) -> Outgoing:
    return Outgoing(command=line(number), message_id=f"m-{number}")


@pytest.fixture
def publisher(place: Place) -> Iterator[Publisher]:
    with Publisher(place.url, app_id="shop", timeout=60) as publisher:
        yield publisher


@pytest.fixture
def alarm(servers: Servers) -> Callable[[], AbstractContextManager[None]]:
    """Has the broker take no messages for the length of a block."""
    if servers.how != "programs":
        pytest.skip("only a broker of our own can be commanded")

    @contextmanager
    def raised() -> Iterator[None]:
        servers.broker.ctl("set_vm_memory_high_watermark", "0.000001")
        try:
            yield
        finally:
            servers.broker.ctl("set_vm_memory_high_watermark", "0.4")

    return raised


def test_the_time_for_a_confirm_begins_when_there_is_room_for_the_command() -> None:
    timeout = 0.5
    with Publisher(NOWHERE, timeout=timeout, window=1) as publisher:
        publisher.publish_soon(outgoing(1))
        second = publisher.publish_soon(outgoing(2))  # waits until the first has been given up
        handed_over = monotonic()
        assert isinstance(second.exception(timeout=10), UnreachableError)
        assert monotonic() - handed_over >= timeout / 2


def test_a_command_is_in_its_queue_when_publish_returns(place: Place, publisher: Publisher) -> None:
    assert (
        publisher.publish(
            line(),
            message_id="m-1",
            correlation_id="c-1",
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        == "m-1"
    )
    ((properties, body),) = place.take_all(ORDERS_QUEUE)
    assert read_command(properties.type, body) == line()
    read = read_command_properties(properties)
    assert (read.message_id, read.correlation_id, read.traceparent) == (
        "m-1",
        "c-1",
        "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    )
    assert (properties.app_id, properties.delivery_mode) == ("shop", 2)
    assert properties.timestamp


def test_without_a_message_id_each_command_gets_one_of_its_own(place: Place, publisher: Publisher) -> None:
    ids = [publisher.publish(line()), publisher.publish(line())]
    assert [properties.message_id for properties, _ in place.take_all(ORDERS_QUEUE)] == ids
    assert len(set(ids)) == 2


def test_what_the_worker_would_refuse_is_not_published(place: Place, publisher: Publisher) -> None:
    with pytest.raises(ContractError, match="message_id must be"):
        publisher.publish(line(), message_id=" ")
    assert place.depth(DEAD_LETTERS) == place.depth(ORDERS_QUEUE) == 0


def test_many_are_published_in_their_order_with_several_under_way(place: Place) -> None:
    most_under_way = 0
    under_way: set[int] = set()

    class Watched(Publisher):
        def publish_soon(self, outgoing: Command | Outgoing) -> Future[str]:
            nonlocal most_under_way
            future = super().publish_soon(outgoing)
            under_way.add(id(future))
            most_under_way = max(most_under_way, len(under_way))
            future.add_done_callback(lambda done: under_way.discard(id(done)))
            return future

    told: list[str] = []
    with Watched(place.url, window=50) as publisher:
        ids = publisher.publish_all(map(outgoing, range(1000)), on_confirmed=told.append)
    assert ids == told == [f"m-{number}" for number in range(1000)]
    assert [properties.message_id for properties, _ in place.take_all(ORDERS_QUEUE)] == ids
    assert 1 < most_under_way <= 50


def test_a_command_that_no_queue_takes_is_unroutable_and_its_neighbours_are_not(
    place: Place, publisher: Publisher
) -> None:
    place.channel.exchange_delete(COMMANDS_EXCHANGE)  # the worker's own has an alternate: the dead letters
    place.channel.exchange_declare(COMMANDS_EXCHANGE, "topic", durable=True)
    place.channel.queue_bind(ORDERS_QUEUE, COMMANDS_EXCHANGE, "allocate")
    futures = [publisher.publish_soon(line(1)), publisher.publish_soon(CreateBatch(batchref="b", sku="s", qty=1))] * 2
    futures += [publisher.publish_soon(line(2))]
    with pytest.raises(
        UnroutableError, match=r"No queue takes the routing key 'create-batch'; have the .* topology"
    ) as error:
        futures[1].result()
    assert error.value.message_id
    assert futures[0].result()
    assert futures[-1].result()


def test_after_a_failure_no_more_are_taken_and_those_under_way_have_their_answer(place: Place) -> None:
    place.channel.exchange_delete(COMMANDS_EXCHANGE)
    place.channel.exchange_declare(COMMANDS_EXCHANGE, "topic", durable=True)
    place.channel.queue_bind(ORDERS_QUEUE, COMMANDS_EXCHANGE, "allocate")
    rows: Iterator[Command] = iter(
        [line(), CreateBatch(batchref="b", sku="s", qty=1), *map(line, range(10_000))],
    )
    told: list[str] = []
    with Publisher(place.url, window=10) as publisher, pytest.raises(UnroutableError):
        publisher.publish_all(rows, on_confirmed=told.append)
    assert len(told) == place.depth(ORDERS_QUEUE) < 1_000
    assert len(list(rows)) > 9_000


def test_where_the_exchange_does_not_stand_a_command_is_unroutable(place: Place, publisher: Publisher) -> None:
    place.channel.exchange_delete(COMMANDS_EXCHANGE)
    with pytest.raises(UnroutableError, match=r"allocation\.commands does not exist on the broker"):
        publisher.publish(line())


def test_a_command_that_a_full_queue_rejects_is_refused(place: Place, publisher: Publisher) -> None:
    place.channel.queue_declare("full", durable=True, arguments={"x-max-length": 1, "x-overflow": "reject-publish"})
    place.channel.queue_bind("full", COMMANDS_EXCHANGE, "allocate")
    with pytest.raises(RefusedError, match="did not take the command") as error:
        publisher.publish_all(map(outgoing, range(5)))
    assert error.value.message_id.startswith("m-")


def test_where_nobody_may_publish_a_command_is_refused_and_of_several_each_may_have_arrived(place: Place) -> None:
    place.channel.exchange_delete(COMMANDS_EXCHANGE)
    place.channel.exchange_declare(COMMANDS_EXCHANGE, "topic", durable=True, internal=True)
    with Publisher(place.url) as publisher, pytest.raises(RefusedError, match="ACCESS_REFUSED"):
        publisher.publish(line())
    with Publisher(place.url) as publisher:
        futures = [publisher.publish_soon(line(number)) for number in range(3)]  # before there is a connection
        errors = [future.exception() for future in futures]
    assert {type(error) for error in errors} == {UnconfirmedError}
    assert "ACCESS_REFUSED" in str(errors[0])


def test_without_a_broker_it_says_so_and_shows_no_password() -> None:
    with Publisher(NOWHERE, timeout=0.5) as publisher, pytest.raises(UnreachableError) as error:
        publisher.publish(line())
    assert "127.0.0.1:1" in str(error.value)
    assert "was not published" in str(error.value)
    assert "secret" not in str(error.value)


def test_under_an_alarm_of_the_broker_it_is_open_whether_a_command_arrived(
    place: Place, publisher: Publisher, alarm: Callable[[], AbstractContextManager[None]]
) -> None:
    publisher.publish(line())
    with (
        Publisher(place.url, timeout=1) as blocked,
        alarm(),
        pytest.raises(UnconfirmedError, match="takes no messages now"),
    ):
        blocked.publish(line())
    publisher.publish(line())


def test_closing_waits_for_the_confirms(place: Place) -> None:
    with Publisher(place.url) as publisher:
        futures = [publisher.publish_soon(outgoing(number)) for number in range(100)]
    assert [future.result(0) for future in futures] == [f"m-{number}" for number in range(100)]
    assert place.depth(ORDERS_QUEUE) == 100
    with pytest.raises(RuntimeError, match="closed"):
        publisher.publish(line())


def test_an_error_in_the_program_closes_it_at_once() -> None:
    def fail() -> None:
        with Publisher(NOWHERE) as publisher:
            futures.append(publisher.publish_soon(line()))
            raise ZeroDivisionError

    futures: list[Future[str]] = []
    with pytest.raises(ZeroDivisionError):
        fail()
    with pytest.raises(UnconfirmedError, match="closed first"):
        futures[0].result(0)


def test_an_app_id_that_amqp_cannot_carry_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="255"):
        Publisher(NOWHERE, app_id="x" * 256)
