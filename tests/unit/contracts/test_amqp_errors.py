"""Why there is no connection, in words."""

import socket

import pytest
from pika.adapters.utils.connection_workflow import AMQPConnectionWorkflowFailed, AMQPConnectorSocketConnectError
from pika.exceptions import AMQPConnectionError, ConnectionClosedByBroker, ProbableAuthenticationError, StreamLostError

from allocation_contracts.amqp.errors import words


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            AMQPConnectionError(AMQPConnectorSocketConnectError(ConnectionRefusedError(111, "Connection refused"))),
            "Connection refused",
        ),
        (
            AMQPConnectionError(
                AMQPConnectionWorkflowFailed([AMQPConnectorSocketConnectError(ConnectionRefusedError(111, "Refused"))])
            ),
            "Refused",
        ),
        (socket.gaierror(-2, "Name or service not known"), "Name or service not known"),
        (ProbableAuthenticationError("ACCESS_REFUSED - Login was refused"), "ACCESS_REFUSED - Login was refused"),
        (ConnectionClosedByBroker(320, "CONNECTION_FORCED"), "(320, 'CONNECTION_FORCED')"),
        (StreamLostError("Stream connection lost\nby somebody"), "Stream connection lost by somebody"),
        (TimeoutError("it took too long"), "it took too long"),
        (AMQPConnectionError(), "AMQPConnectionError"),
        ("as pika says it", "as pika says it"),
    ],
)
def test_the_cause_is_told_without_what_pika_wraps_it_in(error: BaseException | str, told: str) -> None:
    assert words(error) == told
