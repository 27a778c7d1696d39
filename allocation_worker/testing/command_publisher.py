"""Publishing commands from outside, many at a time, each until it is confirmed."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count
from threading import Condition
from time import monotonic
from typing import Any

from pika.spec import BasicProperties

import allocation_contracts as contracts
from allocation_contracts.results import PublishResult
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.adapters.rabbitmq.publisher import ConfirmedPublisher, Publication

_AGAIN_AFTER = 0.2


@dataclass(frozen=True, slots=True)
class _Outgoing:
    id: int
    message_id: str
    publication: Publication


class CommandPublisher:
    """Pipelines commands; one that is lost or refused is published again, under the same message_id.

    Args:
        urls: the broker's nodes, tried in turn.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._ids = count(1)
        self._waiting: dict[int, _Outgoing] = {}
        self._lost: list[_Outgoing] = []
        self._changed = Condition()
        self.confirmed: set[str] = set()
        """The message_ids that the broker keeps safe."""
        self._publisher = ConfirmedPublisher[_Outgoing](
            urls, lambda outgoing: outgoing.publication, self._wake, name="allocation-worker send"
        )

    @property
    def connected(self) -> bool:
        """What is published now has a chance."""
        return self._publisher.connected

    def publish(self, command: contracts.Command, *, message_id: str, **properties: Any) -> None:  # noqa: ANN401 - checked by command_properties
        """Publish a command; `wait_confirmed` says when it is safe.

        Raises:
            ContractViolation: the worker would refuse these properties.
        """
        fields = contracts.command_properties(command, message_id=message_id, **properties)
        outgoing_id = next(self._ids)
        publication = Publication(
            id=outgoing_id,
            exchange=contracts.COMMANDS_EXCHANGE,
            routing_key=command.ROUTING_KEY,
            body=contracts.encode(command),
            properties=BasicProperties(**fields),
        )
        outgoing = _Outgoing(outgoing_id, message_id, publication)
        with self._changed:
            self._waiting[outgoing_id] = outgoing
        self._publisher.publish([outgoing])

    def wait_confirmed(self, within: float) -> None:
        """Wait until all that was published is safe.

        Raises:
            BrokerError: no queue takes a command, or it took longer than `within` seconds.
        """
        deadline = monotonic() + within
        while True:
            self._settle()
            with self._changed:
                if not self._waiting:
                    return
                if monotonic() > deadline:
                    raise BrokerError(f"{len(self._waiting)} commands were not confirmed within {within} s.")
                self._changed.wait(_AGAIN_AFTER)
            again, self._lost = self._lost, []
            self._publisher.publish(again)

    def close(self) -> None:
        """End; what was not confirmed may be lost."""
        self._publisher.close()

    def _settle(self) -> None:
        with self._changed:
            for each in self._publisher.take_results():
                outgoing = self._waiting[each.id]
                if each.result is PublishResult.CONFIRMED:
                    del self._waiting[each.id]
                    self.confirmed.add(outgoing.message_id)
                elif each.result is PublishResult.RETURNED:
                    key = outgoing.publication.routing_key
                    raise BrokerError(f"No queue takes the routing key {key!r}; run `allocation-worker topology`.")
                else:
                    self._lost.append(outgoing)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify()
