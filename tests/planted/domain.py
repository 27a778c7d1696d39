"""Short runs through the rules of the domain that have a queue, each step after the other."""

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

from allocation_contracts import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    CreateBatch,
    Deallocate,
    Hold,
    HoldLapsed,
    Ship,
)
from harness.client import ExternalClient
from harness.service import RunningService
from tests.planted.steps import faults_of, not_seen

SOON, LATER, LATEST = date(2031, 1, 1), date(2031, 2, 1), date(2031, 3, 1)


def waiting(service: RunningService) -> Sequence[str]:
    """Lines wait, with priorities and days, and each command that frees stock serves them."""
    with service.client() as client:
        service.start("consume")
        service.start("relay")
        client.ask(CreateBatch(batchref="shelf", sku="SKU", qty=6))
        client.ask(Allocate(orderid="o1", sku="SKU", qty=5))
        client.ask(Allocate(orderid="w1", sku="SKU", qty=4, wait=True))
        client.ask(Allocate(orderid="w2", sku="SKU", qty=2, wait=True))
        client.ask(Allocate(orderid="w3", sku="SKU", qty=3, wait=True, priority=5))
        client.ask(Allocate(orderid="w4", sku="SKU", qty=9, wait=True, needed_by=SOON))
        client.ask(Allocate(orderid="w1", sku="SKU", qty=3, wait=True))
        client.ask(Deallocate(orderid="o1", sku="SKU"))
        client.ask(CreateBatch(batchref="late", sku="SKU", qty=12, eta=LATER))
        client.ask(CreateBatch(batchref="soon", sku="SKU", qty=8, eta=SOON))
        client.ask(ChangeBatchQuantity(batchref="soon", qty=11))
        client.ask(ChangeBatchQuantity(batchref="shelf", qty=1))
        client.ask(Allocate(orderid="last", sku="SKU", qty=30, wait=True))
        client.ask(ChangeBatchQuantity(batchref="late", qty=40))
        return faults_of(service, client)


def later_ship(service: RunningService) -> Sequence[str]:
    """A ship comes later, once more later, and is there. Lines are told, moved, and wait."""
    with service.client() as client:
        service.start("consume")
        service.start("relay")
        client.ask(CreateBatch(batchref="ship", sku="SKU", qty=9, eta=SOON))
        for number in range(3):
            client.ask(Allocate(orderid=f"o{number}", sku="SKU", qty=2))
        client.ask(Allocate(orderid="needed", sku="SKU", qty=2, needed_by=SOON))
        client.ask(Allocate(orderid="w", sku="SKU", qty=3, wait=True, needed_by=SOON))
        client.ask(CreateBatch(batchref="shelf", sku="SKU", qty=2))
        client.ask(Deallocate(orderid="o1", sku="SKU"))
        client.ask(Allocate(orderid="last", sku="SKU", qty=1))
        client.ask(ChangeBatchEta(batchref="ship", eta=LATER))
        client.ask(Allocate(orderid="new", sku="SKU", qty=1))
        client.ask(ChangeBatchEta(batchref="ship", eta=LATEST))
        client.ask(ChangeBatchEta(batchref="ship", eta=LATEST))
        client.ask(ChangeBatchQuantity(batchref="ship", qty=5))
        client.ask(Allocate(orderid="o0", sku="SKU", qty=2))
        client.ask(ChangeBatchEta(batchref="ship", eta=None))
        client.ask(ChangeBatchEta(batchref="ship", eta=SOON))
        # The line that is told asked before the one that comes to its batch, and is no victim before it.
        client.ask(CreateBatch(batchref="other-ship", sku="OTHER", qty=4, eta=SOON))
        client.ask(Allocate(orderid="told", sku="OTHER", qty=2))
        client.ask(CreateBatch(batchref="other-shelf", sku="OTHER", qty=2))
        client.ask(Allocate(orderid="comes", sku="OTHER", qty=2))
        client.ask(ChangeBatchEta(batchref="other-ship", eta=LATER))
        client.ask(ChangeBatchQuantity(batchref="other-shelf", qty=0))
        client.ask(ChangeBatchQuantity(batchref="other-ship", qty=2))
        return faults_of(service, client)


def shipping(service: RunningService) -> Sequence[str]:
    """Lines are shipped, and the batch shrinks over them."""
    with service.client() as client:
        service.start("consume")
        service.start("relay")
        client.ask(CreateBatch(batchref="b1", sku="SKU", qty=6))
        for number in range(3):
            client.ask(Allocate(orderid=f"o{number}", sku="SKU", qty=2))
        client.ask(Ship(orderid="o2", sku="SKU"))
        client.ask(Ship(orderid="o2", sku="SKU"))
        client.ask(Deallocate(orderid="o2", sku="SKU"))
        client.ask(ChangeBatchQuantity(batchref="b1", qty=4))
        client.ask(ChangeBatchQuantity(batchref="b1", qty=1))
        client.ask(Ship(orderid="o1", sku="SKU"))
        client.ask(Ship(orderid="never", sku="SKU"))
        return faults_of(service, client)


def quantities(service: RunningService) -> Sequence[str]:
    """Lines get other quantities: in their batch, in another one, and while they wait."""
    with service.client() as client:
        service.start("consume")
        service.start("relay")
        client.ask(CreateBatch(batchref="b1", sku="SKU", qty=6))
        client.ask(Allocate(orderid="o1", sku="SKU", qty=3))
        client.ask(Allocate(orderid="o2", sku="SKU", qty=2))
        client.ask(Allocate(orderid="w1", sku="SKU", qty=4, wait=True))
        client.ask(Allocate(orderid="w2", sku="SKU", qty=2, wait=True))
        client.ask(ChangeLineQuantity(orderid="o1", sku="SKU", qty=4))
        client.ask(ChangeLineQuantity(orderid="w1", sku="SKU", qty=5))
        client.ask(ChangeLineQuantity(orderid="o1", sku="SKU", qty=2, from_qty=4))
        client.ask(ChangeLineQuantity(orderid="o1", sku="SKU", qty=9))
        client.ask(CreateBatch(batchref="b2", sku="SKU", qty=9, eta=SOON))
        client.ask(ChangeLineQuantity(orderid="o2", sku="SKU", qty=4))
        client.ask(ChangeLineQuantity(orderid="w1", sku="SKU", qty=4))
        client.ask(ChangeBatchQuantity(batchref="b2", qty=3))
        return faults_of(service, client)


def holds(service: RunningService) -> Sequence[str]:
    """Stock is held, held again in another quantity, confirmed, and taken by a batch that shrinks."""
    until = datetime.now(UTC) + timedelta(hours=1)
    with service.client() as client:
        service.start("consume")
        service.start("relay")
        client.ask(CreateBatch(batchref="late", sku="SKU", qty=6, eta=LATER))
        client.ask(Hold(orderid="confirmed", sku="SKU", qty=2, until=until))
        client.ask(Hold(orderid="smaller", sku="SKU", qty=4, until=until))
        client.ask(Allocate(orderid="w", sku="SKU", qty=2, wait=True))
        client.ask(Hold(orderid="smaller", sku="SKU", qty=2, until=until))
        client.ask(CreateBatch(batchref="shelf", sku="SKU", qty=5))
        client.ask(Allocate(orderid="confirmed", sku="SKU", qty=2))
        client.ask(Hold(orderid="held", sku="SKU", qty=1, until=until))
        client.ask(Allocate(orderid="asked-later", sku="SKU", qty=2))
        client.ask(ChangeBatchQuantity(batchref="shelf", qty=2))
        client.ask(Deallocate(orderid="smaller", sku="SKU"))
        return faults_of(service, client)


def lapses(service: RunningService) -> Sequence[str]:
    """Holds lapse: to the good of a line that waits, and of one that is asked for anew. One is prolonged."""
    with service.client() as client:
        service.start("consume")
        service.start("relay")
        client.ask(CreateBatch(batchref="b1", sku="SKU", qty=6))
        late = datetime.now(UTC) + timedelta(hours=1)
        client.ask(Hold(orderid="early", sku="SKU", qty=1, until=_soon()))
        client.ask(Hold(orderid="lapses", sku="SKU", qty=3, until=_soon()))
        client.ask(Hold(orderid="prolonged", sku="SKU", qty=1, until=_soon()))
        client.ask(Hold(orderid="prolonged", sku="SKU", qty=1, until=late))
        client.ask(Allocate(orderid="w", sku="SKU", qty=4, wait=True))
        missed = not_seen(lambda: _lapsed(client, "lapses", "early"), "Holds did not lapse.")
        client.ask(Allocate(orderid="between", sku="SKU", qty=1))
        client.ask(Allocate(orderid="early", sku="SKU", qty=1, wait=True))
        client.ask(CreateBatch(batchref="b2", sku="SKU", qty=1))
        # The line that was only held before asked after the other one, and is the first victim.
        client.ask(CreateBatch(batchref="b3", sku="OTHER", qty=2))
        client.ask(Hold(orderid="other", sku="OTHER", qty=1, until=_soon()))
        client.ask(Allocate(orderid="first", sku="OTHER", qty=1))
        missed += not_seen(lambda: _lapsed(client, "other"), "A hold did not lapse.")
        client.ask(Allocate(orderid="other", sku="OTHER", qty=1))
        client.ask(ChangeBatchQuantity(batchref="b3", qty=1))
        return [*missed, *faults_of(service, client)]


def _soon() -> datetime:
    return datetime.now(UTC) + timedelta(seconds=1)


def _lapsed(client: ExternalClient, *orderids: str) -> bool:
    lapsed = {event.data["orderid"] for event in client.received if event.type == HoldLapsed.TYPE}
    return lapsed.issuperset(orderids)


DOMAIN = (waiting, later_ship, shipping, quantities, holds, lapses)
