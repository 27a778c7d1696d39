from allocation_worker.testing.arrivals import Arrivals
from tests.integration.rabbitmq.rig import Place


def test_a_connection_whose_channel_was_lost_is_closed_before_another_is_opened(place: Place) -> None:
    arrivals = Arrivals([place.url])
    first = arrivals._connection
    assert first is not None
    place.channel.queue_delete(arrivals._queue)
    arrivals.catch_up()  # a queue that is not there closes the channel
    assert first.is_closed
    assert arrivals._connection is not first
    arrivals.close()
