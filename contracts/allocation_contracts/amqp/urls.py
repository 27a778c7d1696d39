"""AMQP addresses: the parameters to connect with, and the form that may be shown."""

from collections.abc import Sequence
from urllib.parse import urlsplit

import pika

_HEARTBEAT = 30
_SOCKET_TIMEOUT = 5.0
_STACK_TIMEOUT = 10.0


def split(urls: str | Sequence[str]) -> list[str]:
    """Return the addresses of a cluster's nodes, given as a list or separated by commas."""
    return [url.strip() for url in (urls.split(",") if isinstance(urls, str) else urls)]


def parameters(url: str, name: str, *, blocked_timeout: float | None = None) -> pika.URLParameters:
    """Return the parameters to connect to `url` with. The address's own options win over the defaults here.

    Args:
        url: `amqp://` or `amqps://`.
        name: How the broker shows the connection.
        blocked_timeout: For how many seconds an alarm of the broker may block the connection; None: without a limit.

    Raises:
        ValueError, TypeError, SyntaxError: The address cannot be read.
        OSError: A certificate file cannot be read.
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


def masked(url: str) -> str:
    """Return the address without its password, and without its query, where TLS options may hold another."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    user = f"{parts.username}:***@" if parts.username else ""
    return f"{parts.scheme}://{user}{place}{parts.path}"
