"""What the broker says no with, in words for the program that published."""

from pika.exceptions import ChannelClosedByBroker

from allocation_contracts.amqp.errors import PublishError, RefusedError, UnconfirmedError, UnroutableError
from allocation_contracts.names import COMMANDS_EXCHANGE

NACKED = "The broker did not take the command: its queue is full, or on its way down. Try again later."
RUN_TOPOLOGY = "have the worker's operator run `allocation-worker topology`."
PUBLISH_AGAIN = "it may have arrived: publish it again with the same message_id."

_NOT_FOUND = 404


def channel_closed(message_id: str, reason: ChannelClosedByBroker, *, alone: bool) -> PublishError:
    """What became of a command that was unconfirmed when the broker closed the channel, perhaps `alone`."""
    if reason.reply_code == _NOT_FOUND:
        text = f"The exchange {COMMANDS_EXCHANGE} does not exist on the broker; {RUN_TOPOLOGY}"
        return UnroutableError(message_id, text)
    said = f"{reason.reply_text} ({reason.reply_code})"
    if alone:
        return RefusedError(message_id, f"The broker refused: {said}.")
    text = (
        f"The broker closed the channel over one of several commands: {said}; this one may have arrived: publish it "
        "again with the same message_id."
    )
    return UnconfirmedError(message_id, text)
