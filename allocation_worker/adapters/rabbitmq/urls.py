"""AMQP addresses: what to connect with, how they may be shown, and a plain connection to one of several."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout

from allocation_contracts.amqp.errors import words
from allocation_contracts.amqp.urls import masked, parameters
from allocation_worker.adapters.rabbitmq.errors import CONNECTION_ERRORS, BrokerError


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


@contextmanager
def connect_any(
    urls: Sequence[str],
    name: str = "allocation-worker",
    implementation: type[pika.SelectConnection] | None = None,
) -> Iterator[pika.BlockingConnection]:
    """A blocking connection to the first broker that answers, closed in the end.

    Args:
        urls: AMQP addresses.
        name: What the broker shows the connection as.
        implementation: Other than pika's own, what reads and writes beneath it.

    Raises:
        BrokerError: None does; the text gives each one's reason.
    """
    connection = _first_answer(urls, name, implementation)
    try:
        yield connection
    finally:
        if connection.is_open:
            connection.close()


def _first_answer(
    urls: Sequence[str], name: str, implementation: type[pika.SelectConnection] | None
) -> pika.BlockingConnection:
    failures = []
    for url in urls:
        try:
            return pika.BlockingConnection(parameters(url, name), implementation)  # type: ignore[arg-type] # it is the class
        except AMQPConnectorStackTimeout:
            failures.append(f"{masked(url)}: it took the connection, and did not answer in time")
        except CONNECTION_ERRORS as error:
            failures.append(f"{masked(url)}: {words(error)}")
    raise BrokerError(
        f"No broker can be reached: {'; '.join(failures)}; look whether it runs there, and at ALLOCATION_AMQP_URL."
    )
