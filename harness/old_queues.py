"""Queues as another version may have left them."""

from typing import Any

from pika.adapters.blocking_connection import BlockingChannel

from allocation_worker.adapters.rabbitmq.layout import layout


def make_old(channel: BlockingChannel, queue: str, **arguments: Any) -> None:  # noqa: ANN401 - arguments of AMQP
    """Put a quorum queue with these arguments only, and with its bindings, into the place of a queue of the worker."""
    channel.queue_delete(queue)
    channel.queue_declare(queue, durable=True, arguments={"x-queue-type": "quorum", **arguments})
    for route in layout([1]).routes_to(queue):
        channel.queue_bind(queue, route.source, route.routing_key)
