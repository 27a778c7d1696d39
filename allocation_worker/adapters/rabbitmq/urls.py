"""AMQP addresses: what to connect with, how they may be shown, and a plain connection to one of several."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from urllib.parse import urlsplit

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout

from allocation_contracts.amqp.errors import words
from allocation_contracts.amqp.lenient import LenientConnection
from allocation_worker.adapters.rabbitmq.errors import CONNECTION_ERRORS, BrokerError

_HEARTBEAT = 30
_SOCKET_TIMEOUT = 5.0
_STACK_TIMEOUT = 10.0


def parameters(url: str, name: str, *, blocked_timeout: float | None = None) -> pika.URLParameters:
    """What to connect to `url` with.

    A heartbeat or a timeout in the address's query stands.

    Args:
        url: `amqp://` or `amqps://`.
        name: What the broker shows the connection as.
        blocked_timeout: How many seconds an alarm of the broker may block the connection; None: as long as it lasts.
    """
    settings = pika.URLParameters(url)
    query = urlsplit(url).query
    if "heartbeat=" not in query:
        settings.heartbeat = _HEARTBEAT
    if "socket_timeout=" not in query:
        settings.socket_timeout = _SOCKET_TIMEOUT
    if "stack_timeout=" not in query:
        settings.stack_timeout = _STACK_TIMEOUT
    if "blocked_connection_timeout=" not in query:
        settings.blocked_connection_timeout = blocked_timeout
    settings.client_properties = {"connection_name": name}
    return settings


def check(url: str) -> None:
    """See that `parameters` can read an address.

    Raises:
        ValueError: it cannot; the text is a sentence without the password.
    """
    try:
        pika.URLParameters(url)
    except (ValueError, TypeError, SyntaxError, OSError):  # the last: a file of certificates is not there
        # pika's own words may hold a piece of a password that is not percent-encoded.
        raise ValueError(
            "its port or one of its options cannot be read; it must be like "
            "amqp://user:password@host:5672/vhost?heartbeat=30, with what is unusual in the password percent-encoded"
        ) from None


def masked(url: str) -> str:
    """The address as it may stand in a log: without the password, nor the query, where TLS options may hide one."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    user = f"{parts.username}:***@" if parts.username else ""
    return f"{parts.scheme}://{user}{place}{parts.path}"


@contextmanager
def connect_any(
    urls: Sequence[str],
    name: str = "allocation-worker",
) -> Iterator[pika.BlockingConnection]:
    """A blocking connection to the first broker that answers, closed in the end.

    Args:
        urls: AMQP addresses.
        name: What the broker shows the connection as.

    Raises:
        BrokerError: None does; the text gives each one's reason.
    """
    connection = _first_answer(urls, name)
    try:
        yield connection
    finally:
        if connection.is_open:
            connection.close()


def _first_answer(urls: Sequence[str], name: str) -> pika.BlockingConnection:
    failures = []
    for url in urls:
        try:
            return pika.BlockingConnection(parameters(url, name), LenientConnection)  # type: ignore[arg-type] # it is the class
        except AMQPConnectorStackTimeout:
            failures.append(f"{masked(url)}: it took the connection, and did not answer in time")
        except CONNECTION_ERRORS as error:
            failures.append(f"{masked(url)}: {words(error)}")
    raise BrokerError(
        f"No broker can be reached: {'; '.join(failures)}; look whether it runs there, and at ALLOCATION_AMQP_URL."
    )
