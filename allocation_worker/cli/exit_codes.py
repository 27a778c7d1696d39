"""The exit codes of the command line. They are listed in `--help` and in `docs/reference/exit-codes.md`."""

from allocation_contracts import AllocationError, ContractError
from allocation_contracts.amqp import PublishError
from allocation_worker.adapters.rabbitmq.errors import NotASubscribersQueueError, RabbitMQError, TopologyMismatchError
from allocation_worker.config import SettingsError
from allocation_worker.service_layer.ports import StoreError
from allocation_worker.service_layer.replay import ReplayError

FAILED = 1
USAGE = 2
NOT_KNOWN = 3
"""What was asked for is not known: an order, a message_id, a dead letter."""
FINDINGS = 4
"""The verb has looked, and something is wrong."""
UNAVAILABLE = 69
"""EX_UNAVAILABLE of sysexits.h: a server is away, refuses, or is not set up."""
SETTINGS = 78
"""EX_CONFIG of sysexits.h."""
INTERRUPTED = 130
"""As a shell tells it of a program that Ctrl-C has ended."""

IN_HELP = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not known, 4 something was found, "
    "69 a server is away or refuses, 78 wrong settings, 130 Ctrl-C, 143 SIGTERM."
)

# The first that fits.
_BY_ERROR: tuple[tuple[type[AllocationError], int], ...] = (
    (SettingsError, SETTINGS),
    (ContractError, USAGE),
    (NotASubscribersQueueError, USAGE),
    (ReplayError, NOT_KNOWN),
    (TopologyMismatchError, FAILED),
    (RabbitMQError, UNAVAILABLE),
    (PublishError, UNAVAILABLE),
    (StoreError, UNAVAILABLE),
)


def code_of(error: AllocationError) -> int:
    """Return the exit code for an error, or for what caused it."""
    for kind, code in _BY_ERROR:
        if isinstance(error, kind):
            return code
    cause = error.__cause__
    return code_of(cause) if isinstance(cause, AllocationError) else FAILED
