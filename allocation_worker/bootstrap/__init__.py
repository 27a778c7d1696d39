"""The one place that wires: settings in, a running process out. One module for each kind of verb."""

from allocation_contracts import ContractViolation
from allocation_worker.adapters.rabbitmq.errors import RabbitMQError
from allocation_worker.bootstrap.auditing import verify
from allocation_worker.bootstrap.places import declare_topology, migrate
from allocation_worker.bootstrap.running import consume, relay
from allocation_worker.bootstrap.sending import build_command, send
from allocation_worker.service_layer.ports import StoreError

EXPECTED_ERRORS = (StoreError, RabbitMQError, ContractViolation)
"""What a server or a contract may say no with; each one's text is a sentence for the operator."""

__all__ = ["EXPECTED_ERRORS", "build_command", "consume", "declare_topology", "migrate", "relay", "send", "verify"]
