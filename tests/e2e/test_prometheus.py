"""The text files, the alert rules and the dashboard, with a real Prometheus over a service that works."""

import json
import re
import shutil
import subprocess
from pathlib import Path

from pika.spec import BasicProperties

from allocation_contracts import Allocate, CreateBatch
from allocation_worker.service_layer.telemetry import COUNTERS, GAUGES, HISTOGRAMS
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.redis_server import RedisServer
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient
from harness.processes import WorkerProcess
from harness.prometheus import Prometheus, expressions_of_dashboard, expressions_of_rules, prometheus
from harness.service import RunningService

ROOT = Path(__file__).parents[2]
RULES = ROOT / "docker" / "prometheus" / "alerts.yml"
DASHBOARD = ROOT / "docker" / "grafana" / "allocation-worker.json"

NOTHING_TO_SHOW = {"Outbox B", "Waiting for a server A", "Set aside for a locked product A"}
"""What a service that works and that waits for nobody has no value for."""


def test_dashboard_and_alerts_tell_of_a_service_that_works_and_of_one_whose_consumer_has_gone(
    servers: Servers, redis_server: RedisServer, tmp_path: Path
) -> None:
    metrics = tmp_path / "metrics"
    settings = {
        "ALLOCATION_REDIS_URL": redis_server.new_database(),
        "ALLOCATION_METRICS_FOLDER": str(metrics),
        "ALLOCATION_METRICS_INTERVAL": "1",
    }
    with RunningService(servers, tmp_path, settings) as service, prometheus(metrics, RULES) as seen:
        consume, *_ = [service.start(verb) for verb in ("consume", "relay", "project")]
        with service.client() as client:
            send_some_of_each(client)
            every_panel_has_a_value(seen, service)
            as_sent = {"AllocationDeadLetters", "AllocationMessagesFail"}
            wait_until(lambda: seen.firing() == as_sent, within=30, every=0.2, otherwise=lambda: told(seen))
            the_consumer_has_gone(seen, client, consume)


def send_some_of_each(client: ExternalClient) -> None:
    """Messages that are answered, rejected, tried again, and dead-lettered."""
    client.ask(CreateBatch(batchref="b", sku="LAMP", qty=5))
    client.ask(Allocate(orderid="o", sku="LAMP", qty=1))
    client.ask(Allocate(orderid="o", sku="LAMP", qty=2))
    client.send(Allocate(orderid="o", sku="UNKNOWN", qty=2))
    client.publish_raw(b"{", routing_key="allocate", properties=BasicProperties(message_id="x", type="allocate.v1"))


def every_panel_has_a_value(seen: Prometheus, service: RunningService) -> None:
    """Wait until they have; a rate needs two samples."""
    panels = expressions_of_dashboard(DASHBOARD)
    expected = set(panels) - NOTHING_TO_SHOW
    wait_until(
        lambda: expected <= {title for title, expression in panels.items() if seen.ask(expression)},
        within=60,
        every=0.5,
        otherwise=lambda: (
            f"{sorted(title for title in expected if not seen.ask(panels[title]))}\n{service.logs()[-3000:]}"
        ),
    )
    for expression in expressions_of_rules(RULES).values():
        seen.ask(expression)  # an error would be raised


def the_consumer_has_gone(seen: Prometheus, client: ExternalClient, consume: WorkerProcess) -> None:
    assert consume.terminate() == 0
    client.send(Allocate(orderid="late", sku="LAMP", qty=1))
    wanted = {"AllocationNoConsume", "AllocationQueueWithoutConsumer"}
    wait_until(lambda: wanted <= seen.firing(), within=30, every=0.2, otherwise=lambda: told(seen))
    queues = {
        sample["metric"]["messaging_destination_name"]
        for sample in seen.ask(expressions_of_rules(RULES)["AllocationQueueWithoutConsumer"])
    }
    assert queues == {"allocation.orders", "allocation.stock"}


def told(seen: Prometheus) -> str:
    return f"{seen.firing()}\n{seen.ask('ALERTS')}"


def test_a_killed_process_leaves_a_file_that_ages_and_that_the_next_one_removes(
    fresh_service: RunningService, tmp_path: Path
) -> None:
    metrics = tmp_path / "metrics"
    settings = {"ALLOCATION_METRICS_FOLDER": str(metrics), "ALLOCATION_METRICS_INTERVAL": "1"}

    def files() -> set[int]:
        return {int(path.stem.rpartition("-")[2]) for path in metrics.glob("allocation-relay-*.prom")}

    killed = fresh_service.start("relay", settings=settings)
    wait_until(lambda: files() == {killed.pid}, within=30, otherwise=lambda: killed.log)
    killed.kill()
    assert files() == {killed.pid}
    following = fresh_service.start("relay", settings=settings)
    wait_until(lambda: files() == {following.pid}, within=30, otherwise=lambda: following.log)
    following.wait_for("ready")  # before that, a signal ends it at once
    assert following.terminate() == 0
    assert files() == set(), "a process that has ended is not to be seen any more"


def test_a_folder_that_cannot_be_written_is_told_once_and_stops_nothing(
    fresh_service: RunningService, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    settings = {"ALLOCATION_METRICS_FOLDER": str(tmp_path / "file"), "ALLOCATION_METRICS_INTERVAL": "1"}
    relay = fresh_service.start("relay", settings=settings)
    relay.wait_for("ready")
    relay.wait_for("metrics_unwritable")
    assert relay.terminate() == 0
    assert relay.log.count("metrics_unwritable") == 1


def test_each_alert_is_one_that_promtool_has_seen_fire_and_has_a_paragraph(tmp_path: Path) -> None:
    for path in RULES.parent.glob("*.yml"):
        shutil.copy(path, tmp_path)
    for command in (["check", "rules", RULES.name], ["test", "rules", "alerts-test.yml"]):
        done = subprocess.run(["promtool", *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    tried = (RULES.parent / "alerts-test.yml").read_text()
    page = (ROOT / "docs" / "howto" / "monitor.md").read_text()
    for name in expressions_of_rules(RULES):
        assert re.search(rf"\b{name}\b", tried), name
        assert f"### {name}\n" in page


def test_alerts_and_dashboard_use_only_metrics_that_there_are() -> None:
    endings = {key: ["_total"] for key in COUNTERS} | {key: ["_bucket", "_sum", "_count"] for key in HISTOGRAMS}
    known = {
        metric.prometheus_name + ending
        for metric in (*COUNTERS, *HISTOGRAMS, *GAUGES)
        for ending in endings.get(metric, [""])
    }
    labels = {name.replace(".", "_") for metric in (*COUNTERS, *HISTOGRAMS, *GAUGES) for name in metric.attributes}
    expressions = [*expressions_of_rules(RULES).values(), *expressions_of_dashboard(DASHBOARD).values()]
    used = set(re.findall(r"\b(?:allocation|messaging|db_client)_\w+", " ".join(expressions)))
    assert used <= known | labels
    assert json.loads(DASHBOARD.read_text())["title"] == "Allocation worker"
