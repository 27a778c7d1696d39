"""What a test can do with a broker and a database: make fresh places in them, look in, stop and start them."""

import base64
import http.client
import json
import socket
import uuid
from collections.abc import Mapping
from contextlib import closing, suppress
from http import HTTPStatus
from typing import Any, Literal, NoReturn
from urllib.parse import quote, unquote, urlsplit

import pika
import psycopg2
from psycopg2 import sql
from sqlalchemy import make_url

from allocation_worker.testing.waiting import wait_until

_TIMEOUT = 10.0


class NotOursError(RuntimeError):
    """Only servers that run as private programs can be stopped, started and commanded from here."""


class ManagementError(RuntimeError):
    """The broker's management API refused a request."""


class Broker:
    """A broker, reached at its AMQP address and its management API.

    Attributes:
        amqp_url: The broker's address; its virtual host does not matter. Several, comma-separated, for a cluster.
        management_url: Where the management API answers, with the user and the password.
    """

    def __init__(self, *, amqp_url: str, management_url: str) -> None:
        self.amqp_url = amqp_url
        self.management_url = management_url
        self._made: list[str] = []

    def new_vhost(self) -> str:
        """Make an empty virtual host and give its address; it is removed at the end.

        Raises:
            ManagementError: The management API refused.
            OSError: The management API cannot be reached.
        """
        name = f"allocation-{uuid.uuid4().hex[:12]}"
        user = unquote(urlsplit(self.management_url).username or "guest")
        self._api("PUT", f"vhosts/{name}", {})
        self._made.append(name)
        rights = {"configure": ".*", "write": ".*", "read": ".*"}
        self._api("PUT", f"permissions/{name}/{quote(user, safe='')}", rights)
        return ",".join(_with_path(url, name) for url in self.amqp_url.split(","))

    def queue_depths(self, amqp_url: str) -> dict[str, int]:
        """Count the messages that wait in each queue of a virtual host.

        The numbers are the queues' own, not the management API's, which are seconds old. Messages that a consumer holds
        unacknowledged are not counted, and for a moment after the broker's start, while a queue has no leader yet, it
        counts as empty.
        """
        first = amqp_url.split(",", maxsplit=1)[0]
        with closing(pika.BlockingConnection(pika.URLParameters(first))) as connection:
            channel = connection.channel()
            return {
                name: channel.queue_declare(name, passive=True).method.message_count
                for name in self.queue_names(amqp_url)
            }

    def queue_names(self, amqp_url: str) -> list[str]:
        """Give the names of a virtual host's queues, sorted."""
        return sorted(
            queue["name"] for queue in self._api("GET", f"queues/{_vhost(amqp_url)}?disable_stats=true&columns=name")
        )

    def close_connections(self, amqp_url: str) -> None:
        """Have the broker close what is connected to a virtual host by force.

        Args:
            amqp_url: The virtual host's, where at least one program is connected.

        Raises:
            TimeoutError: The broker knows of no connection.
        """
        path = f"vhosts/{_vhost(amqp_url)}/connections"
        known: list[Any] = []

        def some_are_known() -> bool:
            known[:] = self._api("GET", path)
            return any("connection_name" in each.get("client_properties", {}) for each in known)

        # The management API hears of a connection some seconds after it has opened.
        wait_until(some_are_known, within=60, otherwise=lambda: f"Nothing is connected to {path}.")
        for each in known:
            with suppress(ManagementError):  # it is gone already
                self._api("DELETE", f"connections/{quote(each['name'])}")

    def check(self) -> None:
        """Return if the broker answers over AMQP and over its management API; raise if it does not."""
        parameters = pika.URLParameters(self.amqp_url.split(",", maxsplit=1)[0])
        # Knock first: pika logs seven errors for each connection that is refused.
        socket.create_connection((parameters.host, parameters.port), _TIMEOUT).close()
        with closing(pika.BlockingConnection(parameters)):
            self._api("GET", "whoami")

    def remove_made(self) -> None:
        """Remove the virtual hosts that `new_vhost` made."""
        while self._made:
            self._api("DELETE", f"vhosts/{self._made.pop()}")

    def stop(self) -> None:
        """End the broker in an orderly way and wait until it is gone."""
        self._refuse()

    def start(self) -> None:
        """Start the broker again, on the same port and with the same data, and wait until it is ready."""
        self._refuse()

    def kill(self) -> None:
        """End the broker as a power cut would (SIGKILL to its process group).

        RabbitMQ 3.10 forgets where a quorum queue's data are when it is killed within a second of the queue's making:
        the queue is there again, and no longer works. Call `save_queue_names` first if queues are that young.
        """
        self._refuse()

    def save_queue_names(self) -> None:
        """Have the broker write down at once which data belong to which quorum queue."""
        self._refuse()

    def ctl(self, *args: str) -> str:
        """Run rabbitmqctl against this broker and give what it printed."""
        self._refuse(*args)

    def _refuse(self, *args: str) -> NoReturn:
        raise NotOursError(" ".join(["This broker is not a private program: it takes no orders.", *args]))

    def _api(self, method: str, path: str, body: Mapping[str, str] | None = None) -> Any:  # noqa: ANN401 - JSON
        address = urlsplit(self.management_url)
        connect = http.client.HTTPSConnection if address.scheme == "https" else http.client.HTTPConnection
        login = f"{unquote(address.username or 'guest')}:{unquote(address.password or 'guest')}"
        headers = {
            "Authorization": "Basic " + base64.b64encode(login.encode()).decode(),
            "Content-Type": "application/json",
        }
        with closing(connect(address.hostname or "localhost", address.port, timeout=_TIMEOUT)) as connection:
            connection.request(
                method, f"{address.path}/api/{path}", json.dumps(body) if body is not None else "", headers
            )
            answer = connection.getresponse()
            text = answer.read()
        if answer.status >= HTTPStatus.BAD_REQUEST:
            raise ManagementError(f"{method} {path} was answered with {answer.status}: {text.decode()}")
        return json.loads(text) if text else None


class Database:
    """A PostgreSQL server in which databases can be made.

    Attributes:
        admin_url: The address of a database of a role that may create others (`postgresql+psycopg2://`).
    """

    def __init__(self, *, admin_url: str) -> None:
        self.admin_url = admin_url
        self._made: list[str] = []

    def new_database(self) -> str:
        """Make an empty database out of template0 and give its address; it is removed at the end."""
        name = f"allocation_{uuid.uuid4().hex[:12]}"
        self._execute(sql.SQL("CREATE DATABASE {} TEMPLATE template0").format(sql.Identifier(name)))
        url = make_url(self.admin_url).set(drivername="postgresql+psycopg2", database=name)
        self._made.append(address := url.render_as_string(hide_password=False))
        return address

    def drop(self, url: str) -> None:
        """Remove a database, along with the connections to it."""
        name = make_url(url).database or ""
        self._execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))
        if url in self._made:
            self._made.remove(url)

    def remove_made(self) -> None:
        """Remove the databases that `new_database` made."""
        for url in list(self._made):
            self.drop(url)

    def stop(self, mode: Literal["fast", "immediate"] = "fast") -> None:
        """End the server: `fast` in an orderly way, `immediate` as a crash would."""
        raise NotOursError(f"This database server is not a private program: it cannot be stopped ({mode}).")

    def start(self) -> None:
        """Start the server again, on the same port and with the same data, and wait until it is ready."""
        raise NotOursError("This database server is not a private program: it cannot be started.")

    def _execute(self, statement: sql.Composed) -> None:
        dsn = make_url(self.admin_url).set(drivername="postgresql").render_as_string(hide_password=False)
        with closing(psycopg2.connect(dsn, connect_timeout=int(_TIMEOUT))) as connection:
            connection.autocommit = True  # a database cannot be made or dropped inside a transaction
            with connection.cursor() as cursor:
                cursor.execute(statement)


def _vhost(amqp_url: str) -> str:
    """As the management API has it in its paths."""
    return quote(unquote(urlsplit(amqp_url.split(",", maxsplit=1)[0]).path[1:]), safe="")


def _with_path(url: str, vhost: str) -> str:
    return urlsplit(url.strip())._replace(path=f"/{vhost}").geturl()
