"""The properties of a message whose headers pika cannot decode."""

from pika.spec import BasicProperties

UNDECODABLE = "undecodable-headers"
"""The reason that such a message is refused with."""


class UndecodableProperties(BasicProperties):
    """The properties of a message whose header table pika cannot decode.

    All properties but the headers are read as usual. `headers` is None.

    Attributes:
        raw: The encoded properties, as they came off the wire.
        detail: One sentence that says what pika could not decode.
    """

    def __init__(self, raw: bytes, error: Exception) -> None:
        super().__init__()
        self.raw = raw
        self.detail = f"Its headers cannot be decoded ({type(error).__name__}: {error})."
        try:
            self.decode(_without_headers(raw))
        except Exception:  # noqa: BLE001 - then none of the properties is known; pika's decoder raises many kinds
            super().__init__()
        self.headers = None


def _without_headers(raw: bytes) -> bytes:
    """Return the same properties with an empty header table.

    The table is the third property, after two short strings, and begins with its size.
    """
    flags = int.from_bytes(raw[:2], "big")
    at = 2
    for flag in (BasicProperties.FLAG_CONTENT_TYPE, BasicProperties.FLAG_CONTENT_ENCODING):
        if flags & flag:
            at += 1 + raw[at]
    size = int.from_bytes(raw[at : at + 4], "big")
    return raw[:at] + bytes(4) + raw[at + 4 + size :]
