"""Parses and masks PostgreSQL addresses.

The format is that of libpq, with several hosts and with connection options:
https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNSTRING-URIS
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote

from psycopg2 import ProgrammingError
from psycopg2.extensions import make_dsn

from allocation_contracts.url_parts import AddressError, UrlParts, check_readable, take_apart

_EXAMPLE = "postgresql://user:password@host:5432/database"
_SCHEMES = ("postgresql", "postgresql+psycopg2", "postgres")
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": ("any", "read-write", "read-only", "primary", "standby", "prefer-standby"),
    "channel_binding": ("disable", "prefer", "require"),
    "gssencmode": ("disable", "prefer", "require"),
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
_SYSTEM = "system"
# In seconds, if there are several hosts.
_CONNECT_TIMEOUT_OF_EACH = "3"


@dataclass(frozen=True, slots=True)
class DatabaseAddress:
    """The address of a database. `str` gives its masked form.

    Attributes:
        arguments: The arguments for libpq, by name. Several hosts and their ports are separated by commas.
        masked: The address for logs and errors: without any password and without options.
    """

    arguments: Mapping[str, str] = field(repr=False)
    masked: str

    def __str__(self) -> str:
        return self.masked

    def check_files(self) -> None:
        """Check that the files in the address are readable.

        Raises:
            AddressError: A file cannot be read; the text names it and its option.
        """
        for option in _FILES:
            path = self.arguments.get(option)
            if path and path != _SYSTEM:
                check_readable(option, path)


def parse(url: str) -> DatabaseAddress:
    """Parse a URL, without connecting.

    Raises:
        AddressError: The URL is invalid; the text says why and holds no password.
    """
    parts = take_apart(url, _SCHEMES, path_is="database", example=_EXAMPLE)
    for name, value in parts.options.items():
        _check_option(name, value)
    arguments = _own_parts(parts) | parts.options
    if "," in arguments.get("host", ""):
        # Otherwise libpq may connect to a standby, which is read-only.
        arguments.setdefault("target_session_attrs", "read-write")
        # A host that is off the network delays each connection by this much.
        arguments.setdefault("connect_timeout", _CONNECT_TIMEOUT_OF_EACH)
    return DatabaseAddress(arguments=arguments, masked=_masked(parts, arguments))


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
    hosts = arguments.get("host", "").split(",")
    ports = arguments.get("port", "").split(",")
    if len(ports) != len(hosts):
        ports = ports[:1] * len(hosts)
    places = ",".join(
        (f"[{host}]" if ":" in host else quote(host, safe="")) + (f":{port}" if port else "")
        for host, port in zip(hosts, ports, strict=True)
    )
    shown_user = "" if user is None else quote(user, safe="") + (":***@" if "password" in arguments else "@")
    return f"postgresql://{shown_user}{places}/{quote(arguments.get('dbname', parts.path or ''), safe='')}"
