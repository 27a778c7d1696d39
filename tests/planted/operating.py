"""Scenarios of an operator: new passwords, signals, probes, a service that does not run, and its traces."""

import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from allocation_contracts import ORDERS_QUEUE, Allocate
from allocation_contracts.amqp import Publisher
from harness.login import new_password, own_login
from harness.old_queues import make_old
from harness.otlp import SeenSpan, collector
from harness.processes import run_verb
from harness.service import RunningService
from tests.planted.steps import (
    WAITING_FOR_LOCKS,
    answered,
    database,
    faults_of,
    locked,
    not_seen,
    open_channel,
    rows,
    send_batches,
    send_orders,
)

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE}-00f067aa0ba902b7-01"


def new_passwords(service: RunningService) -> Sequence[str]:
    """The passwords change while the processes run; the new ones stand in the files that the addresses come from."""
    with (
        TemporaryDirectory() as name,
        service.client() as client,
        own_login(service, Path(name), new_password()) as login,
    ):
        service.start("consume")
        service.start("relay")
        send_batches(client)
        missed = answered(client)
        login.change(new_password())
        send_orders(client)
        return [*([missed] if missed else []), *faults_of(service, client)]


def signals(service: RunningService) -> Sequence[str]:
    """Two signals within a second, while a group waits for a batch that somebody holds; then it is free."""
    with service.client() as client:
        consumer = service.start("consume")
        service.start("relay")
        send_batches(client)
        answered(client)
        with database(service) as cursor:
            cursor.execute("SELECT 1 FROM batches FOR UPDATE")
            client.send(Allocate(orderid="o", sku="SKU", qty=2))
            missed = rows(service, WAITING_FOR_LOCKS, 1)
            consumer.send(signal.SIGTERM)
            consumer.wait_for("stopping")
            consumer.send(signal.SIGTERM)
            missed += not_seen(lambda: consumer.exit_code is None, "consume has ended at once.", within=1)
        code = consumer.wait()
        service.start("consume")
        return [*missed, *([f"consume ended with {code}."] if code else []), *faults_of(service, client)]


def signs_of_life(service: RunningService) -> Sequence[str]:
    """The broker is away, which is no reason for a restart. Then the process is stopped in its tracks."""
    with TemporaryDirectory() as folder:
        service.settings["ALLOCATION_HEALTH_FOLDER"] = folder
        consumer = service.start("consume", settings={"ALLOCATION_AMQP_URL": "amqp://x:x@127.0.0.1:1/"})
        consumer.wait_for("amqp_connect_failed")
        missed = not_seen(lambda: bool(list(Path(folder).glob("*.json"))), "There is no sign of life.")
        alive = run_verb("health", settings=service.settings)
        ready = run_verb("health", "--ready", settings=service.settings)
        consumer.send(signal.SIGSTOP)
        stalled = "A stopped process counts as alive."
        missed += not_seen(
            lambda: run_verb("health", "--max-age", "1", settings=service.settings).returncode == 4, stalled
        )
    if alive.returncode:
        missed.append(f"A broker that is away fails the probe: {alive.stderr}")
    if not ready.returncode:
        missed.append("A process without a broker counts as ready.")
    return missed


def nothing_runs(service: RunningService) -> Sequence[str]:
    """An order waits, and neither `consume` nor `relay` runs."""
    with service.client() as client:
        client.send(Allocate(orderid="o", sku="SKU", qty=2))
        client.wait_confirmed()
    done = run_verb("status", "--check", settings=service.settings)
    wanted = ("Nobody consumes allocation.orders", "Nobody consumes allocation.stock", "No `allocation-worker relay`")
    return [f"`status` does not say: {sentence}" for sentence in wanted if sentence not in done.stdout] + (
        [] if done.returncode == 4 else [f"`status --check` ended with {done.returncode}."]
    )


def replaced_queue(service: RunningService) -> Sequence[str]:
    """A queue is replaced while its consumer cannot answer what it has in hand; then the consumer is killed."""
    service.settings["ALLOCATION_MANAGEMENT_URL"] = service.servers.broker.management_url
    with open_channel(service) as opened:
        make_old(opened, ORDERS_QUEUE)
    with service.client() as client:
        consumer = service.start("consume")
        service.start("relay")
        send_batches(client)
        missed = answered(client)
        with locked(service, "SKU"):
            send_orders(client)
            waited = rows(service, WAITING_FOR_LOCKS, 1)
            replacing = service.start("topology", "--replace", ORDERS_QUEUE)
            not_seen(lambda: replacing.exit_code is not None, "It waits, as it is to.", within=20)
            consumer.kill()
        service.start("consume")
        code = replacing.wait(within=60)
        ended = [f"The replacement ended with {code}: {replacing.log[-500:]}"] if code else []
        return [*([missed] if missed else []), *waited, *ended, *faults_of(service, client)]


def measured(service: RunningService) -> Sequence[str]:
    """A command with a trace is answered, and another one is rejected, before a collector."""
    with collector() as seen, service.client() as client, Publisher(service.amqp_url) as shop:
        soon = {"OTEL_BSP_SCHEDULE_DELAY": "100", "OTEL_METRIC_EXPORT_INTERVAL": "300"}
        for verb in ("consume", "relay"):
            service.start(verb, settings={**soon, "OTEL_EXPORTER_OTLP_ENDPOINT": seen.url})
        send_batches(client)
        missed = answered(client)
        for qty in (1, 2):
            shop.publish(Allocate(orderid="traced", sku="SKU", qty=qty), traceparent=TRACEPARENT)

        def of_this_trace(name: str) -> dict[str, SeenSpan]:
            return {span.id: span for span in list(seen.spans) if span.trace == TRACE and span.name.startswith(name)}

        found = not_seen(lambda: len(of_this_trace("process")) == 2, "The commands are not in their trace.")
        found += not_seen(lambda: len(of_this_trace("publish")) == 2, "The events are not in the trace.")
        found += not_seen(
            lambda: all(span.parent in of_this_trace("process") for span in of_this_trace("publish").values()),
            "An event is published outside the span of its decision.",
        )
        found += not_seen(
            lambda: any(
                point.get("allocation.reason") == "line-quantity-conflict"
                for point in seen.metrics.get("allocation.messages.settled", [])
            ),
            "A rejection is not counted as one.",
        )
        return [*([missed] if missed else []), *found]


OPERATING: Sequence[Callable[[RunningService], Sequence[str]]] = (
    new_passwords,
    signals,
    signs_of_life,
    nothing_runs,
    replaced_queue,
    measured,
)
