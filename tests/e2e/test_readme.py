"""README, tutorial and the pages with code work when their steps are followed."""

import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from allocation_contracts import BatchCreated, CreateBatch
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.waiting import wait_until
from harness.client import ExternalClient
from harness.service import RunningService
from tests.e2e.following import ROOT, Block, blocks, follow

INSTALL = "pip install"
"""The environment of the tests has everything already."""


@pytest.fixture
def environment(servers: Servers, tmp_path: Path) -> dict[str, str]:
    """A home, and the servers that run already for the one command that starts private ones."""
    return {
        "HOME": str(tmp_path),
        "ALLOCATION_TEST_SERVERS": "given",
        "ALLOCATION_AMQP_URL": servers.broker.amqp_url,
        "ALLOCATION_MANAGEMENT_URL": servers.broker.management_url,
        "ALLOCATION_DATABASE_URL": servers.database.admin_url,
    }


def without_install(steps: list[Block]) -> list[Block]:
    """The steps without the lines that make a virtual environment."""
    kept = [re.sub(rf"^(python3 -m venv|\. .venv|{INSTALL}).*\n", "", step.text, flags=re.MULTILINE) for step in steps]
    return [Block(step.language, text, step.file) for step, text in zip(steps, kept, strict=True) if text]


def test_the_readme_can_be_followed_to_the_letter(environment: dict[str, str], tmp_path: Path) -> None:
    steps = without_install(blocks(ROOT / "README.md", "Try it"))
    assert [step.file for step in steps] == [None, "subscribe.py", "publish.py", "test_order.py"]
    [start, subscribe, publish, order] = steps
    seen = "".join(f"until grep -q {event} events.txt; do sleep 0.2; done\n" for event in ("BatchCreated", "Allocated"))
    runs = [
        Block("sh", "python subscribe.py > events.txt &\n", None),
        Block("sh", f"python publish.py\n{seen}cat events.txt\n", None),
        Block("sh", "pytest -p no:cacheprovider test_order.py\n", None),
    ]
    printed = follow([start, subscribe, runs[0], publish, runs[1], order, runs[2]], tmp_path, environment)
    assert "order-17/1 Allocated(orderid='order-17'" in printed[4]
    assert "batchref='batch-1'" in printed[4]
    assert "1 passed" in printed[6]


def test_the_tutorial_can_be_followed_to_the_letter(environment: dict[str, str], tmp_path: Path) -> None:
    steps = without_install(blocks(ROOT / "docs" / "tutorial.md"))
    printed = follow(steps, tmp_path, environment)
    promised = [
        (number, line)
        for number, step in enumerate(steps)
        if step.language == "text"
        for line in step.text.splitlines()
    ]
    assert promised
    for number, line in promised:
        pattern = re.escape(line).replace(r"\.\.\.", ".*")
        assert re.search(pattern, printed[number - 1]), line
    assert not (tmp_path / "try-allocation").exists(), "the last step cleans up"


def test_the_tests_on_the_page_about_testing_pass(environment: dict[str, str], tmp_path: Path) -> None:
    page = [each.text for each in blocks(ROOT / "docs" / "howto" / "test.md") if each.language == "python"]
    steps = [Block("python", text, f"test_{number}.py") for number, text in enumerate(page)]
    printed = follow([*steps, Block("sh", "pytest -p no:cacheprovider\n", None)], tmp_path, environment)
    assert "2 passed" in printed[-1]


@pytest.fixture(scope="module")
def stocked(client: ExternalClient) -> ExternalClient:
    assert client.ask(CreateBatch(batchref="batch-1", sku="RED-CHAIR", qty=100)).type == BatchCreated.TYPE
    return client


def test_the_page_about_publishing_can_be_followed_over_http(
    servers: Servers, service: RunningService, stocked: ExternalClient, tmp_path: Path
) -> None:
    [_, publish, read] = blocks(ROOT / "docs" / "howto" / "publish.md", "Over HTTP, by hand")
    address = f"MANAGEMENT={servers.broker.management_url}/api VHOST={urlsplit(service.amqp_url).path[1:]}\n"
    look = read.text.splitlines()[0].replace("ack_requeue_false", "ack_requeue_true")
    answered = f'until [ "$({look})" != "[]" ]; do sleep 0.2; done\n'
    steps = [Block("sh", address, None), publish, Block("sh", answered, None), read]
    printed = follow(steps, tmp_path, {})
    assert printed[1] == '{"routed":true}'
    assert "batch-1" in printed[3]
    assert any(event.type == "allocated.v1" for event in stocked.answers("order-18/1"))


def test_the_python_in_the_contracts_readme_publishes_all_that_it_says(
    service: RunningService, stocked: ExternalClient, tmp_path: Path
) -> None:
    [code] = [each.text for each in blocks(ROOT / "contracts" / "README.md", "Publish commands")]
    code = code.replace('os.environ["AMQP_URL"]', repr(service.amqp_url)).replace("5000", "10")
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, timeout=60, check=True)
    causes = {f"order-{number}/1" for number in range(2, 10)}
    wait_until(
        lambda: causes <= {event.causation_id for event in list(stocked.received)},
        within=20,
        otherwise=lambda: str(stocked.received[-3:]),
    )


@pytest.mark.usefixtures("stocked")
def test_the_page_about_subscribing_can_be_followed(service: RunningService, tmp_path: Path) -> None:
    [program] = [each for each in blocks(ROOT / "docs" / "howto" / "subscribe.md") if each.language == "python"]
    # An order that is sent again is answered by the same event again, so it does not matter when the queue is there.
    send = "allocation-worker send allocate --orderid order-20 --sku RED-CHAIR --qty 1"
    runs = f"python subscribe.py > events.txt &\nuntil grep -q order-20 events.txt; do {send}; done\n"
    steps = [Block("python", program.text, "subscribe.py"), Block("sh", runs, None)]
    follow(steps, tmp_path, {"ALLOCATION_AMQP_URL": service.amqp_url})
