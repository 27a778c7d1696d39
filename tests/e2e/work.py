"""What the service is given to do while something is done to it."""

from allocation_contracts import Allocate, ChangeBatchQuantity, CreateBatch, Deallocate
from harness.client import ExternalClient

# So that each point is passed several times.
ONE_AT_A_TIME = {"ALLOCATION_RELAY_WINDOW": "1", "ALLOCATION_GROUP_LIMIT": "10"}


def a_little_of_everything(outside: ExternalClient) -> None:
    for batch, qty in (("b1", 40), ("b2", 30)):
        outside.send(CreateBatch(batchref=batch, sku="SKU", qty=qty))
    for number in range(30):
        line = Allocate(orderid=f"o{number}", sku="SKU", qty=2)
        message_id = outside.send(line)
        if number % 7 == 0:
            outside.send(line, message_id=message_id)
        if number % 10 == 9:
            outside.send(Deallocate(orderid=f"o{number}", sku="SKU"))
    outside.send(ChangeBatchQuantity(batchref="b1", qty=10))
    outside.wait_confirmed()
