"""Reads the read model from Redis, for `show`. Each query is atomic."""

from collections.abc import Sequence
from datetime import date
from json import loads
from typing import Any

from redis import Redis

from allocation_worker.adapters.redis import scripts
from allocation_worker.adapters.redis.client import translated
from allocation_worker.service_layer.ports import BatchView, LineView, SkuView


class RedisViews:
    """The queries of the read model.

    Args:
        client: A client from `client.connect`.
        place: The masked address, for error messages.

    Raises:
        GenerationMissingError: There is no read model. Any method may raise it.
        StoreUnavailableError: Redis is away. Any method may raise it.
    """

    def __init__(self, client: Redis, place: str) -> None:
        self._client = client
        self._place = place
        self._order = client.register_script(scripts.READ_ORDER)
        self._sku = client.register_script(scripts.READ_SKU)
        self._batch = client.register_script(scripts.READ_BATCH)

    def order(self, orderid: str) -> list[LineView]:
        """Return the lines of an order, sorted by SKU and lineid; an empty list for an unknown order."""
        with translated(self._client, self._place):
            entries: list[str] = self._order(args=[orderid])
        return sorted(parse_line(orderid, *pair) for pair in zip(entries[::2], entries[1::2], strict=True))

    def sku(self, sku: str) -> SkuView | None:
        """Return a SKU with its batches; None for an unknown SKU."""
        with translated(self._client, self._place):
            sequence, rows = self._sku(args=[sku])
        if not sequence:
            return None
        batches = sorted((parse_batch(row) for row in rows), key=BatchView.preference)
        return SkuView(sku, int(sequence), tuple(batches))

    def batch(self, reference: str) -> BatchView | None:
        """Return a batch; None for an unknown batch."""
        with translated(self._client, self._place):
            row: list[str | None] = self._batch(args=[reference])
        return None if row[1] is None else parse_batch(row)


def parse_line(orderid: str, field: str, written: str) -> LineView:
    """Return the line that a field of its order's hash holds."""
    sku, _, lineid = field.partition("\0")
    sequence, _, text = written.partition(" ")
    data: dict[str, Any] = loads(text)
    eta = date.fromisoformat(data["eta"]) if data["eta"] else None
    return LineView(orderid, sku, lineid, data["status"], data["qty"], data["batchref"], eta, int(sequence))


def parse_batch(row: Sequence[Any]) -> BatchView:
    """Return a batch from its reference and the values of its hash."""
    reference, sku, purchased, allocated, eta, sequence = row
    return BatchView(
        reference, sku, int(purchased), int(allocated), date.fromisoformat(eta) if eta else None, int(sequence)
    )
