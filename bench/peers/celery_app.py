"""Celery: late acks, a process for each core, quorum queues, confirms by the transport option `confirm_publish`.

`python -m bench.peers.celery_app fill COUNT` publishes the orders; `... run` consumes until it is killed.
"""

import os
import sys

from celery import Celery
from kombu import Exchange
from sqlalchemy import create_engine
from sqlalchemy.orm import sessionmaker

from bench.peers import shop

app = Celery("shop", broker=shop.AMQP_URL)
app.conf.update(
    task_default_queue=shop.QUEUE,
    task_default_queue_type="quorum",
    worker_detect_quorum_queues=True,
    task_acks_late=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=50,
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
)
events = Exchange(shop.EVENTS_EXCHANGE, type="topic", passive=True)
new_session = sessionmaker(create_engine(shop.DATABASE_URL))  # it connects in the processes that use it


@app.task(name="allocate")
def allocate(order: shop.Order) -> None:
    """Allocate one order and publish its event."""
    with new_session() as session:
        product = session.scalars(shop.product(order)).one()
        line, event = shop.allocate(order, product, session.scalars(shop.batches(order)).all())
        session.add(line)
        session.commit()
    with app.producer_pool.acquire(block=True) as producer:
        producer.publish(
            event,
            exchange=events,
            routing_key=shop.ALLOCATED,
            delivery_mode=2,
            mandatory=True,
            content_type="application/json",
            content_encoding="utf-8",
        )


if __name__ == "__main__":
    if sys.argv[1] == "fill":
        for order in shop.orders(int(sys.argv[2])):
            allocate.delay(order)
    else:
        app.worker_main(["worker", "--concurrency", str(os.cpu_count()), "--loglevel", "warning", "--without-gossip"])
