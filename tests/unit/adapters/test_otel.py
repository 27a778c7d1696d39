"""Where metrics and traces go to, as the variables of OpenTelemetry say."""

import os

import pytest
from structlog.testing import capture_logs

from allocation_worker.adapters import otel

ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("variables", "metrics", "traces"),
    [
        (ENDPOINT, ["OTLPMetricExporter"], ["OTLPSpanExporter"]),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"}, [], ["OTLPSpanExporter"]),
        ({"OTEL_METRICS_EXPORTER": "otlp"}, ["OTLPMetricExporter"], []),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, ["OTLPMetricExporter"], []),
        (
            {**ENDPOINT, "OTEL_TRACES_EXPORTER": "console, otlp"},
            ["OTLPMetricExporter"],
            ["ConsoleSpanExporter", "OTLPSpanExporter"],
        ),
    ],
)
def test_each_signal_goes_where_its_variables_say(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], metrics: list[str], traces: list[str]
) -> None:
    given(monkeypatch, variables)
    assert [make.__name__ for make in otel._exporters("metrics")] == metrics
    assert [make.__name__ for make in otel._exporters("traces")] == traces


@pytest.mark.parametrize(
    "variables", [{"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, {"OTEL_METRICS_EXPORTER": "prometheus"}]
)
def test_an_exporter_that_is_not_installed_is_told_and_left_out(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]
) -> None:
    given(monkeypatch, {**ENDPOINT, **variables})
    with capture_logs() as lines:
        assert list(otel._exporters("metrics")) == []
    assert [line["event"] for line in lines] == ["telemetry_unavailable"]


def given(monkeypatch: pytest.MonkeyPatch, variables: dict[str, str]) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
