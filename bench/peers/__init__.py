"""The same job written with what a user would pick instead: FastStream, Celery, dramatiq, and pika as the book uses it.

Each program takes one order from a durable queue, allocates it in one transaction through SQLAlchemy's ORM, publishes
one persistent event with a publisher confirm, and acknowledges the order. None has an inbox or an outbox.

The programs run in an environment of their own, `.venv/peers`, and import nothing of the worker.
`bench.peers.row` runs in the environment of the worker, starts them, and times them.
"""
