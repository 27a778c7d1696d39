"""What it costs to be measured: the processor time of a command, of both processes, with metrics and with traces."""

import statistics
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from allocation_worker.testing.servers import Servers
from bench import clock, workloads
from bench.progress import ProgressBar
from bench.results import Result
from bench.sides import WorkerSide, folder_for_logs

WORK = "processor time a command of `consume` and `relay`, when they are measured"
NOTHING = "nothing"


class MeasuredSide(WorkerSide):
    """The worker with some settings.

    Args:
        servers: The servers.
        name: What is measured.
        variables: The settings.
    """

    def __init__(self, servers: Servers, name: str, variables: Mapping[str, str]) -> None:
        self.name = name
        super().__init__(servers)
        self.settings = {**self.settings, **variables}


class _Sink(BaseHTTPRequestHandler):
    """A collector that keeps nothing."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def _sink() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), _Sink) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def measured(servers: Servers, shown: ProgressBar, *, repeats: int, count: int) -> Result:
    """Compare the worker as it is with one that is measured; the median of some runs of each, by turns."""
    found: dict[str, list[float]] = {}
    with _sink() as url:
        kinds: dict[str, dict[str, str]] = {
            NOTHING: {},
            "text file": {"ALLOCATION_METRICS_FOLDER": str(folder_for_logs())},
            "OTLP metrics": {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_TRACES_EXPORTER": "none"},
            "OTLP metrics and every trace": {"OTEL_EXPORTER_OTLP_ENDPOINT": url},
        }
        for _ in range(repeats):
            for name, variables in kinds.items():
                side = MeasuredSide(servers, name, variables)
                found.setdefault(name, []).append(_used_by(side, count, shown))
                shown.say(f"{WORK}: {name}: {found[name][-1]:.0f} µs")
                servers.database.drop(side.database_url)
    plain = statistics.median(found[NOTHING])
    ratios = {name: statistics.median(runs) / plain for name, runs in found.items() if name != NOTHING}
    return Result(
        work=WORK,
        found=f"{', '.join(f'{name} {ratio:.2f}' for name, ratio in ratios.items())} (of {plain:.0f} µs)",
        figures={"us_a_command": found, "ratios": ratios},
    )


def _used_by(side: WorkerSide, count: int, shown: ProgressBar) -> float:
    """Return the microseconds for each command."""
    load = workloads.allocates(count, skus=1000)
    side.seed(load.stock)
    marks: list[float] = []

    def used() -> float:
        marks.append(side.cpu_seconds())
        return marks[-1]

    run = clock.run_started(side, load, shown.counting(f"{WORK}: {side.name}"), used=used)
    before, after = marks
    return 1e6 * (after - before) / run.commands
