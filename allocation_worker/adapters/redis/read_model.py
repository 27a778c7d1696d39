"""Writes the read model to Redis, for `project`."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from json import dumps
from threading import Event, Thread
from time import time
from typing import Any

from redis import Redis
from redis.exceptions import ReadOnlyError

from allocation_worker.adapters.redis import scripts
from allocation_worker.adapters.redis.client import translated
from allocation_worker.service_layer.ports import (
    BatchView,
    LineView,
    ProjectedEvent,
    RejectionView,
    StoreUnavailableError,
)
from allocation_worker.service_layer.project import Change, change_of

_REPLICA = "it is a replica, or was demoted; the read model is written to a primary"
_BEAT_EVERY = scripts.IDLE_MILLISECONDS / 1000 / 5


class RedisReadModel:
    """Implements `service_layer.ports.ReadModel`.

    Args:
        client: A client from `client.connect`.
        place: The masked address, for error messages.
        history_days: For how many days a rejection is kept.
    """

    def __init__(self, client: Redis, place: str, *, history_days: int) -> None:
        self._client = client
        self._place = place
        self._keep_rejections = history_days * 86_400
        self._apply_live = client.register_script(scripts.APPLY_LIVE)
        self._write = client.register_script(scripts.WRITE)
        self._put_lines = client.register_script(scripts.PUT_LINES)
        self._put_stock = client.register_script(scripts.PUT_STOCK)
        self._put_rejections = client.register_script(scripts.PUT_REJECTIONS)
        self._begin = client.register_script(scripts.BEGIN)
        self._keep_open = client.register_script(scripts.KEEP_OPEN)
        self._switch = client.register_script(scripts.SWITCH)

    def current(self) -> int | None:
        with translated(self._client, self._place):
            number = self._client.get(scripts.SHOWN)
        return None if number is None else int(number)

    def incarnation(self) -> str:
        with translated(self._client, self._place):
            if self._client.info("replication")["role"] != "master":
                raise ReadOnlyError(_REPLICA)
            return str(self._client.info("server")["run_id"])

    def apply(self, events: Sequence[ProjectedEvent]) -> Mapping[int, set[str]]:
        answers = self._run_for_each(self._apply_live, "", events)
        gaps: dict[int, set[str]] = defaultdict(set)
        for event, (in_shown, in_building, shown, building) in zip(events, answers, strict=True):
            if in_shown >= 0:
                gaps[int(shown)].add(event.sku)
            if in_building >= 0:
                gaps[int(building)].add(event.sku)
        return gaps

    def begin(self, *, takeover: bool) -> int:
        with translated(self._client, self._place):
            return int(self._begin(args=[int(takeover)]))

    @contextmanager
    def kept_open(self, generation: int) -> Iterator[None]:
        ended = Event()
        beating = Thread(target=self._beat, args=(generation, ended), name="keep-open", daemon=True)
        beating.start()
        try:
            yield
        finally:
            ended.set()
            beating.join()
            with suppress(StoreUnavailableError):  # the generation expires by itself
                self._keep_open_for(generation, 0)

    def sequences(self, generation: int, skus: Collection[str] | None = None) -> Mapping[str, int]:
        key = f"{scripts.PREFIX}{generation}:sequences"
        with translated(self._client, self._place):
            if skus is None:
                return {sku: int(sequence) for sku, sequence in self._client.hscan_iter(key, count=scripts.AT_A_TIME)}
            wanted = list(skus)
            found = self._client.hmget(key, wanted) if wanted else []
        return {sku: int(sequence) for sku, sequence in zip(wanted, found, strict=True) if sequence is not None}

    def write(self, generation: int, events: Sequence[ProjectedEvent]) -> None:
        self._run_for_each(self._write, str(generation), events)

    def put_lines(self, generation: int, lines: Iterable[LineView]) -> None:
        arguments: list[str | int] = [generation]
        for line in lines:
            arguments += (line.orderid, _field(line), line.sequence, _written(line))
        with translated(self._client, self._place):
            self._put_lines(args=arguments)

    def put_stock(self, generation: int, sku: str, sequence: int, batches: Sequence[BatchView]) -> None:
        arguments: list[str | int] = [generation, sku, sequence]
        for batch in batches:
            eta = batch.eta.isoformat() if batch.eta else ""
            arguments += (batch.reference, batch.purchased, batch.allocated, eta, batch.sequence)
        with translated(self._client, self._place):
            self._put_stock(args=arguments)

    def put_rejections(self, generation: int | None, rejections: Iterable[RejectionView]) -> None:
        arguments: list[str | int] = ["" if generation is None else generation, self._keep_rejections]
        for each in rejections:
            field = f"{each.sku}\0{each.lineid}\0{each.command}"
            written = dumps({"reason": each.reason, "detail": each.detail})
            arguments += (each.orderid, field, int(each.rejected_at.timestamp()), written)
        if len(arguments) > 2:  # noqa: PLR2004 - there is one at least
            with translated(self._client, self._place):
                self._put_rejections(args=arguments)

    def switch(self, generation: int) -> set[str]:
        with translated(self._client, self._place):
            return set(self._switch(args=[generation]))

    def forget_old(self) -> None:
        shown = self.current() or 0
        with translated(self._client, self._place):
            old: list[str] = []
            for key in self._client.scan_iter(f"{scripts.PREFIX}*:*", count=scripts.AT_A_TIME):
                number = key.removeprefix(scripts.PREFIX).partition(":")[0]
                if number.isdigit() and int(number) < shown:
                    old.append(key)
                if len(old) >= scripts.AT_A_TIME:
                    self._client.unlink(*old)
                    old.clear()
            if old:
                self._client.unlink(*old)

    def leave_sign_of_life(self) -> None:
        with translated(self._client, self._place):
            self._client.set(scripts.PROJECT_SEEN, f"{time():.3f}")

    def last_sign_of_life(self) -> datetime | None:
        with translated(self._client, self._place):
            seen = self._client.get(scripts.PROJECT_SEEN)
        return None if seen is None else datetime.fromtimestamp(float(seen), UTC)

    def _beat(self, generation: int, ended: Event) -> None:
        while not ended.wait(_BEAT_EVERY):
            with suppress(StoreUnavailableError):  # the next write raises the same error
                self._keep_open_for(generation, scripts.IDLE_MILLISECONDS)

    def _keep_open_for(self, generation: int, milliseconds: int) -> None:
        with translated(self._client, self._place):
            self._keep_open(args=[generation, milliseconds])

    def _run_for_each(self, script: Any, generation: str, events: Sequence[ProjectedEvent]) -> list[Any]:  # noqa: ANN401 - redis-py's Script is not generic as its client is
        if not events:
            return []
        with translated(self._client, self._place), self._client.pipeline(transaction=False) as pipeline:
            for event in events:
                script(args=_arguments(generation, change_of(event)), client=pipeline)
            return pipeline.execute()


def _arguments(generation: str, change: Change) -> list[str | int]:
    line = change.line
    return [
        generation,
        change.sku,
        change.sequence,
        change.batchref or "",
        change.allocated_by,
        "" if change.purchased is None else change.purchased,
        change.effect or "",
        change.eta or "",
        line.orderid if line else "",
        _written(line) if line else "",
        _field(line) if line else "",
    ]


def _field(line: LineView) -> str:
    return f"{line.sku}\0{line.lineid}"


def _written(line: LineView) -> str:
    eta = line.eta.isoformat() if line.eta else None
    return dumps({"status": line.status, "qty": line.qty, "batchref": line.batchref, "eta": eta})
