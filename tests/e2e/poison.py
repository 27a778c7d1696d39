"""Every known kind of bad message, with the reason for its dead letter."""

import gzip
import zlib
from typing import Any, NamedTuple

from pika.spec import BasicProperties


class Poison(NamedTuple):
    """A bad message, its properties aside what `properties` gives."""

    name: str
    reason: str
    body: bytes = b""
    routing_key: str = "allocate"
    overrides: dict[str, Any] = {}  # noqa: RUF012 - nobody writes to it

    @property
    def properties(self) -> BasicProperties:
        """Those of a good message but for what is overridden; the header tells which it is."""
        type_ = "create-batch.v1" if self.routing_key == "create-batch" else "allocate.v1"
        good: dict[str, Any] = {
            "message_id": f"poison-{self.name}",
            "type": type_,
            "content_type": "application/json",
            "delivery_mode": 2,
            "headers": {"poison": self.name},
        }
        return BasicProperties(**(good | self.overrides))


GOOD = b'{"orderid":"poisoned","sku":"SKU","qty":1}'


def _qty(literal: bytes) -> bytes:
    return b'{"orderid":"poisoned","sku":"SKU","qty":' + literal + b"}"


def _orderid(literal: bytes) -> bytes:
    return b'{"orderid":' + literal + b',"sku":"SKU","qty":1}'


def _batch(eta: bytes) -> bytes:
    return b'{"batchref":"poisoned","sku":"SKU","qty":1,"eta":' + eta + b"}"


_JSON = {
    "truncated": GOOD[:-1],
    "truncated in a text": GOOD[:15],
    "empty": b"",
    "blank": b"  \n",
    "an array": b"[" + GOOD + b"]",
    "a text": b'"allocate"',
    "a number": b"17",
    "null": b"null",
    "nested 40 deep": _orderid(b"[" * 40 + b"]" * 40),
    "nested 10,000 deep": _orderid(b"[" * 10_000 + b"]" * 10_000),
    "objects nested 5,000 deep": _orderid(b'{"a":' * 5_000 + b"1" + b"}" * 5_000),
    "UTF-16": GOOD.decode().encode("utf-16"),
    "UTF-32": GOOD.decode().encode("utf-32"),
    "a byte order mark": b"\xef\xbb\xbf" + GOOD,
    "invalid UTF-8": _orderid(b'"\xff\xfe"'),
    "Latin-1": _orderid('"Bücher"'.encode("latin-1")),
    "a surrogate in UTF-8": _orderid(b'"\xed\xa0\x80"'),
    "duplicate keys": GOOD[:-1] + b',"qty":2}',
    "NaN": _qty(b"NaN"),
    "Infinity": _qty(b"-Infinity"),
    "1e400": _qty(b"1e400"),
    "5,000 digits": _qty(b"9" * 5_000),
    "a raw NUL": _orderid(b'"a\0b"'),
    "a raw control character": _orderid(b'"a\x1bb"'),
    "a lone high surrogate": _orderid(b'"\\ud800"'),
    "a lone low surrogate": _orderid(b'"a\\udc00b"'),
    "a lone surrogate in a field that nobody reads": GOOD[:-1] + b',"note":"\\ud800"}',
    "not JSON at all": b"qty=1&sku=SKU",
    "200 bytes of noise": bytes(range(56, 256)),
}

_FIELDS = {
    "2^63": _qty(b"9223372036854775808"),
    "2^31": _qty(b"2147483648"),
    "true": _qty(b"true"),
    "1.0": _qty(b"1.0"),
    "1e2": _qty(b"1e2"),
    "the text 1": _qty(b'"1"'),
    "0": _qty(b"0"),
    "-0": _qty(b"-0"),
    "-5": _qty(b"-5"),
    "qty null": _qty(b"null"),
    "no qty": b'{"orderid":"poisoned","sku":"SKU"}',
    "an empty object": b"{}",
    "NUL": _orderid(b'"a\\u0000b"'),
    "a control character": _orderid(b'"a\\u001bb"'),
    "a line break": _orderid(b'"a\\nb"'),
    "a line separator": _orderid('"a\u2028b"'.encode()),
    "an id of 10,000 characters": _orderid(b'"' + b"x" * 10_000 + b'"'),
    "an id of 256 characters": _orderid(b'"' + b"x" * 256 + b'"'),
    "an empty id": _orderid(b'""'),
    "a blank id": _orderid(b'" "'),
    "an id of no-break spaces": _orderid('"\u00a0\u00a0"'.encode()),
    "an id that is a number": _orderid(b"17"),
    "an id that is null": _orderid(b"null"),
}

_DATES = {
    "2026-02-30": _batch(b'"2026-02-30"'),
    "2026-W01-1": _batch(b'"2026-W01-1"'),
    "20260101": _batch(b'"20260101"'),
    "a moment": _batch(b'"2026-01-01T00:00:00Z"'),
    "a date that is a number": _batch(b"1767225600"),
    "an empty date": _batch(b'""'),
}

_LARGE = {
    "200 KB": GOOD + b" " * 200_000,
    "200 KB of JSON": GOOD[:-1] + b',"note":"' + b"x" * 200_000 + b'"}',
}

_COMPRESSED = {"gzip": gzip.compress(GOOD), "deflate": zlib.compress(GOOD)}

_PROPERTIES: dict[str, tuple[str, dict[str, Any]]] = {
    "no message_id": ("missing-message-id", {"message_id": None}),
    "an empty message_id": ("missing-message-id", {"message_id": ""}),
    "a blank message_id": ("invalid-message-id", {"message_id": "  "}),
    "a message_id with a line break": ("invalid-message-id", {"message_id": "a\nb"}),
    "a message_id with NUL": ("invalid-message-id", {"message_id": "a\0b"}),
    "a message_id that is no UTF-8": ("invalid-message-id", {"message_id": b"\xff\xfe"}),
    "no type": ("missing-type", {"type": None}),
    "an empty type": ("missing-type", {"type": ""}),
    "an unknown type": ("unknown-type", {"type": "order.v1"}),
    "a future version": ("unknown-type", {"type": "allocate.v2"}),
    "an event's type": ("unknown-type", {"type": "allocated.v1"}),
    "text/plain": ("unsupported-content-type", {"content_type": "text/plain"}),
    "a correlation_id with a line break": ("invalid-header", {"correlation_id": "a\nb"}),
}

ALL = [
    *(Poison(name, "invalid-json", body) for name, body in _JSON.items()),
    *(Poison(name, "invalid-body", body) for name, body in _FIELDS.items()),
    *(Poison(name, "invalid-body", body, "create-batch") for name, body in _DATES.items()),
    *(Poison(name, "compressed-body", body) for name, body in _COMPRESSED.items()),
    *(Poison(name, "body-too-large", body) for name, body in _LARGE.items()),
    *(Poison(name, reason, GOOD, overrides=overrides) for name, (reason, overrides) in _PROPERTIES.items()),
    Poison("an unroutable key", "unroutable", GOOD, "alocate"),
    Poison("an empty routing key", "unroutable", GOOD, ""),
]
