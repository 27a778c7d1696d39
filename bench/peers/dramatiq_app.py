"""dramatiq: its RabbitMQ broker with confirms on, a process for each core with eight threads (its default).

`python -m bench.peers.dramatiq_app fill COUNT` publishes the orders; `... run` consumes until it is killed.
"""

import os
import sys

import dramatiq
import pika
from dramatiq.brokers.rabbitmq import RabbitmqBroker
from dramatiq.cli import main, make_argument_parser
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from bench.peers import shop

_PERSISTENT = pika.BasicProperties(content_type="application/json", delivery_mode=2)

broker = RabbitmqBroker(url=shop.AMQP_URL, confirm_delivery=True)
dramatiq.set_broker(broker)
new_session = sessionmaker(create_engine(shop.DATABASE_URL, pool_size=8))


@dramatiq.actor(queue_name=shop.QUEUE)
def allocate(order: shop.Order) -> None:
    """Allocate one order and publish its event."""
    with new_session() as session:
        product = session.scalars(shop.product(order)).one()
        line, event = shop.allocate(order, product, session.scalars(shop.batches(order)).all())
        session.add(line)
        session.commit()
    # The broker keeps one channel for each thread, with confirms on.
    broker.channel.basic_publish(shop.EVENTS_EXCHANGE, shop.ALLOCATED, event, _PERSISTENT, mandatory=True)


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        for order in shop.orders(int(sys.argv[2])):
            allocate.send(order)
    else:
        arguments = ["bench.peers.dramatiq_app", "--processes", str(os.cpu_count())]
        sys.exit(main(make_argument_parser().parse_args(arguments)))
