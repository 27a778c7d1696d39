"""Commands of every kind, for tests with faults."""

from allocation_contracts import Allocate, ChangeBatchQuantity, CreateBatch, Deallocate
from harness.client import ExternalClient

# With these settings each crash point is passed several times.
ONE_AT_A_TIME = {"ALLOCATION_RELAY_WINDOW": "1", "ALLOCATION_GROUP_LIMIT": "10"}


def send_mixed_commands(client: ExternalClient) -> None:
    for batch, qty in (("b1", 40), ("b2", 30)):
        client.send(CreateBatch(batchref=batch, sku="SKU", qty=qty))
    for number in range(30):
        line = Allocate(orderid=f"o{number}", sku="SKU", qty=2)
        message_id = client.send(line)
        if number % 7 == 0:
            client.send(line, message_id=message_id)
        if number % 10 == 9:
            client.send(Deallocate(orderid=f"o{number}", sku="SKU"))
    client.send(ChangeBatchQuantity(batchref="b1", qty=10))
    client.wait_confirmed()
