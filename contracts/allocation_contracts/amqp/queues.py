"""Arguments of queues that the worker and its subscribers share."""

from typing import Final

NO_DELIVERY_LIMIT: Final = 2**31 - 1
"""The `x-delivery-limit` of a quorum queue whose messages must never reach one.

RabbitMQ 4.x sets a limit of 20 where none is named. -1 lifts it there, but makes 3.10 drop a message the first time it
is put back. This number is out of reach on both.
"""
