"""What is imported only where it is asked for: what the extras bring, and what one verb alone needs."""

import subprocess
import sys

import pytest

EVERYTHING = """
import sys
import allocation_contracts.amqp
import allocation_worker.cli
from allocation_worker.bootstrap.telemetry import telemetry_of
from allocation_worker.config import Settings
from allocation_worker.entrypoints.signs_of_life import SignsOfLife
with telemetry_of(Settings(), "consume", SignsOfLife("consume", limit=60, pid=1)) as telemetry:
    assert telemetry.publisher(None) is None
extras = {"opentelemetry", "prometheus_client", "google.protobuf", "requests"}
print(sorted(extras & set(sys.modules)))
"""


WITHOUT_EXTRAS = """
import sys
sys.modules["opentelemetry"] = sys.modules["prometheus_client"] = None
from allocation_worker import logs
from allocation_worker.bootstrap.telemetry import PrometheusNotInstalledError, telemetry_of
from allocation_worker.config import load
from allocation_worker.entrypoints.signs_of_life import SignsOfLife
logs.configure()
signs = SignsOfLife("consume", limit=60, pid=1)
with telemetry_of(load(), "consume", signs):
    print("It works.")
try:
    with telemetry_of(load(metrics_folder="/nowhere"), "consume", signs):
        pass
except PrometheusNotInstalledError as error:
    print(error)
"""


def test_without_the_extras_a_setting_of_ours_is_refused_and_a_variable_of_the_machine_is_not() -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_EXTRAS], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines() == [
        "It works.",
        "ALLOCATION_METRICS_FOLDER needs prometheus-client: install allocation-worker[prometheus].",
    ]
    assert "install allocation-worker[otel]" in done.stderr


def test_without_a_setting_nothing_of_opentelemetry_and_prometheus_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", EVERYTHING], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(("module", "imported"), [("cli", False), ("adapters.postgres.migrate", True)])
def test_alembic_is_imported_for_migrate_alone(module: str, imported: bool) -> None:  # noqa: FBT001 - pytest gives it
    program = f"import allocation_worker.{module}, sys; print('alembic' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == f"{imported}\n"
