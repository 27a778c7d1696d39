"""A subscriber with the contracts of the version before the second half of the domain, beside a worker that has it."""

import json
import os
import shelve
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from allocation_contracts import (
    EVENTS,
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    CreateBatch,
    Deallocate,
    Hold,
    Ship,
)
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient
from harness.earlier_version import unpack_version
from harness.service import RunningService

VERSION_BEFORE = "68f0cee"
"""The last commit whose contracts have six events."""

KNOWN = {
    "allocated.v1",
    "out-of-stock.v1",
    "deallocated.v1",
    "batch-created.v1",
    "batch-quantity-changed.v1",
    "command-rejected.v1",
}

# It stops at a gap, as it does by default.
PROGRAM = """
import json, os, shelve, sys

import allocation_contracts
from allocation_contracts.amqp import Subscriber


def handle(event, properties):
    print(json.dumps({"type": event.TYPE, **event.model_dump(mode="json")}), flush=True)


print(json.dumps(sorted(allocation_contracts.EVENTS)), flush=True)
with shelve.open("positions") as positions:
    Subscriber(os.environ["ALLOCATION_AMQP_URL"], "older", positions=positions).run(handle)
"""

SOON, LATER = date(2030, 1, 1), date(2030, 2, 1)


@contextmanager
def older_subscriber(service: RunningService, folder: Path, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    code = unpack_version(VERSION_BEFORE, folder)
    with log.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            env={**os.environ, **code, **service.settings},
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    with process:
        try:
            yield process
        finally:
            process.kill()


def said(log: Path) -> list[str]:
    return log.read_text().splitlines()


@pytest.mark.timeout(180)
def test_a_subscriber_of_the_version_before_survives_every_type_that_it_does_not_know(
    service: RunningService, client: ExternalClient, tmp_path: Path
) -> None:
    log = tmp_path / "older.log"
    with older_subscriber(service, tmp_path, log) as subscriber:
        wait_until(
            lambda: "older" in service.servers.broker.queue_depths(service.amqp_url),
            within=30,
            otherwise=log.read_text,
        )
        assert set(json.loads(said(log)[0])) == KNOWN
        until = datetime.now(UTC) + timedelta(seconds=1)
        for command in (
            CreateBatch(batchref="ship", sku="LAMP", qty=10, eta=SOON),
            Allocate(orderid="told", sku="LAMP", qty=3),
            Allocate(orderid="moved", sku="LAMP", qty=3, needed_by=SOON, wait=True),
            Hold(orderid="basket", sku="LAMP", qty=1, until=until),
            Allocate(orderid="waits", sku="LAMP", qty=11, wait=True),
            ChangeLineQuantity(orderid="told", sku="LAMP", qty=2),
            ChangeBatchEta(batchref="ship", eta=LATER),
            ChangeBatchEta(batchref="ship", eta=None),
            Ship(orderid="told", sku="LAMP"),
            ChangeBatchQuantity(batchref="ship", qty=20),
        ):
            client.ask(command)
        wait_until(
            lambda: "hold-lapsed.v1" in {event.type for event in client.received}, within=30, otherwise=service.logs
        )
        client.ask(Deallocate(orderid="moved", sku="LAMP"))
        last = client.ask(Allocate(orderid="last", sku="LAMP", qty=1))
        wait_until(
            lambda: any('"last"' in line for line in said(log)) or subscriber.poll() is not None,
            within=30,
            otherwise=log.read_text,
        )
        assert subscriber.poll() is None, log.read_text()
    events = [event for event in client.received if "sequence" in event.data]
    assert {event.type for event in client.received} == EVENTS.keys() - {"command-rejected.v1", "out-of-stock.v1"}
    handed_over = [json.loads(line) for line in said(log)[1:]]
    known = {event.data["sequence"]: event for event in events if event.type in KNOWN}
    assert handed_over == [{"type": event.type, **event.data} for _, event in sorted(known.items())]
    assert "batch-eta-changed" in {event.get("reason") for event in handed_over}
    assert service.servers.broker.queue_depths(service.amqp_url)["older.parked"] == 0
    with shelve.open(str(tmp_path / "positions")) as positions:  # noqa: S301 - the test's own file
        assert (positions["LAMP"].last, positions["LAMP"].missing) == (last.data["sequence"], ())
