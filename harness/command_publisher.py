"""Publishes many commands as an external program, each until it is confirmed."""

from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial
from math import inf
from threading import Condition
from time import monotonic
from typing import Any

import allocation_contracts as contracts
from allocation_contracts.amqp import Outgoing, Publisher
from allocation_worker.adapters.rabbitmq.errors import BrokerError

_AGAIN_AFTER = 0.2
_WINDOW = 100_000


class CommandPublisher:
    """Publishes commands without waiting. A refused command is published again, under the same message_id.

    Args:
        urls: The broker's nodes, tried in turn.
    """

    def __init__(self, urls: Sequence[str]) -> None:
        self._changed = Condition()
        self._open = 0
        self._failed: list[tuple[Outgoing, BaseException]] = []
        self.confirmed: set[str] = set()
        """The message_ids that the broker has confirmed."""
        self._publisher = Publisher(urls, app_id="allocation-worker send", timeout=inf, window=_WINDOW)

    def publish(self, command: contracts.Command, *, message_id: str, **properties: Any) -> None:  # noqa: ANN401 - checked by Outgoing
        """Publish a command. It is confirmed once `wait_confirmed` returns.

        Raises:
            ContractError: The properties break the contract.
        """
        outgoing = Outgoing(command=command, message_id=message_id, **properties)
        self._publish(outgoing)
        with self._changed:
            self._open += 1

    def wait_confirmed(self, within: float) -> None:
        """Wait until all commands are confirmed, and publish refused ones again.

        Raises:
            BrokerError: It took longer than `within` seconds.
        """
        deadline = monotonic() + within
        while True:
            with self._changed:
                if not self._open:
                    return
                if monotonic() > deadline:
                    why = f" ({self._failed[-1][1]})" if self._failed else ""
                    raise BrokerError(f"{self._open} commands were not confirmed within {within} s{why}.")
                self._changed.wait(_AGAIN_AFTER)
                again, self._failed = self._failed, []
            for outgoing, _ in again:
                self._publish(outgoing)

    def close(self) -> None:
        """Close the connection. Unconfirmed commands may be lost."""
        self._publisher.close(wait=False)

    def _publish(self, outgoing: Outgoing) -> None:
        self._publisher.publish_soon(outgoing).add_done_callback(partial(self._answered, outgoing))

    def _answered(self, outgoing: Outgoing, future: Future[str]) -> None:
        error = future.exception()
        with self._changed:
            if error is None:
                self._open -= 1
                self.confirmed.add(future.result())
                self._changed.notify()
            else:
                self._failed.append((outgoing, error))
