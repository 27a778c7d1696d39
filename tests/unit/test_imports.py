"""What the extras bring is imported only where it is asked for."""

import subprocess
import sys

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


def test_without_a_setting_nothing_of_opentelemetry_and_prometheus_is_imported() -> None:
    done = subprocess.run([sys.executable, "-c", EVERYTHING], env={}, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
