"""Which messages wait for a locked product, and which wait behind them."""

from collections.abc import Iterable, Mapping, Sequence

from allocation_worker.domain.commands import BatchCommand, Command, CreateBatch
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import LockedProduct

Name = tuple[str, str]


def batchrefs(messages: Iterable[CommandMessage]) -> set[str]:
    """Return the references of the batches that stock commands are about."""
    commands = (message.command for message in messages)
    return {command.batchref for command in commands if isinstance(command, CreateBatch | BatchCommand)}


class Aside:
    """What the messages are about that are set aside. A later message about one of these is set aside, too.

    So the messages of a product, of a batch, and those with one message_id keep their order.
    """

    def __init__(self) -> None:
        self._products: dict[Name, LockedProduct] = {}
        self._owners: dict[str, str] = {}

    def __bool__(self) -> bool:
        return bool(self._products)

    def without_owner(self, messages: Iterable[CommandMessage]) -> set[str]:
        """Return the references of batches of which it is not known yet to what SKU they belong."""
        return batchrefs(messages) - self._owners.keys()

    def learn(self, owners: Mapping[str, str]) -> None:
        """Take note of the SKUs that batches belong to, by their references."""
        self._owners.update(owners)

    def skus(self, command: Command) -> set[str]:
        """Return the SKUs of the products that a command needs, as far as is known."""
        found = set()
        if not isinstance(command, BatchCommand):
            found.add(command.sku)
        if isinstance(command, BatchCommand | CreateBatch) and command.batchref in self._owners:
            found.add(self._owners[command.batchref])
        return found

    def add(self, message: CommandMessage, product: LockedProduct) -> None:
        """Set a message aside that waits for this product, or is behind one that does."""
        for name in self._names(message):
            self._products.setdefault(name, product)

    def sort_out(self, messages: Sequence[CommandMessage]) -> list[LockedProduct | None]:
        """Return for each message the product that it has to wait for, or None; set aside those that have to."""
        if not self._products:
            return [None] * len(messages)
        return [self._product_before(message) for message in messages]

    def _product_before(self, message: CommandMessage) -> LockedProduct | None:
        for name in self._names(message):
            if product := self._products.get(name):
                self.add(message, product)
                return product
        if isinstance(message.command, CreateBatch):
            self._owners.setdefault(message.command.batchref, message.command.sku)
        return None

    def _names(self, message: CommandMessage) -> list[Name]:
        names = [("message", message.message_id)]
        names += [("sku", sku) for sku in sorted(self.skus(message.command))]
        if isinstance(message.command, BatchCommand | CreateBatch):
            names.append(("batch", message.command.batchref))
        return names
