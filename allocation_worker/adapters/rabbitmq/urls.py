"""AMQP addresses: what to connect with, how they may be shown, and a plain connection to one of several."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorStackTimeout
from tenacity import retry, retry_if_exception, stop_after_attempt

from allocation_contracts.amqp.errors import access_refusal, closed_at_once, words
from allocation_contracts.amqp.pika_internals import LenientConnection
from allocation_contracts.amqp.urls import AddressError, masked, parameters
from allocation_worker.adapters.rabbitmq.errors import CONNECTION_ERRORS, BrokerError

_ATTEMPTS_TO_READ_WHY = 8


@contextmanager
def connect_any(
    urls: Sequence[str],
    name: str = "allocation-worker",
) -> Iterator[pika.BlockingConnection]:
    """Open a blocking connection to the first broker that answers; close it in the end.

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
    refused = False
    for url in urls:
        try:
            return _connect(url, name)
        except AMQPConnectorStackTimeout:
            failures.append(f"{masked(url)}: it took the connection, and did not answer in time")
        except (*CONNECTION_ERRORS, AddressError) as error:
            failures.append(f"{masked(url)}: {words(error)}")
            refused = refused or access_refusal(error) is not None
    if refused:
        raise BrokerError(f"The broker refuses access: {'; '.join(failures)}; look at ALLOCATION_AMQP_URL.")
    raise BrokerError(
        f"No broker can be reached: {'; '.join(failures)}; look whether it runs there, and at ALLOCATION_AMQP_URL."
    )


@retry(retry=retry_if_exception(closed_at_once), stop=stop_after_attempt(_ATTEMPTS_TO_READ_WHY), reraise=True)
def _connect(url: str, name: str) -> pika.BlockingConnection:
    return pika.BlockingConnection(parameters(url, name), LenientConnection)  # type: ignore[arg-type] # it is the class
