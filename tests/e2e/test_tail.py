"""`tail`, as an operator runs it."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

from allocation_contracts import Allocate, CreateBatch
from harness.client import ExternalClient
from harness.processes import run_verb
from harness.service import RunningService


@contextmanager
def tail(service: RunningService, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A process that shows events, once nothing can be missed any more."""
    with subprocess.Popen(
        [sys.executable, "-m", "allocation_worker", "tail", *arguments],
        env={**os.environ, **service.settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert line_of(process.stderr) == "Listening; Ctrl-C ends it.\n"
            yield process
        finally:
            process.kill()


def line_of(stream: IO[str] | None) -> str:
    assert stream is not None
    return stream.readline()


def test_events_are_shown_as_they_come_until_ctrl_c(service: RunningService, client: ExternalClient) -> None:
    with tail(service) as process:
        client.ask(CreateBatch(batchref="tail-1", sku="TAIL-1", qty=5))
        client.ask(Allocate(orderid="o1", sku="TAIL-1", qty=3))
        first, second = (" ".join(line_of(process.stdout).split()) for _ in range(2))
        assert first.endswith(" batch-created.v1 1 TAIL-1 tail-1 5 in the warehouse")
        assert second.endswith(" allocated.v1 2 TAIL-1 o1 3 from tail-1, in the warehouse")
        process.send_signal(signal.SIGINT)
        assert process.wait(60) == 0
        assert (process.stdout and process.stdout.read(), process.stderr and process.stderr.read()) == ("", "")


def test_events_are_picked_by_type_order_and_sku_and_written_as_json(
    service: RunningService, client: ExternalClient
) -> None:
    with (
        tail(service, "--json", "--type", "allocated", "--type", "out-of-stock.v1", "--order", "o2") as by_order,
        tail(service, "--json", "--sku", "TAIL-3") as by_sku,
    ):
        for sku in ("TAIL-2", "TAIL-3"):
            client.ask(CreateBatch(batchref=sku, sku=sku, qty=5))
            client.ask(Allocate(orderid="o1", sku=sku, qty=3))
            client.ask(Allocate(orderid="o2", sku=sku, qty=3), correlation_id="basket")
        bodies = [json.loads(line_of(by_order.stdout)) for _ in range(2)]
        assert [(each["type"], each["body"]["orderid"], each["body"]["sku"]) for each in bodies] == [
            ("out-of-stock.v1", "o2", "TAIL-2"),
            ("out-of-stock.v1", "o2", "TAIL-3"),
        ]
        assert bodies[0]["correlation_id"] == "basket"
        types = [json.loads(line_of(by_sku.stdout))["type"] for _ in range(3)]
        assert types == ["batch-created.v1", "allocated.v1", "out-of-stock.v1"]


def test_it_ends_in_peace_when_nobody_reads_any_more(service: RunningService) -> None:
    with tail(service) as process:
        assert process.stdout is not None
        process.stdout.close()
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert process.stderr.read() == ""


def test_it_goes_on_when_the_broker_is_back(service: RunningService, client: ExternalClient) -> None:
    with tail(service, "--sku", "TAIL-4") as process:
        service.servers.broker.close_connections(service.amqp_url)
        assert line_of(process.stderr) == "The broker is gone; events are missed until it is back.\n"
        assert line_of(process.stderr) == "Listening; Ctrl-C ends it.\n"
        client.send(CreateBatch(batchref="tail-4", sku="TAIL-4", qty=5))
        client.wait_confirmed()
        assert "tail-4" in line_of(process.stdout)


def test_a_wrong_type_an_absent_broker_and_a_missing_exchange_are_told_in_a_sentence(service: RunningService) -> None:
    wrong = run_verb("tail", "--type", "posted", settings=service.settings)
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)
    assert "there is no event posted; take allocated, out-of-stock" in wrong.stderr

    away = run_verb("tail", settings={"ALLOCATION_AMQP_URL": "amqp://guest:guest@127.0.0.1:1/"})
    assert (away.returncode, away.stderr.count("\n")) == (69, 1)
    assert away.stderr.startswith("No broker can be reached: amqp://guest:***@127.0.0.1:1/%2F: ")

    bare = run_verb("tail", settings={"ALLOCATION_AMQP_URL": service.servers.broker.new_vhost()})
    assert bare.returncode == 69
    assert "run `allocation-worker topology`" in bare.stderr
