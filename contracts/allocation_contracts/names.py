"""The names that the wire contract uses on the broker: exchanges, queues and headers."""

COMMANDS_EXCHANGE = "allocation.commands"
EVENTS_EXCHANGE = "allocation.events"
DEAD_LETTERS = "allocation.dead-letters"
"""The exchange for dead letters, and the queue behind it."""
ORDERS_QUEUE = "allocation.orders"
STOCK_QUEUE = "allocation.stock"

APP_ID = "allocation-worker"
"""The property `app_id` of every event."""
CONTENT_TYPE = "application/json"

CAUSATION_ID_HEADER = "causation_id"
TRACEPARENT_HEADER = "traceparent"
