"""The metrics as a text file for the textfile collector of Prometheus's node exporter.

It needs prometheus-client, the extra `prometheus`.
"""

import os
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import prometheus_client
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from allocation_worker.service_layer import telemetry
from allocation_worker.service_layer.telemetry import Attributes, Metric, Reading

PROCESS = "service.instance.id"
"""The attribute that tells the files of several processes apart: node exporter reads them as one."""


class _Gauges(Collector):
    def __init__(self, readings: Callable[[], Iterable[Reading]], process: str) -> None:
        self._readings = readings
        self._process = process

    def describe(self) -> Iterable[GaugeMetricFamily]:
        return []  # they are read only when the file is written

    def collect(self) -> Iterator[GaugeMetricFamily]:
        found: dict[Metric, GaugeMetricFamily] = {}
        for gauge, value, attributes in self._readings():
            if gauge not in found:
                found[gauge] = GaugeMetricFamily(gauge.prometheus_name, gauge.description, labels=_labels(gauge))
            found[gauge].add_metric(_values(gauge, attributes, self._process), value)
        yield from found.values()


class PrometheusFile:
    """Implements `service_layer.ports.telemetry.Recorder`, and writes what it was given to a file.

    Args:
        folder: The folder of the collector. It is made if it is missing.
        verb: The verb that the process runs.
        readings: Returns the gauges.
    """

    def __init__(self, folder: Path, verb: str, readings: Callable[[], Iterable[Reading]]) -> None:
        self._folder = folder
        self._host = socket.gethostname()
        self._name = f"allocation-{verb}-{self._host}-"
        self._process = f"{self._host}:{os.getpid()}"
        prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call] # it has no types
        self._registry = prometheus_client.CollectorRegistry()
        self._registry.register(_Gauges(readings, self._process))
        self._counters = {
            each: prometheus_client.Counter(
                each.prometheus_name, each.description, _labels(each), registry=self._registry
            )
            for each in telemetry.COUNTERS
        }
        self._histograms = {
            each: prometheus_client.Histogram(
                each.prometheus_name, each.description, _labels(each), registry=self._registry, buckets=each.bounds
            )
            for each in telemetry.HISTOGRAMS
        }

    @property
    def path(self) -> Path:
        """The file of this process."""
        return self._folder / f"{self._name}{os.getpid()}.prom"

    def add(self, counter: Metric, amount: int, attributes: Attributes) -> None:
        self._counters[counter].labels(*_values(counter, attributes, self._process)).inc(amount)

    def record(self, histogram: Metric, value: float, attributes: Attributes) -> None:
        self._histograms[histogram].labels(*_values(histogram, attributes, self._process)).observe(value)

    def write(self) -> None:
        """Replace the file at one stroke, and remove those that killed processes of this verb have left.

        Raises:
            OSError: It cannot be written.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        prometheus_client.write_to_textfile(str(self.path), self._registry)
        for left in self._folder.glob(f"{self._name}*.prom"):
            pid = left.stem.removeprefix(self._name)
            if pid.isdigit() and not Path(f"/proc/{pid}").exists():
                left.unlink(missing_ok=True)

    def remove(self) -> None:
        """Remove the file: a process that has ended is not to be seen any more.

        Raises:
            OSError: It cannot be removed.
        """
        self.path.unlink(missing_ok=True)


def _labels(metric: Metric) -> list[str]:
    return [name.replace(".", "_") for name in (*metric.attributes, PROCESS)]


def _values(metric: Metric, attributes: Attributes, process: str) -> Sequence[str]:
    # An empty label is the same as none.
    return [*(attributes.get(name, "") for name in metric.attributes), process]
