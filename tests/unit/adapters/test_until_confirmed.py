"""Publishing until confirmed, in order if required, over lost connections."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter

import pytest
from pika.spec import BasicProperties

from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.adapters.rabbitmq.publisher import Publication
from allocation_worker.adapters.rabbitmq.until_confirmed import (
    BlockingPublisher,
    NotConfirmedError,
    publish_until_confirmed,
)
from tests.fakes.network import Network

Step = Callable[[Network], None]


class Scripted(BlockingPublisher[Publication]):
    """Each time that it is waited for, a fifth of a second passes and the next step happens; then, all is confirmed."""

    def __init__(self, *script: Step) -> None:
        super().__init__([], lambda publication: publication, name="tests", link=Network)
        assert isinstance(self._link, Network)
        self.network = self._link
        self.now = 0.0
        self._script = deque(script)

    def wait(self, timeout: float) -> None:
        self.now += timeout
        step = self._script.popleft() if self._script else Network.confirm_all
        step(self.network)

    def publish_all(self, messages: Iterable[Publication], *, in_order: bool = True) -> list[tuple[int, bool]]:
        results = publish_until_confirmed(
            self, messages, key=attrgetter("id"), in_order=in_order, patience=30, clock=lambda: self.now
        )
        return [(message.id, safe) for message, safe in results]


def publication(number: int) -> Publication:
    properties = BasicProperties(message_id=f"message-{number}")
    return Publication(id=number, exchange="", routing_key="queue", body=b"{}", properties=properties)


def safe(*numbers: int) -> list[tuple[int, bool]]:
    return [(number, True) for number in numbers]


def sent(*numbers: int) -> list[str]:
    return [f"message-{number}" for number in numbers]


def nothing(_network: Network) -> None:
    """A wait without news."""


def answer(*steps: Step) -> Step:
    """Publish what was handed over; then do these."""

    def run(network: Network) -> None:
        network.run_calls()
        for step in steps:
            step(network)

    return run


def confirm(tag: int) -> Step:
    return lambda network: network.confirm(tag)


def nack(tag: int) -> Step:
    return lambda network: network.confirm(tag, nack=True)


def test_what_was_lost_is_published_again_though_others_were_confirmed_at_the_same_time() -> None:
    publisher = Scripted(Network.connect, answer(confirm(1), Network.lose, Network.connect))
    assert publisher.publish_all(map(publication, (1, 2, 3))) == safe(1, 2, 3)
    assert publisher.network.published == sent(1, 2, 3, 2, 3)


def test_what_is_there_before_the_connection_goes_out_in_its_order() -> None:
    publisher = Scripted(nothing, Network.connect)
    assert publisher.publish_all(map(publication, range(300))) == safe(*range(300))
    assert publisher.network.published == sent(*range(300))


def test_nothing_goes_before_what_was_lost_while_more_was_taken() -> None:
    """The loss of the first hundred is not reported yet when the next is handed over."""

    def messages() -> Iterator[Publication]:
        yield from map(publication, range(100))
        publisher.network.run_calls()
        publisher.network.lose()
        publisher.network.connect()
        yield publication(100)

    publisher = Scripted(Network.connect)
    assert publisher.publish_all(messages()) == safe(*range(101))
    assert publisher.network.published == sent(*range(100), *range(101))


def test_nothing_is_repeated_before_all_have_their_result() -> None:
    """What is still in flight may yet be lost, and would come behind."""

    def still_the_same(network: Network) -> None:
        network.run_calls()
        assert network.published == sent(1, 2)

    publisher = Scripted(Network.connect, answer(nack(1)), *[still_the_same] * 10, confirm(2))
    assert publisher.publish_all(map(publication, (1, 2))) == safe(2, 1)
    assert publisher.network.published == sent(1, 2, 1)


def test_where_order_does_not_matter_what_was_nacked_is_repeated_while_others_are_in_flight() -> None:
    publisher = Scripted(Network.connect, answer(nack(1)), nothing, nothing, answer(confirm(3)))
    assert publisher.publish_all(map(publication, (1, 2)), in_order=False) == safe(1, 2)
    assert publisher.network.published == sent(1, 2, 1)


def test_a_queue_that_stays_full_is_offered_its_messages_ever_more_rarely() -> None:
    publisher = Scripted(Network.connect, *(answer(nack_all) for _ in range(10_000)))
    with pytest.raises(NotConfirmedError, match="20 messages were not confirmed within 30 s"):
        publisher.publish_all(map(publication, range(20)))
    assert 4 * 20 <= len(publisher.network.published) <= 12 * 20


def test_of_one_message_it_is_said_in_the_singular() -> None:
    assert str(NotConfirmedError(1, 60)) == (
        "1 message was not confirmed within 60 s, and may have arrived all the same."
    )


def nack_all(network: Network) -> None:
    network.confirm(0, multiple=True, nack=True)


def test_what_goes_to_no_queue_is_said_so_and_not_repeated() -> None:
    def returned(network: Network) -> None:
        network.give_back("queue", b"{}", message_id="message-1")

    publisher = Scripted(Network.connect, answer(returned))
    assert publisher.publish_all(map(publication, (1, 2))) == [(1, False), (2, True)]
    assert publisher.network.published == sent(1, 2)


def test_without_a_connection_it_gives_up() -> None:
    publisher = Scripted(*[nothing] * 10_000)
    with pytest.raises(NotConfirmedError, match="within 30 s"):
        publisher.publish_all([publication(1)])
    assert publisher.network.published == []


def test_a_missing_permission_ends_it_at_once() -> None:
    def refuse(network: Network) -> None:
        network.close_channel(403, "ACCESS_REFUSED - access to exchange 'x' in vhost '/' refused for user 'u'")

    publisher = Scripted(Network.connect, answer(confirm(1), refuse), *[nothing] * 10_000)
    with pytest.raises(BrokerError, match="The broker refused: access to exchange 'x' in vhost '/'"):
        publisher.publish_all(map(publication, (1, 2, 3)))
    assert publisher.now < 1
