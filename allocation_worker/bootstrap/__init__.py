"""The one place that wires: settings in, a running process out. One module for each kind of verb."""

from allocation_contracts import ContractViolation
from allocation_contracts.amqp import PublishError
from allocation_worker.adapters.command_file import CommandFileError
from allocation_worker.adapters.rabbitmq.errors import RabbitMQError
from allocation_worker.bootstrap.places import declare_topology, migrate
from allocation_worker.bootstrap.running import consume, relay
from allocation_worker.bootstrap.sending import build_command, send, send_file, survey_file
from allocation_worker.bootstrap.tailing import EVENT_NAMES, SeenEvent, tail
from allocation_worker.service_layer.ports import StoreError

EXPECTED_ERRORS = (StoreError, RabbitMQError, ContractViolation, PublishError, CommandFileError)
"""What a server or a contract may say no with; each one's text is a sentence for the operator."""

__all__ = [
    "EVENT_NAMES",
    "EXPECTED_ERRORS",
    "SeenEvent",
    "build_command",
    "consume",
    "declare_topology",
    "migrate",
    "relay",
    "send",
    "send_file",
    "survey_file",
    "tail",
]
