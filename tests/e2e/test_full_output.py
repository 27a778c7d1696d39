"""Every verb that prints says in one sentence that it cannot, and those that change something say what they did."""

from pathlib import Path

import pytest
from pika import BasicProperties

from allocation_contracts import Allocate, CreateBatch
from allocation_worker.testing.servers.redis_server import RedisServer
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient
from harness.processes import run_verb
from harness.service import RunningService

FULL = Path("/dev/full")
CANNOT = "Standard output cannot be written (No space left on device).\n"


@pytest.fixture(scope="module")
def settings(service: RunningService, client: ExternalClient, redis_server: RedisServer) -> dict[str, str]:
    """Of a service that has events, a read model and two dead letters."""
    found = {**service.settings, "ALLOCATION_REDIS_URL": redis_server.new_database()}
    client.ask(CreateBatch(batchref="full-1", sku="FULL", qty=5))
    client.ask(Allocate(orderid="o1", sku="FULL", qty=3), message_id="full/1")
    for body in (b"{", b"["):
        properties = BasicProperties(message_id=f"full/{body.decode()}", type="allocate.v1", delivery_mode=2)
        client.publish_raw(body, routing_key="allocate", properties=properties)
    wait_until(lambda: service.count_dead_letters() == 2, within=30, otherwise=service.logs)
    return found


@pytest.mark.parametrize(
    ("arguments", "done"),
    [
        ("--help", ""),
        ("--version", ""),
        ("settings", ""),
        ("settings --json", ""),
        ("status", ""),
        ("status --json", ""),
        ("verify", ""),
        ("verify --json", ""),
        ("explain full/1", ""),
        ("explain full/1 --json", ""),
        ("explain --sku FULL", ""),
        ("dead-letters list", ""),
        ("dead-letters list --json", ""),
        ("dead-letters list --reason invalid-json", ""),
        ("topology --check", ""),
        ("project --rebuild", "The read model was rebuilt: 1 SKU. "),
        ("show stock", ""),
        ("show order o1 --json", ""),
        ("migrate", "The schema was at "),
        ("topology", "All exchanges, queues and bindings exist. "),
        ("dead-letters discard --reason invalid-json --yes", "2 discarded. "),
        ("dead-letters redrive --reason invalid-json", "0 redriven, 0 left. "),
    ],
)
def test_a_full_disk_is_told(settings: dict[str, str], arguments: str, done: str) -> None:
    ended = run_verb(*arguments.split(), settings=settings, stdout=FULL)
    *log, told = ended.stderr.splitlines(keepends=True)
    assert "Traceback" not in "".join(log)
    assert ended.returncode == 1, ended.stderr
    assert told.startswith(done)
    assert told.endswith(CANNOT)
    assert done or told == CANNOT
