"""Looking at the queues again and again over one connection."""

from collections.abc import Callable

import pytest

from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.adapters.rabbitmq.queue_states import QueueWatch
from tests.integration.rabbitmq.rig import Place, eventually


def waiting(watch: QueueWatch) -> int:
    return next(state.messages for state in watch.read() if state.name == "allocation.orders")


def test_it_goes_on_after_its_connection_was_lost(place: Place, close_connections: Callable[[], None]) -> None:
    watch = QueueWatch([place.url], retry_delays=[1])
    place.send("m")
    eventually(lambda: waiting(watch) == 1)
    close_connections()
    place.send("n")
    eventually(lambda: waiting(watch) == 2)
    watch.close()


def test_a_broker_that_is_away_is_told_each_time() -> None:
    watch = QueueWatch(["amqp://x:x@127.0.0.1:1/"], retry_delays=[1])
    for _ in range(2):
        with pytest.raises(BrokerError):
            watch.read()
    watch.close()
