"""Start real servers for tests, the demo and benchmarks: a RabbitMQ broker, a PostgreSQL server and a Redis server.

`start_servers` uses the first way that works; see `servers.starting`. The command `python -m
allocation_worker.testing.servers` starts a broker and a database, and prints their addresses.
"""

from allocation_worker.adapters.rabbitmq.management import ManagementError
from allocation_worker.testing.servers.controls import Broker, Database, NotOursError
from allocation_worker.testing.servers.programs import ProgramError
from allocation_worker.testing.servers.starting import Servers, start_servers
from allocation_worker.testing.servers.ways import NoServersError

__all__ = [
    "Broker",
    "Database",
    "ManagementError",
    "NoServersError",
    "NotOursError",
    "ProgramError",
    "Servers",
    "start_servers",
]
