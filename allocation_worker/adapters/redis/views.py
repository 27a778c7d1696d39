"""Reads the read model from Redis, for `show`. Each query is atomic."""

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime
from itertools import islice
from json import loads
from time import time
from typing import Any

from redis import Redis

from allocation_worker.adapters.redis import scripts
from allocation_worker.adapters.redis.client import translated
from allocation_worker.service_layer.ports import BatchView, LineView, RejectionView, SkuView


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
        self._rejections = client.register_script(scripts.READ_REJECTIONS)
        self._sku = client.register_script(scripts.READ_SKU)
        self._batch = client.register_script(scripts.READ_BATCH)

    def order(self, orderid: str) -> list[LineView]:
        """Return the lines of an order, sorted by SKU and lineid; an empty list for an unknown order."""
        with translated(self._client, self._place):
            entries: list[str] = self._order(args=[orderid])
        return sorted(parse_line(orderid, *pair) for pair in zip(entries[::2], entries[1::2], strict=True))

    def rejections(self, orderid: str) -> list[RejectionView]:
        """Return the rejected commands about an order, sorted by SKU and lineid."""
        with translated(self._client, self._place):
            entries: list[str] = self._rejections(args=[orderid])
        return sorted(_parse_rejection(orderid, *pair) for pair in zip(entries[::2], entries[1::2], strict=True))

    def sku(self, sku: str) -> SkuView | None:
        """Return a SKU with its batches; None for an unknown SKU."""
        with translated(self._client, self._place):
            view = _sku_view(sku, self._sku(args=[sku]))
        return view if view.sequence else None

    def batch(self, reference: str) -> BatchView | None:
        """Return a batch; None for an unknown batch."""
        with translated(self._client, self._place):
            row: list[str | None] = self._batch(args=[reference])
        return None if row[1] is None else parse_batch(row)

    def stock(self, below: int | None) -> list[SkuView]:
        """Return the SKUs with less than `below` available, or all, the least first.

        Each SKU is as it stood at one moment, but not all of them at the same.
        """
        with translated(self._client, self._place):
            self._sku(args=[""])  # it says so if there is no read model
            while True:
                shown = self._client.get(scripts.SHOWN)
                found = [view for view in self._all_skus(int(shown or 0)) if below is None or view.available < below]
                if self._client.get(scripts.SHOWN) == shown:
                    break
        return sorted(found, key=lambda view: (view.available, view.sku))

    def age(self) -> float | None:
        """Return how many seconds ago `project` was last seen working; None if it never was."""
        with translated(self._client, self._place):
            seen = self._client.get(scripts.PROJECT_SEEN)
        return None if seen is None else max(0.0, time() - float(seen))

    def _all_skus(self, generation: int) -> Iterator[SkuView]:
        names = self._client.hscan_iter(f"{scripts.PREFIX}{generation}:sequences", count=scripts.AT_A_TIME)
        while chunk := [sku for sku, _ in islice(names, scripts.AT_A_TIME)]:
            with self._client.pipeline(transaction=False) as pipeline:
                for sku in chunk:
                    self._sku(args=[sku], client=pipeline)
                yield from map(_sku_view, chunk, pipeline.execute())


def _sku_view(sku: str, answer: Sequence[Any]) -> SkuView:
    sequence, rows = answer
    return SkuView(sku, int(sequence), tuple(sorted(map(parse_batch, rows), key=BatchView.preference)))


def _parse_rejection(orderid: str, field: str, written: str) -> RejectionView:
    sku, lineid, command = field.split("\0")
    seconds, _, text = written.partition(" ")
    data: dict[str, str] = loads(text)
    moment = datetime.fromtimestamp(int(seconds), UTC)
    return RejectionView(orderid, sku, lineid, command, data["reason"], data["detail"], moment)


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
