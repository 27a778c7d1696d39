"""Reads a dead letter: its reason, its age, and the queue that a copy of it belongs to."""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any, Final

from pika.spec import BasicProperties

from allocation_contracts import COMMANDS, COMMANDS_EXCHANGE, DEAD_LETTERS
from allocation_contracts.amqp.lenient import UNDECODABLE, UndecodableProperties
from allocation_contracts.commands import QUEUES_BY_ROUTING_KEY
from allocation_worker.adapters.rabbitmq.copies import ORIGINAL_PROPERTIES_HEADER, REASON_HEADER
from allocation_worker.adapters.rabbitmq.delivery import ATTEMPTS_HEADER
from allocation_worker.adapters.rabbitmq.layout import READ_MODEL_QUEUE, command_queue

UNROUTABLE = "unroutable"

_ID_DIGITS = 12
_SHOWN_PROPERTIES = (
    "message_id", "type", "content_type", "content_encoding", "correlation_id", "reply_to", "app_id", "user_id",
    "timestamp", "expiration", "delivery_mode", "priority",
)  # fmt: skip


class HeldDeadLetter:
    """A message in the dead letters, unacknowledged on our channel.

    There are three ways into the dead letters:

    - The worker publishes a copy to the dead-letter exchange. The worker's headers, such as `x-reason`, count.
    - The broker moves the message. It adds a death history, which gives the reason.
    - The alternate exchange routes a command that no queue takes. The worker's headers, if there are any, come from the
      sender and are ignored.

    Attributes:
        id: Does not change from look to look. Identical messages have the same id.
        tag: The delivery tag on its channel.
        reason: A slug, from `x-reason` or from the broker's headers.
        detail: One sentence.
        exception: What the handler raised, if the handler failed.
        message_id: The one that it was sent with, as text even where it is none; None if there is none.
        failed_attempts: The number of failed attempts; None if unknown.
        attempts: 0, since a redriven command has all its attempts again.
        queue: The command queue that it died in; None if it was in none.
        failed_at: When it died; None if unknown.
        known_since: The earliest time at which it is known to have existed, in seconds since the epoch, or None.
        destination: The command queue that a copy of it belongs to; None if unknown.
        properties: The properties, as pika decodes them.
        body: The body, as it was sent.
        ours: Whether the worker published it, so that the worker's headers count.
        routing_key: The routing key that it was published with, or the name of its queue after a retry.
    """

    attempts: Final = 0

    def __init__(self, *, tag: int, exchange: str, routing_key: str, properties: BasicProperties, body: bytes) -> None:
        self.tag = tag
        self.routing_key = routing_key
        self.properties = properties
        self.body = body
        received = properties.headers or {}
        died = exchange == DEAD_LETTERS
        self.ours = died and "x-death" not in received
        death = _death(received) if died else {}
        headers = received if self.ours else {}
        self.queue = _command_queue(headers.get("x-original-queue")) or _command_queue(death.get("queue"))
        self.failed_at = _moment(headers.get("x-failed-at")) or _moment(death.get("time"))
        self.reason, self.detail = _words(properties, headers, death, routing_key)
        self.exception = _text(headers.get("x-exception"))
        self.message_id = _text(properties.message_id)
        failed_attempts = headers.get(ATTEMPTS_HEADER)
        self.failed_attempts = failed_attempts if isinstance(failed_attempts, int) else None
        self.known_since = _known_since(self.failed_at, properties.timestamp)
        self.id = self._digest()
        self.destination = self._destination()

    @property
    def undecodable(self) -> bytes | None:
        """The encoded properties that the message was sent with, if pika cannot decode their headers."""
        if isinstance(self.properties, UndecodableProperties):
            return self.properties.raw
        raw = (self.properties.headers or {}).get(ORIGINAL_PROPERTIES_HEADER) if self.ours else None
        return raw if isinstance(raw, bytes) else None

    def properties_by_name(self) -> dict[str, object]:
        """Return the properties that are set, without the headers, by their names in AMQP."""
        named = {name: getattr(self.properties, name) for name in _SHOWN_PROPERTIES}
        return {name: value for name, value in named.items() if value is not None}

    def _digest(self) -> str:
        # Without the tag and the headers: the broker counts every delivery in a header.
        properties = self.properties
        parts = (properties.message_id, properties.type, self.routing_key, self.body, self.failed_at)
        return sha256(repr(parts).encode(errors="backslashreplace")).hexdigest()[:_ID_DIGITS]

    def _destination(self) -> str | None:
        command = COMMANDS.get(self.properties.type or "")
        # A command in a queue of another type would be refused again.
        if self.queue is not None and (command is None or self.queue == command.QUEUE):
            return self.queue
        if self.queue is None and self.routing_key in QUEUES_BY_ROUTING_KEY:
            return QUEUES_BY_ROUTING_KEY[self.routing_key]
        return None if command is None else command.QUEUE


def _words(
    properties: BasicProperties, headers: Mapping[str, Any], death: Mapping[str, Any], routing_key: str
) -> tuple[str, str]:
    reason = headers.get(REASON_HEADER)
    if reason is not None:
        return str(reason), _text(headers.get("x-detail")) or ""
    if isinstance(properties, UndecodableProperties):
        return UNDECODABLE, f"{properties.detail} The broker says in them why it is here."
    if death:
        return _broker_words(str(death.get("reason")), str(death.get("queue")))
    return UNROUTABLE, f"No queue takes the routing key {routing_key!r} on the exchange {COMMANDS_EXCHANGE}."


def _broker_words(reason: str, queue: str) -> tuple[str, str]:
    match reason:
        case "delivery_limit":
            return "delivery-limit", (
                f"It was taken from {queue} again and again and never answered: it may bring down whatever takes it."
            )
        case "expired":
            return "expired", f"It expired in {queue} before anything took it."
        case _:
            return reason.replace("_", "-"), f"The broker took it out of {queue}."


def _death(headers: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the latest entry of the death history, if it names one of the worker's queues; else an empty mapping."""
    deaths = headers.get("x-death")
    latest = deaths[0] if isinstance(deaths, list) and deaths else None
    if not isinstance(latest, dict):
        return {}
    queue = latest.get("queue")
    return latest if _command_queue(queue) or queue == READ_MODEL_QUEUE else {}


def _command_queue(name: object) -> str | None:
    return command_queue(name) if isinstance(name, str) else None


def _moment(value: object) -> datetime | None:
    if isinstance(value, str):
        try:
            value = datetime.fromisoformat(value)
        except ValueError:
            return None
    if not isinstance(value, datetime):
        return None
    return value if value.tzinfo else value.replace(tzinfo=UTC)


def _known_since(failed_at: datetime | None, timestamp: object) -> float | None:
    moments = [] if failed_at is None else [failed_at.timestamp()]
    if isinstance(timestamp, int):
        moments.append(timestamp)
    return min(moments, default=None)


def _text(value: object) -> str | None:
    return None if value is None else str(value)
