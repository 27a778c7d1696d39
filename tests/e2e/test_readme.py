"""What the README shows to those who publish and subscribe works as it stands there."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from allocation_contracts import Allocate, BatchCreated, CreateBatch
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient
from harness.service import RunningService

README = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
CONTRACTS_README = (Path(__file__).parents[2] / "contracts" / "README.md").read_text("utf-8")
SHOWN_URL = "amqp://guest:guest@localhost/"


@pytest.fixture(scope="module")
def stocked(outside: ExternalClient) -> ExternalClient:
    assert outside.ask(CreateBatch(batchref="batch-1", sku="RED-CHAIR", qty=100)).type == BatchCreated.TYPE
    return outside


def snippet(section: str, language: str, service: RunningService) -> str:
    text = README.split(f"## {section}\n")[1].split("\n## ")[0]
    [code] = re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)
    return str(code).replace(SHOWN_URL, service.amqp_url)


def run(*command: str, folder: Path, path: str = os.environ["PATH"]) -> str:
    done = subprocess.run(
        command, cwd=folder, env={**os.environ, "PATH": path}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_python_that_publishes_is_answered(
    service: RunningService, stocked: ExternalClient, tmp_path: Path
) -> None:
    run(sys.executable, "-c", snippet("I publish", "python", service), folder=tmp_path)
    wait_until(
        lambda: any(event.type == "allocated.v1" for event in stocked.answers("order-17/1")),
        within=10,
        otherwise=lambda: str(stocked.received),
    )


def test_the_python_in_the_contracts_readme_publishes_all_that_it_says(
    service: RunningService, stocked: ExternalClient, tmp_path: Path
) -> None:
    code = CONTRACTS_README.split("## Publish commands\n")[1].split("```python\n")[1].split("```")[0]
    code = code.replace('os.environ["AMQP_URL"]', repr(service.amqp_url)).replace("5000", "10")
    run(sys.executable, "-c", code, folder=tmp_path)
    causes = {f"order-{number}/1" for number in range(2, 10)}
    wait_until(
        lambda: causes <= {event.causation_id for event in list(stocked.received)},
        within=20,
        otherwise=lambda: str(stocked.received[-3:]),
    )


@pytest.fixture
def rabbitmqadmin(servers: Servers, service: RunningService, tmp_path: Path) -> str:
    """A PATH on which rabbitmqadmin speaks to the broker of the test."""
    program = shutil.which("rabbitmqadmin")
    if servers.how != "programs" or program is None:
        pytest.skip("rabbitmqadmin comes with the installed programs")
    management = urlsplit(servers.broker.management_url)
    vhost = urlsplit(service.amqp_url).path[1:]
    options = (
        f"-H {management.hostname} -P {management.port} -u {management.username} -p {management.password} -V {vhost}"
    )
    wrapper = tmp_path / "bin" / "rabbitmqadmin"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {program} {options} "$@"\n')
    wrapper.chmod(0o755)
    return f"{wrapper.parent}:{os.environ['PATH']}"


@pytest.mark.usefixtures("stocked")
def test_the_three_lines_for_rabbitmqadmin_are_answered(
    service: RunningService, rabbitmqadmin: str, tmp_path: Path
) -> None:
    declare, publish, get = snippet("I publish", "sh", service).splitlines()
    run("sh", "-ec", declare, folder=tmp_path, path=rabbitmqadmin)
    assert run("sh", "-ec", publish, folder=tmp_path, path=rabbitmqadmin) == "Message published\n"
    answers: list[str] = []

    def answered() -> bool:
        answers.append(run("sh", "-ec", get, folder=tmp_path, path=rabbitmqadmin))
        return "allocated" in answers[-1]

    wait_until(answered, within=20, otherwise=lambda: str(answers), every=0.2)
    assert "batch-1" in answers[-1]


@pytest.fixture
def subscriber(service: RunningService, tmp_path: Path) -> Iterator[Path]:
    """The README's subscriber at work; where it prints."""
    printed = tmp_path / "printed"
    with printed.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-c", snippet("I subscribe", "python", service)],
            cwd=tmp_path,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
        wait_until(
            lambda: "shipping.allocations" in service.servers.broker.queue_depths(service.amqp_url),
            within=20,
            otherwise=printed.read_text,
        )
        yield printed
        process.kill()
        process.wait()


def test_the_python_that_subscribes_is_handed_the_events_that_it_wants(
    stocked: ExternalClient, subscriber: Path
) -> None:
    cause = stocked.send(Allocate(orderid="order-20", sku="RED-CHAIR", qty=1))
    wait_until(lambda: cause in subscriber.read_text(), within=20, otherwise=subscriber.read_text)
    assert "orderid='order-20'" in subscriber.read_text()
