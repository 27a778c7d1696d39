"""Takes a server's URL apart, strictly. No error holds a piece of the URL, which may be a piece of a password.

It stands here, without pika, for the addresses of every kind of server: RabbitMQ, PostgreSQL and Redis.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from allocation_contracts.errors import AllocationError

_HIGHEST_PORT = 65535
_WRITE_ENCODED = "write '/' as %2F, '?' as %3F, '#' as %23, '@' as %40 and '%' as %25"
_OPTION_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,40}")
_HOST = re.compile(r"[\w.~%-]*|\[[0-9A-Fa-f:.]+(%[\w.~-]+)?\]")
_BAD_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_UNPRINTABLE = re.compile(r"[\s\x00-\x1f\x7f]")


class AddressError(AllocationError, ValueError):
    """An address cannot be used. The text continues "the address is wrong: ", says why, and holds no password."""


@dataclass(frozen=True, slots=True, repr=False)
class UrlParts:
    """A URL taken apart; nothing in it is percent-encoded any more.

    Attributes:
        scheme: In lower case.
        user: None if there is none.
        password: None if there is none.
        hosts: Each with its port, if it has one. There is at least one; its name may be empty.
        path: Without the `/` it begins with; None if there is no `/`.
        options: By name, in their order.
    """

    scheme: str
    user: str | None
    password: str | None
    hosts: tuple[tuple[str, int | None], ...]
    path: str | None
    options: dict[str, str]


def take_apart(
    url: str, schemes: Sequence[str], *, path_is: str, example: str, repeatable: Sequence[str] = ()
) -> UrlParts:
    """Return the parts of a URL, without white space around it, such as the newline at the end of a secret's file.

    Args:
        url: Such as `amqp://user:password@host:5672/shop?heartbeat=30`.
        schemes: Those that are possible.
        path_is: What the path names, such as "virtual host".
        example: A good URL, for people.
        repeatable: The options that may be given several times. Their values are joined by commas.

    Raises:
        AddressError: It is no such URL.
    """
    url = url.strip()
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in schemes:
        raise AddressError(f"it must be a URL such as {example}")
    _refuse_ambiguous(rest)
    before_options, has_options, query = rest.partition("?")
    authority, has_path, path = before_options.partition("/")
    if "/" in path:
        raise AddressError(f"its {path_is} holds a '/' that is not encoded; write it as %2F")
    userinfo, has_user, places = authority.rpartition("@")
    user, has_password, password = userinfo.partition(":")
    return UrlParts(
        scheme=scheme,
        user=_decoded(user, "user") if has_user else None,
        password=_decoded(password, "password") if has_password else None,
        hosts=tuple(_host(place, example) for place in places.split(",")),
        path=_decoded(path, path_is) if has_path else None,
        options=_options(query, repeatable) if has_options else {},
    )


def check_readable(option: str, path: str) -> None:
    """See that a file that an address names can be read.

    Raises:
        AddressError: It cannot; the text names it and its option.
    """
    try:
        with Path(path).open("rb"):
            pass
    except (OSError, ValueError) as error:
        told = (error.strerror if isinstance(error, OSError) else None) or "it is no path"
        raise AddressError(f"its {option} {path} cannot be read: {told}") from error


def _refuse_ambiguous(rest: str) -> None:
    """Refuse what other programs would read in another way, for a password that is not encoded."""
    if _UNPRINTABLE.search(rest):
        raise AddressError("it holds white space or a control character; write it percent-encoded, a space as %20")
    if "#" in rest:
        raise AddressError(f"it holds a '#'; in a user's name, a password and whatever follows, {_WRITE_ENCODED}")
    authority = re.split("[/?]", rest, maxsplit=1)[0]
    if rest.count("@") > 1 or (rest.count("@") == 1 and "@" not in authority):
        raise AddressError(
            "its '@' is not where the host begins, or there are several; in a user's name, a password and whatever "
            f"follows, {_WRITE_ENCODED}"
        )


def _decoded(text: str, what: str) -> str:
    if _BAD_PERCENT.search(text):
        raise AddressError(f"its {what} holds a '%' without two hexadecimal digits behind it; write '%' as %25")
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise AddressError(f"its {what} is not UTF-8 once it is decoded") from None


def _host(place: str, example: str) -> tuple[str, int | None]:
    host, colon, port = place.rpartition(":") if not place.endswith("]") else (place, "", "")
    if not colon and not host:
        host = place
    if not _HOST.fullmatch(host):
        raise AddressError(f"the name of its host cannot be read; it must be like {example}, with an IPv6 host in [ ]")
    name = _decoded(host.strip("[]"), "host")
    if not colon or not port:
        return name, None
    if not (port.isascii() and port.isdigit() and 1 <= int(port) <= _HIGHEST_PORT):
        raise AddressError(
            f"its port is not a number from 1 to {_HIGHEST_PORT}; it must be like {example}; in a password, "
            f"{_WRITE_ENCODED}"
        )
    return name, int(port)


def _options(query: str, repeatable: Sequence[str]) -> dict[str, str]:
    options: dict[str, str] = {}
    for option in filter(None, query.split("&")):
        name, equals, value = option.partition("=")
        if not equals or not _OPTION_NAME.fullmatch(name):
            raise AddressError("one of its options is not written as name=value; write '&' in a value as %26")
        decoded = _decoded(value, f"option {name}")
        if name in options and name not in repeatable:
            raise AddressError(f"its option {name} is given twice")
        options[name] = f"{options[name]},{decoded}" if name in options else decoded
    return options
