"""The address of the management API, without what it takes to connect there."""

from typing import Any
from urllib.parse import quote

from allocation_contracts.url_parts import AddressError, take_apart
from allocation_worker.adapters.server_address import ServerAddress

_EXAMPLE = "http://user:password@host:15672"
_PORTS = {"http": 15672, "https": 15671}


def parse(url: str) -> ServerAddress[Any]:
    """Parse the address of a management API, without connecting.

    Raises:
        AddressError: The URL is invalid; the text says why and holds no password.
    """
    parts = take_apart(url, tuple(_PORTS), path_is="path", example=_EXAMPLE)
    if len(parts.hosts) > 1:
        raise AddressError(f"it must be a URL such as {_EXAMPLE}, of one host")
    if unknown := sorted(set(parts.options) - {"cacertfile"}):
        raise AddressError(f"there is no option {unknown[0]}; there is cacertfile")
    ((host, port),) = parts.hosts
    arguments = {
        "tls": parts.scheme == "https",
        "host": host or "localhost",
        "port": port or _PORTS[parts.scheme],
        "user": parts.user or "guest",
        "password": parts.password or "guest",
        "path": f"/{quote(parts.path)}" if parts.path else "",
    }
    shown = f"[{host}]" if ":" in host else host or "localhost"
    user = quote(parts.user or "guest", safe="")
    masked = f"{parts.scheme}://{user}:***@{shown}:{arguments['port']}{arguments['path']}"
    return ServerAddress(arguments, masked, parts.options)
