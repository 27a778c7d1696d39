"""What can go wrong between a program and the broker. pika's own errors never leave this package."""

import re
import ssl
from collections.abc import Iterator

from pika.exceptions import AuthenticationError, IncompatibleProtocolError

from allocation_contracts.errors import AllocationError


class PublishError(AllocationError):
    """A command was not confirmed.

    Attributes:
        message_id: The command's, to publish it again with.
    """

    def __init__(self, message_id: str, text: str) -> None:
        super().__init__(message_id, text)
        self.message_id = message_id
        self._text = text

    def __str__(self) -> str:
        return self._text


class UnroutableError(PublishError):
    """No queue takes the command: the worker's exchanges, queues and bindings do not exist on the broker."""


class RefusedError(PublishError):
    """The broker did not take the command: its queue is full, or this user may not publish there."""


class UnreachableError(PublishError):
    """No broker could be reached in time. The command was not published."""


class AccessRefusedError(UnreachableError):
    """The broker refuses this program, until somebody changes something: its login, virtual host or certificates.

    The command was not published, and it was not waited for.
    """


class UnconfirmedError(PublishError):
    """The command was published and no confirm came in time: it may have arrived, or may not."""


class SubscriptionError(AllocationError):
    """The broker will not have this subscription, however often it is tried; the text says why, and what to do."""


_LONGEST_WORDS = 300
_ACCESS_REFUSED: tuple[tuple[str, str], ...] = (
    # From the broker, by way of pika. A virtual host that is down, or a limit that is reached, passes by itself.
    (r"ACCESS_REFUSED", "it refuses the login: the user, the password or auth_mechanism is wrong"),
    (r"NOT_ALLOWED - vhost (?P<it>.*) not found", "it has no virtual host {it}"),
    (
        r"NOT_ALLOWED - access to vhost '(?P<it>[^']*)' refused for user '[^']*'(?!:)",
        "its user may not use the virtual host {it}; an administrator can give the permissions",
    ),
    # From OpenSSL: how the broker says that it does not take the client's certificate.
    (r"alert[ _]certificate[ _]required", "it asks for a client certificate; give a certfile"),
    (r"alert[ _]certificate[ _]expired", "the client certificate has expired; renew the certfile"),
    (
        r"alert[ _](unknown[ _]ca|bad[ _]certificate|certificate[ _](unknown|revoked))",
        "it does not accept the client certificate; look at the certfile",
    ),
    (r"wrong[ _]version[ _]number", "it does not speak TLS on this port; look at the port"),
)
_CERTIFICATE_EXPIRED = 10
_OTHER_NAMES = {62, 64}


def words(error: BaseException | str) -> str:
    """Return why there is no connection, in one line.

    pika wraps the cause twice, in errors whose own text is empty or a tuple of others.
    """
    cause = ([*_causes(error)] or [error])[-1]
    told = (cause.strerror if isinstance(cause, OSError) else "") or str(cause) or type(cause).__name__
    told = " ".join(told.split())[:_LONGEST_WORDS]
    if refusal := access_refusal(error):
        return refusal
    if closed_at_once(error):
        return f"it closed the connection at once, perhaps over TLS or the client certificate ({told})"
    return told


def closed_at_once(error: BaseException | str) -> bool:
    """Return whether the broker closed the connection at its beginning, and its reason was not read.

    A broker that does not take a client's certificate says so and closes. What is written meanwhile can fail before
    that is read; the next attempt may read it.
    """
    return access_refusal(error) is None and any(isinstance(each, IncompatibleProtocolError) for each in _causes(error))


def access_refusal(error: BaseException | str) -> str | None:
    """Return why trying again is of no use until somebody changes something; None if the trouble may pass by itself.

    Args:
        error: As pika raises it, or hands it to a callback, when a connection cannot be opened.
    """
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return _certificate_refusal(cause)
        if isinstance(cause, AuthenticationError):
            return "it offers no login by this auth_mechanism; an administrator can switch it on"
        for pattern, told in _ACCESS_REFUSED:
            if found := re.search(pattern, str(cause), re.IGNORECASE):
                return told.format(**found.groupdict())
    return None


def _certificate_refusal(error: ssl.SSLCertVerificationError) -> str:
    if error.verify_code == _CERTIFICATE_EXPIRED:
        return "its certificate has expired; have it renewed"
    if error.verify_code in _OTHER_NAMES:
        return f"its certificate is for another name ({error.verify_message}); look at server_name_indication"
    return f"its certificate cannot be trusted ({error.verify_message}); look at cacertfile"


def _causes(error: BaseException | str) -> Iterator[BaseException | str]:
    cause: object = error
    while isinstance(cause, BaseException | str) and cause:
        yield cause
        cause = _inside(cause)


def _inside(error: object) -> object:
    if isinstance(error, OSError) or not isinstance(error, Exception):
        return None
    if tried := getattr(error, "exceptions", ()):
        return tried[-1]
    return getattr(error, "exception", None) or (error.args[0] if error.args else None)
