"""Commands of every kind, for tests with faults."""

from datetime import UTC, date, datetime, timedelta

from allocation_contracts import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    CreateBatch,
    Deallocate,
    Hold,
    Ship,
)
from harness.client import ExternalClient

# With these settings each crash point is passed several times.
ONE_AT_A_TIME = {"ALLOCATION_RELAY_WINDOW": "1", "ALLOCATION_GROUP_LIMIT": "10"}

SOON, LATER = date(2031, 1, 1), date(2031, 2, 1)


def send_mixed_commands(client: ExternalClient) -> None:
    """Send batches, orders, holds that do not lapse, and what becomes of them. Most stock is there, some at sea."""
    until = datetime.now(UTC) + timedelta(hours=1)
    for batch, qty in (("b1", 40), ("b2", 30)):
        client.send(CreateBatch(batchref=batch, sku="SKU", qty=qty))
    client.send(CreateBatch(batchref="ship", sku="SKU", qty=8, eta=SOON))
    for number in range(30):
        line = Allocate(
            orderid=f"o{number}", sku="SKU", qty=2, wait=number % 3 == 0, needed_by=SOON if number % 5 == 0 else None
        )
        message_id = client.send(line)
        if number % 7 == 0:
            client.send(line, message_id=message_id)
        if number % 10 == 9:
            client.send(Deallocate(orderid=f"o{number}", sku="SKU"))
        if number % 10 == 4:
            client.send(Ship(orderid=f"o{number}", sku="SKU"))
        if number % 10 == 6:
            client.send(ChangeLineQuantity(orderid=f"o{number}", sku="SKU", qty=1 + number % 4))
        if number % 6 == 0:
            hold = Hold(orderid=f"h{number}", sku="SKU", qty=2, until=until)
            client.send(hold)
            client.send(hold.model_copy(update={"until": until + timedelta(hours=1), "qty": 1}))
            if number % 12 == 0:
                client.send(Allocate(orderid=f"h{number}", sku="SKU", qty=1))
    client.send(ChangeBatchEta(batchref="ship", eta=LATER))
    client.send(ChangeBatchQuantity(batchref="b1", qty=10))
    client.wait_confirmed()
