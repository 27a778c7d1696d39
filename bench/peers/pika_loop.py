"""A plain pika loop, as the book would have it: one message, one session, one commit, one confirmed event, one ack.

`python -m bench.peers.pika_loop fill COUNT` publishes the orders; `... run` consumes until it is killed.
"""

import json
import sys

import pika
from pika.adapters.blocking_connection import BlockingChannel
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from bench.peers import shop

_PERSISTENT = pika.BasicProperties(content_type="application/json", delivery_mode=2)
_PREFETCH = 100


def fill(channel: BlockingChannel, count: int) -> None:
    """Publish the orders."""
    channel.queue_declare(shop.QUEUE, durable=True, arguments={"x-queue-type": "quorum"})
    for order in shop.orders(count):
        channel.basic_publish("", shop.QUEUE, json.dumps(order).encode(), _PERSISTENT)


def run(channel: BlockingChannel) -> None:
    """Consume until the process is killed."""
    new_session = sessionmaker(create_engine(shop.DATABASE_URL))
    channel.confirm_delivery()
    channel.basic_qos(prefetch_count=_PREFETCH)
    for method, _, body in channel.consume(shop.QUEUE):
        if method is None or method.delivery_tag is None or body is None:
            return
        order: shop.Order = json.loads(body)
        with new_session() as session:
            product = session.scalars(shop.product(order)).one()
            line, event = shop.allocate(order, product, session.scalars(shop.batches(order)).all())
            session.add(line)
            session.commit()
        channel.basic_publish(shop.EVENTS_EXCHANGE, shop.ALLOCATED, event, _PERSISTENT, mandatory=True)
        channel.basic_ack(method.delivery_tag)


if __name__ == "__main__":
    with pika.BlockingConnection(pika.URLParameters(shop.AMQP_URL)) as connection:
        if sys.argv[1] == "fill":
            fill(connection.channel(), int(sys.argv[2]))
        else:
            run(connection.channel())
