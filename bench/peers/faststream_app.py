"""FastStream: an async subscriber, SQLAlchemy's async ORM on asyncpg, publisher confirms on (its default).

`python -m bench.peers.faststream_app fill COUNT` publishes the orders; `... run` consumes until it is killed.
"""

import asyncio
import sys

from faststream import AckPolicy, FastStream
from faststream.rabbit import Channel, ExchangeType, QueueType, RabbitBroker, RabbitExchange, RabbitQueue
from sqlalchemy.ext.asyncio import async_sessionmaker, create_async_engine

from bench.peers import shop

# As many at a time as the pool has connections. More gained nothing here.
_AT_A_TIME = 20

broker = RabbitBroker(shop.AMQP_URL, default_channel=Channel(prefetch_count=_AT_A_TIME))
queue = RabbitQueue(shop.QUEUE, durable=True, queue_type=QueueType.QUORUM)
events = RabbitExchange(shop.EVENTS_EXCHANGE, type=ExchangeType.TOPIC, durable=True, declare=False)
engine = create_async_engine(shop.DATABASE_URL.replace("+psycopg2", "+asyncpg"), pool_size=_AT_A_TIME)
new_session = async_sessionmaker(engine, expire_on_commit=False)


@broker.subscriber(queue, ack_policy=AckPolicy.NACK_ON_ERROR)
async def allocate(order: shop.Order) -> None:
    """Allocate one order and publish its event."""
    async with new_session() as session:
        product = (await session.scalars(shop.product(order))).one()
        line, event = shop.allocate(order, product, (await session.scalars(shop.batches(order))).all())
        session.add(line)
        await session.commit()
    await broker.publish(
        event,
        exchange=events,
        routing_key=shop.ALLOCATED,
        persist=True,
        mandatory=True,
        content_type="application/json",
    )


async def fill(count: int) -> None:
    """Publish the orders."""
    async with RabbitBroker(shop.AMQP_URL) as publisher:
        await publisher.declare_queue(queue)
        for order in shop.orders(count):
            await publisher.publish(order, queue, persist=True)


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        asyncio.run(fill(int(sys.argv[2])))
    else:
        asyncio.run(FastStream(broker).run())
