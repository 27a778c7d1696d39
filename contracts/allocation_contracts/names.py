"""The names that the wire contract uses on the broker: exchanges, queues and headers."""

COMMANDS_EXCHANGE = "allocation.commands"
EVENTS_EXCHANGE = "allocation.events"
DEAD_LETTERS = "allocation.dead-letters"
"""The exchange for dead letters, and the queue behind it."""
RETRYING_EXCHANGE = "allocation.retrying"
"""For the worker: to the retry queues, and from there back to the command queues, each by its name."""
REDRIVING_EXCHANGE = "allocation.redriving"
"""For operators: to the command queues, each by its name."""
REPLAYING_EXCHANGE = "allocation.replaying"
"""For operators: to the queues of subscribers that have missed events, each by its name."""
PARKING_EXCHANGE = "allocation.parking"
"""For subscribers: to the queues where they park events that they cannot read, each by its name."""

ORDERS_QUEUE = "allocation.orders"
STOCK_QUEUE = "allocation.stock"

APP_ID = "allocation-worker"
"""The property `app_id` of every event."""
CONTENT_TYPE = "application/json"

CAUSATION_ID_HEADER = "causation_id"
TRACEPARENT_HEADER = "traceparent"
