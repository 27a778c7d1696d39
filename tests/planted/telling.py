"""Scenarios of what people and other programs send, and of what the verbs say about it."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from pika import BasicProperties

from allocation_contracts import Allocate, CreateBatch, encode
from allocation_worker.testing.servers.redis_server import start_redis
from harness.processes import run_verb
from harness.service import RunningService
from tests.planted.steps import answered, not_seen, send_batches


def text_from_outside(service: RunningService) -> Sequence[str]:
    """A message_id that would clear a terminal, in a dead letter that an operator lists."""
    with service.client() as client:
        service.start("consume")
        properties = BasicProperties(message_id="\x9b2Jm", type=Allocate.TYPE, delivery_mode=2)
        client.publish_raw(b"{}", routing_key=Allocate.ROUTING_KEY, properties=properties)
        client.wait_confirmed()
        missed = not_seen(lambda: service.count_dead_letters() == 1, "There is no dead letter.")
    shown = run_verb("dead-letters", "list", "--by", "message-id", settings=service.settings)
    if "\x9b" in shown.stdout + shown.stderr:
        missed.append("A terminal would obey what stands in a message.")
    return missed if "\\u009b2J" in shown.stdout else [*missed, f"The message_id is not shown: {shown.stdout!r}"]


def one_line_in_two_rows(service: RunningService) -> Sequence[str]:
    """A file in which two rows name one line, which is allocated once."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "orders.csv"
        path.write_text("orderid,sku,qty\no1,SKU,2\no1,SKU,2\n")
        done = run_verb("send", "--file", str(path), "--type", "allocate", settings=service.settings)
    if done.returncode == 0:
        return [f"Two rows name one line, and `send` says: {done.stdout.strip()}"]
    return [] if "#row" in done.stderr else [f"`send` does not say what to do: {done.stderr}"]


def read_model_behind(service: RunningService) -> Sequence[str]:
    """An order is allocated after `project` has ended."""
    with start_redis() as redis, service.client() as client:
        settings = {**service.settings, "ALLOCATION_REDIS_URL": redis.new_database()}
        service.start("consume")
        service.start("relay")
        project = service.start("project", settings=settings)
        project.wait_for("ready")
        project.terminate()
        send_batches(client)
        client.send(Allocate(orderid="o1", sku="SKU", qty=1))
        missed = answered(client)
        shown = run_verb("show", "order", "o1", settings=settings)
    wrong = [] if "Nothing is known of order 'o1'" in shown.stderr else [f"`show` denies an order: {shown.stderr}"]
    return [*([missed] if missed else []), *wrong]


def conflict_redriven(service: RunningService) -> Sequence[str]:
    """Two messages have one message_id; the second is a dead letter, and is redriven."""
    with service.client() as client:
        service.start("consume")
        service.start("relay")
        send_batches(client)
        for qty in (1, 2):
            properties = BasicProperties(message_id="used", type=Allocate.TYPE, delivery_mode=2)
            body = encode(Allocate(orderid="o1", sku="SKU", qty=qty))
            client.publish_raw(body, routing_key=Allocate.ROUTING_KEY, properties=properties)
        missed = not_seen(lambda: service.count_dead_letters() == 1, "There is no dead letter.")
    done = run_verb("dead-letters", "redrive", "--all", "--json", settings=service.settings)
    totals = json.loads(done.stdout.splitlines()[-1])
    wanted = {"redriven": 0, "left": 1}
    return missed if totals == wanted else [*missed, f"A conflict counts as redriven: {totals}"]


def null_line(service: RunningService) -> Sequence[str]:
    """A program that writes null for what it has no value for."""
    with service.client() as client:
        service.start("consume")
        service.start("relay")
        client.send(CreateBatch(batchref="b1", sku="SKU", qty=20))
        missed = answered(client)
        properties = BasicProperties(message_id="null", type=Allocate.TYPE, delivery_mode=2)
        body = json.dumps({"orderid": "o1", "sku": "SKU", "qty": 1, "lineid": None}).encode()
        client.publish_raw(body, routing_key=Allocate.ROUTING_KEY, properties=properties)
        unanswered = not_seen(lambda: bool(client.answers("null")), "A lineid of null is refused.")
    return [*([missed] if missed else []), *unanswered]


TELLING: Sequence[Callable[[RunningService], Sequence[str]]] = (
    text_from_outside,
    one_line_in_two_rows,
    read_model_behind,
    conflict_redriven,
    null_line,
)
