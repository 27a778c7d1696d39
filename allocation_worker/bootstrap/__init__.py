"""The one place that wires: settings in, a running process out. One module for each kind of verb."""

from allocation_worker.bootstrap.addresses import check_addresses
from allocation_worker.bootstrap.auditing import verify
from allocation_worker.bootstrap.dead_letters import hold_dead_letters, redrive_dead_letters, rehearse_dead_letters
from allocation_worker.bootstrap.history import explain, replay, waiting_messages
from allocation_worker.bootstrap.places import check_topology, declare_topology, migrate
from allocation_worker.bootstrap.projecting import project, rebuild, views
from allocation_worker.bootstrap.running import consume, relay
from allocation_worker.bootstrap.sending import build_command, send, send_file, survey_file
from allocation_worker.bootstrap.tailing import EVENT_NAMES, SeenEvent, tail

__all__ = [
    "EVENT_NAMES",
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
