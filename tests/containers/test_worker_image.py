"""The whole service as operators run it: the image, the compose file, and an external client."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import pika
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from tests.containers.stack import Stack, build_worker_image, run, running_stack

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

ANSWER_WITHIN = 30


@pytest.fixture(scope="module")
def worker_image(tmp_path_factory: pytest.TempPathFactory) -> str:
    return build_worker_image(tmp_path_factory.mktemp("context"))


@pytest.fixture(scope="module")
def stack(worker_image: str) -> Iterator[Stack]:
    with running_stack(worker_image) as running:
        yield running


def send(channel: BlockingChannel, type_: str, routing_key: str, body: dict[str, object]) -> str:
    message_id = uuid4().hex
    properties = pika.BasicProperties(
        message_id=message_id, type=type_, content_type="application/json", app_id="the-tests", delivery_mode=2
    )
    channel.basic_publish("allocation.commands", routing_key, json.dumps(body).encode(), properties, mandatory=True)
    return message_id


def answer(channel: BlockingChannel, queue: str, cause: str) -> tuple[str | None, dict[str, object]]:
    """Give the type and the body of the first event that a command has caused."""
    for method, properties, body in channel.consume(queue, auto_ack=True, inactivity_timeout=ANSWER_WITHIN):
        if method is None or properties is None or body is None:
            break
        if (properties.headers or {}).get("causation_id") == cause:
            channel.cancel()
            return properties.type, json.loads(body)
    raise AssertionError(f"No event was caused by {cause} within {ANSWER_WITHIN} s.")


def test_the_image_does_not_run_as_root(worker_image: str) -> None:
    assert run(["docker", "run", "--rm", "--entrypoint", "id", worker_image, "--user"]).strip() == "10001"


def test_a_bad_setting_is_told_in_a_sentence(worker_image: str) -> None:
    command = ["docker", "run", "--rm", "--env", "ALLOCATION_AMQP_URL=nonsense", worker_image, "consume"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 78, done.stderr
    assert "Traceback" not in done.stderr


def test_a_batch_is_created_and_a_line_allocated(stack: Stack) -> None:
    with closing(pika.BlockingConnection(pika.URLParameters(stack.amqp_url))) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        events = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(events, "allocation.events", "#")

        batch = {"batchref": "batch-1", "sku": "CHAIR", "qty": 10, "eta": None}
        created = send(channel, "create-batch.v1", "create-batch", batch)
        assert answer(channel, events, created) == ("batch-created.v1", {**batch, "sequence": 1})

        line = {"orderid": "order-1", "sku": "CHAIR", "lineid": "1", "qty": 3}
        allocated = send(channel, "allocate.v1", "allocate", line)
        assert answer(channel, events, allocated) == (
            "allocated.v1",
            {**line, "batchref": "batch-1", "eta": None, "sequence": 2},
        )


def test_worker_and_relay_end_in_peace(stack: Stack) -> None:
    stack.compose("stop", "worker", "relay")

    assert [stack.exit_code(service) for service in ("worker", "relay")] == [0, 0]
