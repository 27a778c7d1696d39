"""A collector: it takes metrics and traces by OTLP over HTTP, and keeps them."""

import gzip
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any, NamedTuple

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


class SeenSpan(NamedTuple):
    """A span as it came."""

    name: str
    trace: str
    id: str
    parent: str
    state: str
    verb: str
    resource: dict[str, str]
    attributes: dict[str, str]
    failed: bool


class Collector:
    """What has come so far.

    Attributes:
        url: Where to send it.
        spans: All spans.
        metrics: The names of the metrics, each with the attributes of its points.
    """

    def __init__(self) -> None:
        self.url = ""
        self.spans: list[SeenSpan] = []
        self.metrics: dict[str, list[dict[str, str]]] = {}

    def take(self, path: str, body: bytes) -> None:
        if path == "/v1/traces":
            for of_resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                resource = _read(of_resource.resource.attributes)
                for of_scope in of_resource.scope_spans:
                    self.spans += [_span(span, resource) for span in of_scope.spans]
        elif path == "/v1/metrics":
            for of_resource in ExportMetricsServiceRequest.FromString(body).resource_metrics:
                for of_scope in of_resource.scope_metrics:
                    for metric in of_scope.metrics:
                        points = getattr(metric, metric.WhichOneof("data")).data_points
                        self.metrics.setdefault(metric.name, []).extend(_read(each.attributes) for each in points)


def _read(attributes: Any) -> dict[str, str]:  # noqa: ANN401 - of protobuf
    return {each.key: each.value.string_value for each in attributes}


def _span(span: Any, resource: dict[str, str]) -> SeenSpan:  # noqa: ANN401 - of protobuf
    return SeenSpan(
        name=span.name,
        trace=span.trace_id.hex(),
        id=span.span_id.hex(),
        parent=span.parent_span_id.hex(),
        state=span.trace_state,
        resource=resource,
        verb=resource.get("allocation.verb", resource["service.name"]),
        attributes=_read(span.attributes),
        failed=span.status.code == span.status.STATUS_CODE_ERROR,
    )


@contextmanager
def collector() -> Iterator[Collector]:
    """Run a collector on a free port until the block ends."""
    kept = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            kept.take(self.path, gzip.decompress(body) if self.headers.get("Content-Encoding") == "gzip" else body)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        kept.url = f"http://127.0.0.1:{server.server_port}"
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield kept
        finally:
            server.shutdown()
            thread.join()
