"""How many dead letters there are, once nobody holds any."""

from contextlib import closing

import pika

from allocation_contracts import DEAD_LETTERS
from allocation_worker.testing.waiting import wait_until


def count_dead(amqp_url: str) -> int:
    """What a look had in hand is there again only when the broker has noticed that it ended."""
    with closing(pika.BlockingConnection(pika.URLParameters(amqp_url))) as connection:
        channel = connection.channel()
        wait_until(
            lambda: not channel.queue_declare(DEAD_LETTERS, passive=True).method.consumer_count,
            within=10,
            otherwise=lambda: "Somebody goes on reading the dead letters.",
        )
        return int(channel.queue_declare(DEAD_LETTERS, passive=True).method.message_count)
