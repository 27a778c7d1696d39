"""Parses and masks PostgreSQL addresses.

The format is that of libpq, with several hosts and with connection options:
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
"""

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote

from psycopg2 import ProgrammingError
from psycopg2.extensions import make_dsn

from allocation_contracts.url_parts import AddressError, UrlParts, take_apart
from allocation_worker.adapters.server_address import ServerAddress

_EXAMPLE = "postgresql://user:password@host:5432/database"
_SCHEMES = ("postgresql", "postgresql+psycopg2", "postgres")
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
    "load_balance_hosts": ("disable", "random"),
}
_NUMBERS = (
    "connect_timeout",
    "keepalives",
    "keepalives_idle",
    "keepalives_interval",
    "keepalives_count",
    "tcp_user_timeout",
)
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")
_SYSTEM = "system"  # the authorities of the system, and no file
# In seconds, if there are several hosts.
_CONNECT_TIMEOUT_OF_EACH = "3"
_HOST_AND_PORT = re.compile(r"(?P<host>[^:/]+|\[[^]]+\]):(?P<port>\d+)")


DatabaseAddress = ServerAddress[str]
"""Its arguments are those of libpq. Several hosts and their ports are separated by commas."""


def parse(url: str) -> DatabaseAddress:
    """Parse a URL, without connecting.

    Raises:
        AddressError: The URL is invalid; the text says why and holds no password.
    """
    parts = take_apart(url, _SCHEMES, path_is="database", example=_EXAMPLE, repeatable=["host"])
    for name, value in parts.options.items():
        _check_option(name, value)
    arguments = _own_parts(parts) | _with_ports_apart(parts.options)
    _check_counts(arguments)
    # A service may have several hosts, too.
    if "service" in arguments or "," in arguments.get("host", arguments.get("hostaddr", "")):
        # Otherwise libpq may connect to a standby, which is read-only.
        arguments.setdefault("target_session_attrs", "read-write")
        # A host that is off the network delays each connection by this much.
        arguments.setdefault("connect_timeout", _CONNECT_TIMEOUT_OF_EACH)
    files = {option: arguments[option] for option in _FILES if arguments.get(option, _SYSTEM) != _SYSTEM}
    return DatabaseAddress(arguments, _masked(parts, arguments), files)


def _with_ports_apart(options: Mapping[str, str]) -> dict[str, str]:
    """Return the options with host and port apart, as libpq takes them.

    SQLAlchemy's form has both in one option: `host=a:5432&host=b:5433`.
    """
    pairs = [_HOST_AND_PORT.fullmatch(host) for host in options.get("host", "").split(",")]
    if not any(pairs):
        return dict(options)
    if "port" in options:
        raise AddressError("its ports are given twice: in the option host, and in the option port")
    hosts = ",".join(
        pair["host"].strip("[]") if pair else host for pair, host in zip(pairs, options["host"].split(","), strict=True)
    )
    ports = ",".join(pair["port"] if pair else "" for pair in pairs)
    return dict(options) | {"host": hosts, "port": ports}


def _own_parts(parts: UrlParts) -> dict[str, str]:
    hosts = ",".join(host for host, _ in parts.hosts)
    ports = ",".join(str(port or "") for _, port in parts.hosts)
    own = {
        "host": hosts,
        "port": ports if ports.strip(",") else "",
        "user": parts.user,
        "password": parts.password,
        "dbname": parts.path,
    }
    return {name: value for name, value in own.items() if value}


def _check_counts(arguments: Mapping[str, str]) -> None:
    """Check that hosts, their addresses and their ports fit each other, as libpq would when it connects."""
    counts = {name: arguments[name].count(",") + 1 for name in ("host", "hostaddr", "port") if name in arguments}
    ports = counts.pop("port", 1)
    hosts = max(counts.values(), default=1)
    if min(counts.values(), default=1) != hosts or ports not in {1, hosts}:
        told = ", ".join(f"{count} for {name}" for name, count in (counts | {"port": ports}).items())
        raise AddressError(f"its hosts and ports are not equally many: {told}")


def _check_option(name: str, value: str) -> None:
    if not _is_known(name):
        raise AddressError(f"libpq knows no option {name}")
    if name in _CHOICES and value not in _CHOICES[name]:
        raise AddressError(f"its option {name} must be one of {', '.join(_CHOICES[name])}")
    if name in _NUMBERS and not (value.isascii() and value.isdigit()):
        raise AddressError(f"its option {name} must be a whole number")


def _is_known(option: str) -> bool:
    try:
        make_dsn("", **{option: ""})
    except ProgrammingError:
        return False
    return True


def _masked(parts: UrlParts, arguments: Mapping[str, str]) -> str:
    user = arguments.get("user")
    hosts = (arguments.get("host") or arguments.get("hostaddr", "")).split(",")
    ports = arguments.get("port", "").split(",")
    if len(ports) != len(hosts):
        ports = ports[:1] * len(hosts)
    places = ",".join(
        (f"[{host}]" if ":" in host else quote(host, safe="")) + (f":{port}" if port else "")
        for host, port in zip(hosts, ports, strict=True)
    )
    shown_user = "" if user is None else quote(user, safe="") + (":***@" if "password" in arguments else "@")
    service = f"?service={quote(arguments['service'], safe='')}" if "service" in arguments else ""
    return f"postgresql://{shown_user}{places}/{quote(arguments.get('dbname', parts.path or ''), safe='')}{service}"
