"""The one place that wires: settings in, a running process out. One module for each kind of verb."""

from allocation_contracts import ContractViolation
from allocation_contracts.amqp import PublishError
from allocation_worker.adapters.command_file import CommandFileError
from allocation_worker.adapters.rabbitmq.errors import RabbitMQError
from allocation_worker.bootstrap.addresses import check_addresses
from allocation_worker.bootstrap.auditing import verify
from allocation_worker.bootstrap.dead_letters import hold_dead_letters, redrive_dead_letters, rehearse_dead_letters
from allocation_worker.bootstrap.history import explain, replay, waiting_messages
from allocation_worker.bootstrap.places import check_topology, declare_topology, migrate
from allocation_worker.bootstrap.projecting import project, rebuild, views
from allocation_worker.bootstrap.running import consume, relay
from allocation_worker.bootstrap.sending import build_command, send, send_file, survey_file
from allocation_worker.bootstrap.tailing import EVENT_NAMES, SeenEvent, tail
from allocation_worker.service_layer.ports import StoreError
from allocation_worker.service_layer.replaying import CannotReplay

EXPECTED_ERRORS = (StoreError, RabbitMQError, ContractViolation, PublishError, CommandFileError, CannotReplay)
"""What a server or a contract may say no with; each one's text is a sentence for the operator."""

__all__ = [
    "EVENT_NAMES",
    "EXPECTED_ERRORS",
    "SeenEvent",
    "build_command",
    "check_addresses",
    "check_topology",
    "consume",
    "declare_topology",
    "explain",
    "hold_dead_letters",
    "migrate",
    "project",
    "rebuild",
    "redrive_dead_letters",
    "rehearse_dead_letters",
    "relay",
    "replay",
    "send",
    "send_file",
    "survey_file",
    "tail",
    "verify",
    "views",
    "waiting_messages",
]
