"""Publishing commands from outside, many at a time, each until it is confirmed."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import count
from threading import Condition
from time import monotonic
from typing import Any

from pika.spec import BasicProperties

import allocation_contracts as contracts
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.adapters.rabbitmq.publisher import Publication, Publisher
from allocation_worker.service_layer.outgoing import SettlementKind

_AGAIN_AFTER = 0.2


@dataclass(frozen=True, slots=True)
class _Outgoing:
    id: int
    message_id: str
    publication: Publication


class CommandPublisher:
    """Pipelines commands; one that is lost or refused is published again, under the same message_id.

    The order is kept through a lost connection, as far as `wait_confirmed` returns before more is published: what was
    lost is published again, in its order, once nothing is under way. One that a queue refuses (nack) comes again after
    those that followed it.

    Args:
        urls: the broker's nodes, tried in turn.
        on_confirmed: told the message_id of each that the broker keeps safe; called while waiting.
    """

    def __init__(self, urls: Sequence[str], on_confirmed: Callable[[str], object] = lambda _message_id: None) -> None:
        self._ids = count(1)
        self._waiting: dict[int, _Outgoing] = {}
        self._failed: list[_Outgoing] = []
        self._changed = Condition()
        self._on_confirmed = on_confirmed
        self._publisher = Publisher[_Outgoing](
            urls, lambda outgoing: outgoing.publication, self._wake, name="allocation-worker send"
        )

    def publish(self, command: contracts.Command, *, message_id: str, **properties: Any) -> None:  # noqa: ANN401 - checked by command_properties
        """Publish a command; `wait_confirmed` says when it is safe.

        Raises:
            ContractViolation: the worker would refuse these properties.
        """
        self._hand_over([self._outgoing(command, message_id, **properties)])

    def publish_all(self, commands: Iterable[tuple[str, contracts.Command]], **properties: Any) -> None:  # noqa: ANN401 - as publish
        """Publish commands, each with its message_id, in their order."""
        self._hand_over([self._outgoing(command, message_id, **properties) for message_id, command in commands])

    def wait_confirmed(self, within: float) -> None:
        """Wait until all that was published is safe.

        Raises:
            BrokerError: no queue takes a command, or it took longer than `within` seconds.
        """
        deadline = monotonic() + within
        while True:
            with self._changed:
                self._settle()
                if not self._waiting:
                    return
                if monotonic() > deadline:
                    raise BrokerError(f"{len(self._waiting)} commands were not confirmed within {within:g} s.")
                self._changed.wait(_AGAIN_AFTER)
                again = self._take_failed()
            if again:
                self._publisher.publish(again)

    def close(self) -> None:
        """End; what was not confirmed may be lost."""
        self._publisher.close()

    def _outgoing(self, command: contracts.Command, message_id: str, **properties: Any) -> _Outgoing:  # noqa: ANN401 - as publish
        fields = contracts.command_properties(command, message_id=message_id, **properties)
        outgoing_id = next(self._ids)
        publication = Publication(
            id=outgoing_id,
            exchange=contracts.COMMANDS_EXCHANGE,
            routing_key=command.ROUTING_KEY,
            body=contracts.encode(command),
            properties=BasicProperties(**fields),
        )
        return _Outgoing(outgoing_id, message_id, publication)

    def _hand_over(self, batch: Sequence[_Outgoing]) -> None:
        with self._changed:
            self._waiting.update((outgoing.id, outgoing) for outgoing in batch)
        self._publisher.publish(batch)

    def _settle(self) -> None:
        for settlement in self._publisher.take_settlements():
            outgoing = self._waiting[settlement.id]
            if settlement.kind is SettlementKind.CONFIRMED:
                del self._waiting[settlement.id]
                self._on_confirmed(outgoing.message_id)
            elif settlement.kind is SettlementKind.RETURNED:
                key = outgoing.publication.routing_key
                raise BrokerError(f"No queue takes the routing key {key!r}; run `allocation-worker topology`.")
            else:
                self._failed.append(outgoing)

    def _take_failed(self) -> list[_Outgoing]:
        """What was lost or refused, in its order, once nothing is under way."""
        if len(self._failed) < len(self._waiting):
            return []
        failed, self._failed = sorted(self._failed, key=lambda outgoing: outgoing.id), []
        return failed

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()
