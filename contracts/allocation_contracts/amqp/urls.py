"""AMQP addresses: one parser, the parameters to connect with, and the form that may be shown.

The options are those of RabbitMQ's URI specification (https://www.rabbitmq.com/docs/uri-query-parameters), and pika's.
"""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import pika

from allocation_contracts.amqp.tls import TlsFiles, context
from allocation_contracts.url_parts import AddressError, UrlParts, take_apart

__all__ = ["AddressError", "BrokerAddress", "masked", "parameters", "parse", "split"]

_EXAMPLE = "amqp://user:password@host:5672/vhost?heartbeat=30"
_PORT = 5672
_TLS_PORT = 5671
_HEARTBEAT = 30
_SOCKET_TIMEOUT = 5.0
_STACK_TIMEOUT = 10.0
_TLS_OPTIONS = ("cacertfile", "certfile", "keyfile", "password", "verify", "server_name_indication")
_SSL_OPTIONS = {
    "ca_certs": "cacertfile",
    "cafile": "cacertfile",
    "certfile": "certfile",
    "keyfile": "keyfile",
    "password": "password",
    "server_hostname": "server_name_indication",
}
"""What pika's own option `ssl_options` may hold, and the option of today that it stands for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerAddress:
    """The address of a broker. Its text has no password.

    Attributes:
        host: A name or an IP address.
        port: 1 to 65535.
        user: None if the address names none; then it is `guest`.
        password: Of the user.
        virtual_host: Decoded: `/` is the broker's own.
        tls: Whether to connect over TLS: `amqps://`.
        external: Whether to log in by the client certificate.
        files: What TLS is told, and the files it reads at each connect.
        settings: Pika's own, by their names: `heartbeat` and the like.
    """

    host: str
    port: int
    user: str | None
    password: str = field(repr=False)
    virtual_host: str
    tls: bool
    external: bool
    files: TlsFiles
    settings: Mapping[str, Any]

    def __str__(self) -> str:
        return self.masked

    @property
    def masked(self) -> str:
        """The address for logs and errors: without its password and without its options."""
        user = "" if self.user is None else f"{quote(self.user, safe='')}:***@"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'amqps' if self.tls else 'amqp'}://{user}{host}:{self.port}/{quote(self.virtual_host, safe='')}"

    def parameters(self, name: str, *, blocked_timeout: float | None = None) -> pika.ConnectionParameters:
        """Return the parameters to connect with. Its files are read now, so call this at each connect.

        Args:
            name: How the broker shows the connection.
            blocked_timeout: For how many seconds an alarm of the broker may block the connection, unless the address
                says; None: without a limit.

        Raises:
            AddressError: A file cannot be read, or is not what its option says.
        """
        settings: dict[str, Any] = {
            "heartbeat": _HEARTBEAT,
            "socket_timeout": _SOCKET_TIMEOUT,
            "stack_timeout": max(_STACK_TIMEOUT, 2 * self.settings.get("socket_timeout", 0)),
            "blocked_connection_timeout": blocked_timeout,
        } | dict(self.settings)
        settings["client_properties"] = {**settings.get("client_properties", {}), "connection_name": name}
        tls = pika.SSLOptions(context(self.files), self.files.server_name) if self.tls else None
        return pika.ConnectionParameters(
            host=self.host,
            port=self.port,
            virtual_host=self.virtual_host,
            credentials=self._credentials(),
            ssl_options=tls,
            **settings,
        )

    def _credentials(self) -> pika.PlainCredentials | pika.credentials.ExternalCredentials:
        if self.external:
            return pika.credentials.ExternalCredentials()
        return pika.PlainCredentials(self.user if self.user is not None else "guest", self.password)


def split(urls: str | Sequence[str]) -> list[str]:
    """Return the addresses of a cluster's nodes, given as a list or separated by commas.

    Only a comma before another `amqp://` or `amqps://` separates; one inside an option does not.
    """
    each = re.split(r",(?=\s*amqps?://)", urls, flags=re.IGNORECASE) if isinstance(urls, str) else urls
    return [stripped for url in each if (stripped := url.strip().rstrip(", \n"))]


def parse(url: str) -> BrokerAddress:
    """Return the address that a URL stands for. Nothing is opened, and no file is read.

    Raises:
        AddressError: It stands for none; the text says why and holds no password.
    """
    parts = take_apart(url, ("amqp", "amqps"), path_is="virtual host", example=_EXAMPLE)
    if len(parts.hosts) > 1:
        raise AddressError("it names several hosts; write a whole URL for each broker, with commas between them")
    options = _with_ssl_options(parts.options)
    for name in options:
        if name not in _KNOWN:
            raise AddressError(f"there is no option {name}; there are {', '.join(sorted(_KNOWN))}")
    tls = parts.scheme == "amqps"
    if not tls and (wrong := [name for name in _TLS_OPTIONS if name in options]):
        raise AddressError(f"its option {wrong[0]} needs TLS; begin it with amqps://")
    external = _mechanism(options) == "external"
    if external and not (tls and "certfile" in options):
        raise AddressError("auth_mechanism=external logs in by a certificate; it needs amqps:// and a certfile")
    ((host, port),) = parts.hosts
    return BrokerAddress(
        host=host or "localhost",
        port=port or (_TLS_PORT if tls else _PORT),
        user=parts.user,
        password=_password(parts, external=external),
        virtual_host=parts.path or "/",
        tls=tls,
        external=external,
        files=_files(options),
        settings=_settings(options),
    )


def parameters(url: str, name: str, *, blocked_timeout: float | None = None) -> pika.ConnectionParameters:
    """Return the parameters to connect to `url` with; see `BrokerAddress.parameters`.

    Raises:
        AddressError: The URL cannot be read, or a file that it names.
    """
    return parse(url).parameters(name, blocked_timeout=blocked_timeout)


def masked(url: str) -> str:
    """Return the address without its password and its options; of what cannot be read, its kind only."""
    try:
        return parse(url).masked
    except AddressError:
        return "amqp://***"


def _password(parts: UrlParts, *, external: bool) -> str:
    if parts.password is not None:
        return parts.password
    if parts.user is not None and not external:
        raise AddressError(f"it names a user and no password; it must be like {_EXAMPLE}")
    return "guest"


def _mechanism(options: Mapping[str, str]) -> str:
    mechanism = options.get("auth_mechanism", "plain").lower()
    if mechanism not in {"plain", "external"}:
        raise AddressError("its auth_mechanism must be plain or external; pika knows no other")
    return mechanism


def _files(options: Mapping[str, str]) -> TlsFiles:
    verify = options.get("verify", "verify_peer")
    if verify not in {"verify_peer", "verify_none"}:
        raise AddressError("its option verify must be verify_peer or verify_none")
    if "keyfile" in options and "certfile" not in options:
        raise AddressError("its option keyfile needs a certfile")
    server_name = options.get("server_name_indication")
    return TlsFiles(
        cacertfile=options.get("cacertfile"),
        certfile=options.get("certfile"),
        keyfile=options.get("keyfile"),
        password=options.get("password"),
        verify=verify == "verify_peer",
        check_name=server_name != "disable",
        server_name=None if server_name == "disable" else server_name,
    )


def _settings(options: Mapping[str, str]) -> dict[str, Any]:
    if "connection_timeout" in options and "socket_timeout" in options:
        raise AddressError("its options connection_timeout and socket_timeout mean the same; give one of them")
    settings = {name: read(name, options[name]) for name, read in _PIKA_OPTIONS.items() if name in options}
    if "connection_timeout" in options:
        settings["socket_timeout"] = _whole(1)("connection_timeout", options["connection_timeout"]) / 1000
    return settings


def _with_ssl_options(options: Mapping[str, str]) -> dict[str, str]:
    """Translate pika's option `ssl_options`, which older addresses may have."""
    others = {name: value for name, value in options.items() if name != "ssl_options"}
    text = options.get("ssl_options", "None")
    if text == "None":
        return others
    for name, value in _literal("ssl_options", text).items():
        option = _SSL_OPTIONS.get(name)
        if option is None or option in others:
            raise AddressError(
                f"its ssl_options cannot be read; use {', '.join(_TLS_OPTIONS)}, such as "
                "amqps://host/vhost?cacertfile=/ca.pem"
            )
        if value is not None:
            others[option] = str(value)
    return others


def _whole(lowest: int, highest: int | None = None) -> Callable[[str, str], int]:
    def read(name: str, value: str) -> int:
        if value.isascii() and value.isdigit() and lowest <= int(value) and (highest is None or int(value) <= highest):
            return int(value)
        limits = f"from {lowest} to {highest}" if highest else f"of at least {lowest}"
        raise AddressError(f"its option {name} must be a whole number {limits}")

    return read


def _seconds(name: str, value: str) -> float:
    if re.fullmatch(r"\d+(\.\d*)?|\.\d+", value, re.ASCII) and float(value) > 0:
        return float(value)
    raise AddressError(f"its option {name} must be a number of seconds above 0")


def _literal(name: str, value: str) -> dict[str, Any]:
    try:
        read = ast.literal_eval(value)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise AddressError(f"its option {name} must be a dictionary, as Python writes it")
    return read


def _text(_name: str, value: str) -> str:
    return value


_PIKA_OPTIONS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "blocked_connection_timeout": _seconds,
    "channel_max": _whole(1, 65535),
    "client_properties": _literal,
    "connection_attempts": _whole(1),
    "frame_max": _whole(4096, 131072),
    "heartbeat": _whole(0, 65535),
    "locale": _text,
    "retry_delay": _seconds,
    "socket_timeout": _seconds,
    "stack_timeout": _seconds,
    "tcp_options": _literal,
}
_KNOWN: Final = frozenset((*_PIKA_OPTIONS, *_TLS_OPTIONS, "auth_mechanism", "connection_timeout", "ssl_options"))
