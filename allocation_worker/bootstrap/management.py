"""Wires the management API of the broker, for the verbs that use it."""

from allocation_contracts.amqp.urls import parse
from allocation_worker.adapters.rabbitmq.management import Management
from allocation_worker.bootstrap.addresses import management_url
from allocation_worker.config import Settings


def management(settings: Settings) -> Management | None:
    """Return the management API of the broker; None if no address is given."""
    url = management_url(settings)
    return None if url is None else Management(url, virtual_host(settings))


def virtual_host(settings: Settings) -> str:
    """Return the virtual host of the broker's first address."""
    return parse(settings.amqp_url[0]).virtual_host
