"""The messages of the allocation worker: commands to publish, events to read, and the AMQP names for both."""

from allocation_contracts.commands import (
    COMMANDS,
    Allocate,
    ChangeBatchQuantity,
    Command,
    CreateBatch,
    Deallocate,
    read_command,
)
from allocation_contracts.errors import AllocationError, ContractError
from allocation_contracts.events import (
    EVENTS,
    Allocated,
    BatchCreated,
    BatchQuantityChanged,
    CommandRejected,
    Deallocated,
    Event,
    OutOfStock,
    SkuEvent,
    UnknownEvent,
    read_event,
    read_unknown_event,
)
from allocation_contracts.message import encode
from allocation_contracts.names import (
    APP_ID,
    CAUSATION_ID_HEADER,
    COMMANDS_EXCHANGE,
    CONTENT_TYPE,
    DEAD_LETTERS,
    EVENTS_EXCHANGE,
    ORDERS_QUEUE,
    STOCK_QUEUE,
    TRACEPARENT_HEADER,
    TRACESTATE_HEADER,
)
from allocation_contracts.positions import GapError, Position, Positions
from allocation_contracts.properties import (
    AmqpProperties,
    CommandProperties,
    EventProperties,
    command_properties,
    read_command_properties,
    read_event_properties,
)
from allocation_contracts.reasons import DeallocationReason, RejectionReason
from allocation_contracts.renamed import aliases

__all__ = [
    "APP_ID",
    "CAUSATION_ID_HEADER",
    "COMMANDS",
    "COMMANDS_EXCHANGE",
    "CONTENT_TYPE",
    "DEAD_LETTERS",
    "EVENTS",
    "EVENTS_EXCHANGE",
    "ORDERS_QUEUE",
    "STOCK_QUEUE",
    "TRACEPARENT_HEADER",
    "TRACESTATE_HEADER",
    "Allocate",
    "Allocated",
    "AllocationError",
    "AmqpProperties",
    "BatchCreated",
    "BatchQuantityChanged",
    "ChangeBatchQuantity",
    "Command",
    "CommandProperties",
    "CommandRejected",
    "ContractError",
    "CreateBatch",
    "Deallocate",
    "Deallocated",
    "DeallocationReason",
    "Event",
    "EventProperties",
    "GapError",
    "OutOfStock",
    "Position",
    "Positions",
    "RejectionReason",
    "SkuEvent",
    "UnknownEvent",
    "command_properties",
    "encode",
    "read_command",
    "read_command_properties",
    "read_event",
    "read_event_properties",
    "read_unknown_event",
]

__getattr__ = aliases(__name__, {"ContractViolation": "ContractError", "Gap": "GapError"})
