"""The texts for connection errors."""

import socket
import ssl

import pytest
from pika.adapters.utils.connection_workflow import (
    AMQPConnectionWorkflowFailed,
    AMQPConnectorSocketConnectError,
    AMQPConnectorTransportSetupError,
)
from pika.exceptions import (
    AMQPConnectionError,
    AuthenticationError,
    ConnectionClosedByBroker,
    IncompatibleProtocolError,
    ProbableAccessDeniedError,
    ProbableAuthenticationError,
    StreamLostError,
)

from allocation_contracts.amqp.errors import access_refusal, closed_at_once, words


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
        (ProbableAuthenticationError("StreamLostError: gone"), "StreamLostError: gone"),
        (ConnectionClosedByBroker(320, "CONNECTION_FORCED"), "(320, 'CONNECTION_FORCED')"),
        (StreamLostError("Stream connection lost\nby somebody"), "Stream connection lost by somebody"),
        (TimeoutError("it took too long"), "it took too long"),
        (AMQPConnectionError(), "AMQPConnectionError"),
        ("as pika says it", "as pika says it"),
    ],
)
def test_the_cause_is_told_without_what_pika_wraps_it_in(error: BaseException | str, told: str) -> None:
    assert words(error) == told


def _certificate_error(code: int, told: str) -> Exception:
    error = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {told}")
    error.verify_code, error.verify_message = code, told
    return AMQPConnectionError(AMQPConnectionWorkflowFailed([AMQPConnectorTransportSetupError(error)]))


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (
            ProbableAuthenticationError(
                "ConnectionClosedByBroker: (403) 'ACCESS_REFUSED - Login was refused using authentication mechanism "
                "PLAIN. For details see the broker logfile.'"
            ),
            "it refuses the login",
        ),
        (
            ProbableAccessDeniedError("ConnectionClosedByBroker: (530) 'NOT_ALLOWED - vhost nowhere not found'"),
            "it has no virtual host nowhere",
        ),
        (
            ProbableAccessDeniedError(
                "ConnectionClosedByBroker: (530) \"NOT_ALLOWED - access to vhost '/a b' refused for user 'me'\""
            ),
            "its user may not use the virtual host /a b",
        ),
        (AuthenticationError("EXTERNAL"), "it offers no login by this auth_mechanism"),
        (_certificate_error(10, "certificate has expired"), "its certificate has expired"),
        (_certificate_error(62, "Hostname mismatch"), "its certificate is for another name (Hostname mismatch)"),
        (_certificate_error(20, "unable to get local issuer certificate"), "its certificate cannot be trusted"),
        (
            IncompatibleProtocolError(
                "StreamLostError: (\"Stream connection lost: SSLError(1, '[SSL: TLSV13_ALERT_CERTIFICATE_REQUIRED] tls "
                "alert certificate required (_ssl.c:2580)')\",)"
            ),
            "it asks for a client certificate",
        ),
        (ssl.SSLError(1, "[SSL: TLSV1_ALERT_UNKNOWN_CA] tlsv1 alert unknown ca"), "it does not accept the client"),
        (ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"), "it does not speak TLS on this port"),
    ],
)
def test_what_cannot_pass_by_itself_is_told_with_what_to_do(error: BaseException, told: str) -> None:
    refusal = access_refusal(error)
    assert refusal is not None
    assert refusal.startswith(told)
    assert words(error) == refusal


@pytest.mark.parametrize(
    "error",
    [
        "",
        AMQPConnectionError(),
        ConnectionRefusedError(111, "Connection refused"),
        ProbableAuthenticationError(
            "StreamLostError: (\"Stream connection lost: ConnectionResetError(104, 'reset')\",)"
        ),
        ConnectionClosedByBroker(320, "CONNECTION_FORCED - broker forced connection closure"),
        ProbableAccessDeniedError(
            "ConnectionClosedByBroker: (541) \"INTERNAL_ERROR - access to vhost '/' refused for user 'me': vhost '/' "
            'is down"'
        ),
        ProbableAccessDeniedError(
            "ConnectionClosedByBroker: (530) \"NOT_ALLOWED - access to vhost '/' refused for user 'me': connection "
            'limit (10) is reached"'
        ),
        TimeoutError("it took too long"),
    ],
)
def test_what_may_pass_by_itself_is_no_refusal(error: BaseException | str) -> None:
    assert access_refusal(error) is None


def test_a_connection_that_ends_before_its_reason_is_read_is_told_with_what_it_may_be() -> None:
    error = IncompatibleProtocolError("StreamLostError: (\"Stream connection lost: SSLEOFError(8, 'EOF occurred')\",)")
    assert closed_at_once(error)
    assert access_refusal(error) is None
    assert words(error).startswith("it closed the connection at once, perhaps over TLS or the client certificate (")
    assert not closed_at_once(StreamLostError("gone"))
