"""A JSON reader that takes only what every other reader would understand the same way (I-JSON, RFC 7493).

`json.loads` also takes NaN, duplicate keys, UTF-16, lone surrogates and numbers without end; each of them breaks
something further on (PostgreSQL, another language's reader, the CPU's patience), so they stop here.
"""

import json
from math import isinf
from typing import Any, NoReturn

from allocation_contracts.errors import ContractError, show

MAX_BODY_BYTES = 65_536
MAX_DEPTH = 32
MAX_INTEGER_DIGITS = 20
MAX_FLOAT_CHARACTERS = 64

_COMPRESSIONS = {"gzip", "x-gzip", "deflate", "compress", "x-compress", "br", "zstd", "bzip2", "xz", "lzma", "snappy"}
_BEGINNINGS = {
    b"\x1f\x8b": "gzip",
    b"\x78\x01": "deflate",
    b"\x78\x5e": "deflate",
    b"\x78\x9c": "deflate",
    b"\x78\xda": "deflate",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    b"\xfd7zXZ": "xz",
}


def read(
    body: bytes, *, content_encoding: object = None, max_bytes: int = MAX_BODY_BYTES, max_depth: int = MAX_DEPTH
) -> dict[str, Any]:
    """Read one JSON object.

    Args:
        body: UTF-8 without a byte order mark.
        content_encoding: The AMQP property, unchecked. It explains a body that cannot be read, and decides nothing:
            many libraries set it to their own taste.
        max_bytes: The largest body taken.
        max_depth: How many containers may stand inside each other, the object itself being the first.

    Returns:
        The object: keys unique, numbers finite, strings free of lone surrogates.

    Raises:
        ContractError: `body-too-large`, `compressed-body`, or `invalid-json` for everything else.
    """
    if len(body) > max_bytes:
        raise ContractError("body-too-large", f"The body has {len(body)} bytes; send at most {max_bytes}.")
    value = _parse(body, content_encoding, max_depth)
    if not isinstance(value, dict):
        raise _invalid(f"The body must be a JSON object, got {show(value)}.")
    # The two walks are paid for only by bodies that could need them: no depth without brackets, and UTF-8 itself
    # has no surrogates, so they come from \u escapes alone.
    if body.count(b"{") + body.count(b"[") > max_depth and _is_deeper(value, max_depth):
        raise _too_deep(max_depth)
    if b"\\u" in body:
        _refuse_lone_surrogates(value)
    return value


def _parse(body: bytes, content_encoding: object, max_depth: int) -> Any:  # noqa: ANN401 - any JSON value, until `read` has looked at it
    try:
        return _decode(body.decode())
    except json.JSONDecodeError as error:
        if named := _named_compression(body, content_encoding):
            raise _compressed(named) from error
        if body.startswith(b"\xef\xbb\xbf"):
            raise _invalid("The body starts with a byte order mark; send UTF-8 without one.") from error
        raise _invalid(f"The body is not valid JSON ({error}); send one JSON object in UTF-8.") from error
    except UnicodeDecodeError as error:
        if compression := _named_compression(body, content_encoding) or _compression_seen(body):
            raise _compressed(compression) from error
        raise _invalid(f"The body is not UTF-8 ({error.reason} at byte {error.start}); encode it as UTF-8.") from error
    except RecursionError as error:
        raise _too_deep(max_depth) from error


def _named_compression(body: bytes, content_encoding: object) -> str | None:
    if not isinstance(content_encoding, str) or body.lstrip()[:1] in (b"", b"{"):
        return None
    names = [name.strip() for name in content_encoding.lower().split(",")]
    return ", ".join(names) if _COMPRESSIONS.issuperset(names) else None


def _compression_seen(body: bytes) -> str | None:
    return next((name for beginning, name in _BEGINNINGS.items() if body.startswith(beginning)), None)


def _compressed(how: str) -> ContractError:
    return ContractError(
        "compressed-body", f"The body is compressed ({how}); send one JSON object in UTF-8, uncompressed."
    )


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        twice = next(key for key, _ in pairs if key in seen or seen.add(key))  # type: ignore[func-returns-value]  # `add` is the point, its None is falsy
        raise _invalid(f"The body has the key {show(twice)} twice in one object; send each key once.")
    return members


def _integer(literal: str) -> int:
    if len(literal) > MAX_INTEGER_DIGITS and len(literal.lstrip("-")) > MAX_INTEGER_DIGITS:
        raise _invalid(
            f"The body has an integer of {len(literal)} characters; send at most {MAX_INTEGER_DIGITS} digits."
        )
    return int(literal)


def _float(literal: str) -> float:
    if len(literal) > MAX_FLOAT_CHARACTERS:
        raise _invalid(f"The body has a number of {len(literal)} characters; send at most {MAX_FLOAT_CHARACTERS}.")
    number = float(literal)
    if isinf(number):
        raise _invalid(f"The body has the number {literal}, which is too large; send finite numbers only.")
    return number


def _constant(literal: str) -> NoReturn:
    raise _invalid(f"The body has {literal}, which JSON does not know; send finite numbers only.")


def _is_deeper(value: dict[str, Any], limit: int) -> bool:
    level: list[Any] = [value]
    for _ in range(limit):
        level = [
            child
            for container in level
            for child in (container.values() if isinstance(container, dict) else container)
            if isinstance(child, dict | list)
        ]
    return bool(level)


def _refuse_lone_surrogates(value: dict[str, Any]) -> None:
    try:
        _encode(value).encode()
    except UnicodeEncodeError as error:
        raise _invalid(
            "The body has a string or key with half a surrogate pair; send whole Unicode characters."
        ) from error


def _invalid(detail: str) -> ContractError:
    return ContractError("invalid-json", detail)


def _too_deep(limit: int) -> ContractError:
    return _invalid(f"The body is nested too deeply; send at most {limit} levels.")


# Built once, and with hooks only: a subclass, or `json.loads` with arguments, would cost more than the parsing.
_decode = json.JSONDecoder(
    object_pairs_hook=_unique, parse_int=_integer, parse_float=_float, parse_constant=_constant
).decode
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False).encode
