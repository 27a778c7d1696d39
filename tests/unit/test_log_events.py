"""The names of log events are stable, since alerts depend on them."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("allocation_worker", "contracts/allocation_contracts", "harness", "demo", "chaos")
LEVELS = {"debug", "info", "warning", "error", "exception", "critical"}
IS_SLUG = re.compile(r"[a-z]+(_[a-z]+)*").fullmatch


def log_calls() -> Iterator[tuple[str, ast.expr]]:
    """Every call that logs, and its event: `log.info(event)`, and `log(level, event)` of the contracts."""
    for package in PACKAGES:
        for file in (ROOT / package).rglob("*.py"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                if not isinstance(node, ast.Call):
                    continue
                called = ast.unparse(node.func)
                owner, _, method = called.rpartition(".")
                if owner.endswith(("log", "about")) and method in LEVELS:
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", node.args[0]
                elif called.endswith("log") and len(node.args) == 2:
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", node.args[1]


def test_the_calls_are_found() -> None:
    events = {event.value for _, event in log_calls() if isinstance(event, ast.Constant)}
    assert {"starting", "ready", "amqp_connected", "dead_lettered", "event_parked", "waiting"} <= events


def test_every_log_event_is_a_slug() -> None:
    constants = {place: event.value for place, event in log_calls() if isinstance(event, ast.Constant)}
    assert {place: event for place, event in constants.items() if not IS_SLUG(str(event))} == {}


def test_no_log_event_is_put_together_at_run_time() -> None:
    built = [place for place, event in log_calls() if not isinstance(event, ast.Constant | ast.Name | ast.Attribute)]
    assert built == []


def test_a_line_about_a_message_has_its_correlation_id_and_type_too() -> None:
    given = {
        f"{file.relative_to(ROOT)}:{node.lineno}": {keyword.arg for keyword in node.keywords}
        for file in (ROOT / "allocation_worker").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text("utf-8")))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func).endswith(("log.bind", *(f"log.{each}" for each in LEVELS)))
    }
    about_a_message = {place: names for place, names in given.items() if "message_id" in names}
    assert len(about_a_message) >= 4
    assert {place for place, names in about_a_message.items() if not {"correlation_id", "type"} <= names} == set()
