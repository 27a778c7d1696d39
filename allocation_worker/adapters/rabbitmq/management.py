"""The management API of the broker, over HTTP: what AMQP cannot show or set."""

import base64
import http.client
import json
import ssl
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.adapters.rabbitmq.layout import Binding
from allocation_worker.adapters.rabbitmq.management_address import parse
from allocation_worker.adapters.rabbitmq.policies import Policy
from allocation_worker.adapters.server_address import ServerAddress

_TIMEOUT = 10.0
_MOST_SHOWN = 200


class ManagementError(BrokerError):
    """The management API cannot be reached, or refused a request."""


def request(url: str, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - JSON
    """Send a request to a management API and return its answer, None if that is empty.

    Args:
        url: The address of the API, with user and password.
        method: Such as GET.
        path: Behind `/api/`, encoded.
        body: What to send as JSON.

    Raises:
        ManagementError: It cannot be reached, or it refuses.
        AddressError: The address is invalid.
    """
    address = parse(url)
    given = address.arguments
    login = f"{given['user']}:{given['password']}"
    headers = {
        "Authorization": "Basic " + base64.b64encode(login.encode()).decode(),
        "Content-Type": "application/json",
    }
    try:
        with closing(_connection(address)) as connection:
            sent = json.dumps(body) if body is not None else ""
            connection.request(method, f"{given['path']}/api/{path}", sent, headers)
            answer = connection.getresponse()
            text = answer.read()
        if answer.status < HTTPStatus.BAD_REQUEST:
            return json.loads(text) if text else None
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise ManagementError(
            f"The management API at {address} cannot be used: {error}; look whether it runs there, and at "
            "ALLOCATION_MANAGEMENT_URL."
        ) from error
    said = " ".join(text.decode(errors="replace").split())[:_MOST_SHOWN]
    raise ManagementError(
        f"The management API at {address} refused {method} {path.partition('?')[0]}: {answer.status} {said}."
    )


class Management:
    """What the worker asks of the management API, for one virtual host. Every method raises ManagementError.

    Args:
        url: Gives the address of the API, with user and password.
        vhost: The virtual host.
    """

    def __init__(self, url: Callable[[], str], vhost: str) -> None:
        self._url = url
        self._vhost = quote(vhost, safe="")

    def bindings(self) -> set[Binding]:
        """Return all bindings without arguments, but those of the default exchange."""
        found = self._get("bindings")
        return {
            Binding(each["source"], each["destination"], each["routing_key"])
            for each in found
            if each["source"] and not each.get("arguments")
        }

    def messages(self, queue: str) -> int | None:
        """Return how many messages a queue has, with those that are delivered and not acknowledged.

        The broker counts those of a quorum queue every few seconds. None if it has not counted them yet.
        """
        found = self._get("queues", "?disable_stats=true&enable_queue_totals=true")
        counts = [each.get("messages") for each in found if each["name"] == queue]
        return counts[0] if counts and isinstance(counts[0], int) else None

    def policies(self) -> list[Policy]:
        """Return all policies, and the operator policies that the user may see."""
        return [
            *(_policy(each, operator=False) for each in self._get("policies")),
            *(_policy(each, operator=True) for each in self._get("operator-policies")),
        ]

    def set_policy(self, policy: Policy) -> None:
        """Set a policy."""
        body = {
            "pattern": policy.pattern,
            "definition": dict(policy.definition),
            "priority": policy.priority,
            "apply-to": policy.apply_to,
        }
        request(self._url(), "PUT", f"policies/{self._vhost}/{quote(policy.name, safe='')}", body)

    def _get(self, kind: str, query: str = "") -> Sequence[Mapping[str, Any]]:
        found: Sequence[Mapping[str, Any]] = request(self._url(), "GET", f"{kind}/{self._vhost}{query}")
        return found


def _policy(each: Mapping[str, Any], *, operator: bool) -> Policy:
    return Policy(
        name=each["name"],
        pattern=each["pattern"],
        definition=each["definition"],
        priority=each["priority"],
        apply_to=each["apply-to"],
        operator=operator,
    )


def _connection(address: ServerAddress[Any]) -> http.client.HTTPConnection:
    given = address.arguments
    if not given["tls"]:
        return http.client.HTTPConnection(given["host"], given["port"], timeout=_TIMEOUT)
    context = ssl.create_default_context(cafile=address.files.get("cacertfile"))
    return http.client.HTTPSConnection(given["host"], given["port"], timeout=_TIMEOUT, context=context)
