"""Parses and masks Redis addresses, without redis-py."""

import re
from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import quote

from allocation_contracts.url_parts import AddressError, UrlParts, take_apart
from allocation_worker.adapters.server_address import ServerAddress

_EXAMPLE = "redis://user:password@host:6379/0"
_PORT = 6379
_FILES = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")


RedisAddress = ServerAddress[Any]


def parse(url: str) -> RedisAddress:
    """Parse a URL, without connecting.

    Raises:
        AddressError: The URL is invalid; the text says why and holds no password.
    """
    parts = take_apart(url, ("redis", "rediss"), path_is="database", example=_EXAMPLE)
    if len(parts.hosts) > 1:
        raise AddressError(f"it must be a URL such as {_EXAMPLE}, of one host")
    tls = parts.scheme == "rediss"
    options = {name: _option(name, value, tls=tls) for name, value in parts.options.items()}
    ((host, port),) = parts.hosts
    own = {
        "host": host or "localhost",
        "port": port or _PORT,
        "db": _database(parts.path or "0"),
        "username": parts.user or None,
        "password": parts.password,
        "ssl": tls,
    }
    arguments: dict[str, Any] = own | options
    files = {option: arguments[option] for option in _FILES if option in arguments}
    return RedisAddress(arguments, _masked(parts, arguments), files)


def _database(path: str) -> int:
    if not (path.isascii() and path.isdigit()):
        raise AddressError(f"it must be a URL such as {_EXAMPLE}, with the number of the database at its end")
    return int(path)


def _option(name: str, value: str, *, tls: bool) -> Any:  # noqa: ANN401 - redis-py's options have several types
    read = _OPTIONS.get(name)
    if read is None:
        raise AddressError(f"there is no option {name}; there are {', '.join(sorted(_OPTIONS))}")
    if name.startswith("ssl_") and not tls:
        raise AddressError(f"its option {name} needs TLS; begin it with rediss://")
    return read(name, value)


def _masked(parts: UrlParts, arguments: Mapping[str, Any]) -> str:
    user = quote(arguments["username"] or "", safe="")
    secret = ":***@" if arguments["password"] else "@" if user else ""
    host = f"[{arguments['host']}]" if ":" in arguments["host"] else arguments["host"]
    return f"{parts.scheme}://{user}{secret}{host}:{arguments['port']}/{arguments['db']}"


def _text(_name: str, value: str) -> str:
    return value


def _whole(name: str, value: str) -> int:
    if value.isascii() and value.isdigit():
        return int(value)
    raise AddressError(f"its option {name} must be a whole number")


def _seconds(name: str, value: str) -> float:
    if re.fullmatch(r"\d+(\.\d*)?|\.\d+", value, re.ASCII):
        return float(value)
    raise AddressError(f"its option {name} must be a number of seconds")


def _switch(name: str, value: str) -> bool:
    if (lower := value.lower()) in {"true", "t", "yes", "y", "1"}:
        return True
    if lower in {"false", "f", "no", "n", "0"}:
        return False
    raise AddressError(f"its option {name} must be true or false")


def _cert_reqs(name: str, value: str) -> str:
    if value in {"none", "optional", "required"}:
        return value
    raise AddressError(f"its option {name} must be none, optional or required")


_OPTIONS: Final[Mapping[str, Callable[[str, str], Any]]] = {
    "client_name": _text,
    "db": _whole,
    "health_check_interval": _whole,
    "max_connections": _whole,
    "password": _text,
    "protocol": _whole,
    "socket_connect_timeout": _seconds,
    "socket_keepalive": _switch,
    "socket_timeout": _seconds,
    "ssl_ca_certs": _text,
    "ssl_ca_path": _text,
    "ssl_cert_reqs": _cert_reqs,
    "ssl_certfile": _text,
    "ssl_check_hostname": _switch,
    "ssl_ciphers": _text,
    "ssl_keyfile": _text,
    "ssl_min_version": _whole,
    "ssl_password": _text,
    "username": _text,
}
