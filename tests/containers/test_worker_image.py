"""The whole service as operators run it: the image, the compose file, and an external client."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from time import monotonic
from uuid import uuid4

import pika
import psycopg2
import pytest
from pika.adapters.blocking_connection import BlockingChannel

from allocation_contracts.amqp import urls
from allocation_worker.testing.waiting import wait_until
from tests.containers.stack import Stack, run

pytestmark = [pytest.mark.containers, pytest.mark.timeout(600)]

ANSWER_WITHIN = 30

SLOW = """
    CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN PERFORM pg_sleep(20); RETURN NEW; END $$;
    CREATE TRIGGER slow BEFORE INSERT ON outbox_pages FOR EACH ROW EXECUTE FUNCTION slow();
"""
"""Has the transaction of a group take 20 s."""


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


def is_slow(stack: Stack) -> bool:
    with closing(psycopg2.connect(stack.dsn)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
        return cursor.fetchall() == [(1,)]


def inside(name: str, *command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["docker", "exec", name, *command], capture_output=True, text=True, timeout=60, check=False)


def inspect(name: str, what: str) -> str:
    return run(["docker", "inspect", "--format", f"{{{{json {what}}}}}", name]).strip()


def wait_for_readiness(name: str, *, ready: bool) -> None:
    wait_until(
        lambda: inside(name, "allocation-worker", "health", "--ready").returncode == (0 if ready else 4),
        within=120,
        otherwise=lambda: inside(name, "allocation-worker", "health", "--json").stdout,
    )


@contextmanager
def one_more(stack: Stack, *words: str) -> Iterator[str]:
    """Run a verb in a container of its own, as the operator does, and give its name."""
    name = f"{stack.project}-{words[0]}"
    stack.compose("run", "--detach", "--no-deps", "--name", name, "operator", *words)
    try:
        yield name
    finally:
        run(["docker", "rm", "--force", name])


def test_the_image_does_not_run_as_root(worker_image: str) -> None:
    """By number, since Kubernetes cannot tell of a name whether it is root."""
    assert inspect(worker_image, ".Config.User") == '"10001:10001"'
    assert run(["docker", "run", "--rm", "--entrypoint", "id", worker_image]).startswith(
        "uid=10001(allocation) gid=10001"
    )


def test_the_image_lists_what_it_is_made_of(worker_image: str) -> None:
    told = run(["docker", "run", "--rm", "--entrypoint", "cat", worker_image, "/opt/allocation/sbom.cdx.json"])
    listed = {part["name"]: part["version"] for part in json.loads(told)["components"]}
    freeze = "from importlib.metadata import distributions; print(*(f'{d.name}=={d.version}' for d in distributions()))"
    command = ["docker", "run", "--rm", "--entrypoint", "/opt/allocation/bin/python", worker_image, "-c", freeze]
    there = dict(each.split("==") for each in run(command).split())
    assert listed == there
    assert {"allocation-worker", "allocation-contracts", "pika", "psycopg2-binary"} <= set(listed)


@pytest.mark.parametrize(
    ("signal", "verb", "code"),
    [
        ("TERM", "consume", "0"),
        ("TERM", "relay", "0"),
        ("TERM", "tail", "0"),
        ("INT", "tail", "130"),
        ("TERM", "migrate", "143"),
    ],
)
def test_a_signal_before_the_interpreter_runs_is_heeded(worker_image: str, signal: str, verb: str, code: str) -> None:
    """The kernel would withhold it from the first process of a container. Here the shell sends it to itself."""
    entrypoint, *words = json.loads(inspect(worker_image, ".Config.Entrypoint"))
    script = f'kill -{signal} $$; exec "$@"'
    words = [*words[:-1], "sh", "-c", script, "sh", words[-1], verb]
    name = run(["docker", "create", "--entrypoint", entrypoint, worker_image, *words]).strip()
    try:
        run(["docker", "start", name])
        wait_until(
            lambda: inspect(name, ".State.Status") == '"exited"',
            within=30,
            otherwise=lambda: run(["docker", "logs", name]),
        )
        assert inspect(name, ".State.ExitCode") == code
    finally:
        run(["docker", "rm", "--force", name])


def test_a_bad_setting_is_told_in_a_sentence(worker_image: str) -> None:
    command = ["docker", "run", "--rm", "--env", "ALLOCATION_AMQP_URL=nonsense", worker_image, "consume"]

    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 78, done.stderr
    assert "Traceback" not in done.stderr


def test_a_batch_is_created_and_a_line_allocated(stack: Stack) -> None:
    with closing(pika.BlockingConnection(urls.parameters(stack.amqp_url(), "the-tests"))) as connection:
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


@pytest.mark.parametrize("service", ["worker", "relay"])
def test_a_process_has_no_rights_that_it_does_not_need(stack: Stack, service: str) -> None:
    name = stack.container(service)
    status = inside(name, "cat", "/proc/1/status").stdout
    wanted = ("Uid:\t10001\t", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1")
    assert [line for line in wanted if line not in status] == []
    refused = inside(name, "sh", "-c", "touch /opt/allocation/x; touch ~/x; touch /var/tmp/x")
    assert refused.stderr.count("Read-only file system") + refused.stderr.count("No such file") == 3


def test_each_role_is_healthy_as_long_as_it_works(stack: Stack) -> None:
    """A verb that leaves no signs of life, and works for longer than a probe waits, is healthy, too."""
    with one_more(stack, "tail", "--json") as tail, one_more(stack, "status", "--watch", "--json") as other:
        names = [stack.container("worker"), stack.container("relay"), tail, other]
        wait_until(
            lambda: {inspect(name, ".State.Health.Status") for name in names} == {'"healthy"'},
            within=90,
            otherwise=lambda: f"{[inspect(name, '.State.Health') for name in names]}",
        )
        for name in names[:3]:
            assert inside(name, "allocation-worker", "health", "--ready").returncode == 0
        run(["docker", "stop", "--time", "10", tail])
        assert inspect(tail, ".State.ExitCode") == "0"


def test_a_broker_that_is_away_is_no_reason_for_a_restart(stack: Stack) -> None:
    names = [stack.container(service) for service in ("worker", "relay")]
    stack.compose("stop", "rabbitmq")
    try:
        for name in names:
            wait_for_readiness(name, ready=False)
            assert inside(name, "allocation-worker", "health").returncode == 0
    finally:
        stack.compose("start", "rabbitmq")
    for name in names:
        wait_for_readiness(name, ready=True)


def test_a_stop_waits_for_what_was_begun(stack: Stack) -> None:
    """It waits for longer than the ten seconds that Docker gives by itself."""
    with (
        closing(pika.BlockingConnection(urls.parameters(stack.amqp_url(), "the-tests"))) as connection,
        closing(psycopg2.connect(stack.dsn)) as database,
    ):
        channel = connection.channel()
        channel.confirm_delivery()
        events = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(events, "allocation.events", "#")
        batch = {"batchref": "batch-2", "sku": "TABLE", "qty": 10, "eta": None}
        created = send(channel, "create-batch.v1", "create-batch", batch)
        answer(channel, events, created)
        database.autocommit = True
        cursor = database.cursor()
        cursor.execute(SLOW)
        sent = send(channel, "allocate.v1", "allocate", {"orderid": "order-2", "sku": "TABLE", "lineid": "1", "qty": 3})
        wait_until(lambda: is_slow(stack), within=30, otherwise=lambda: "The worker has begun nothing.")
        began = monotonic()
        stack.compose("stop", "worker")
        assert monotonic() - began > 10
        cursor.execute("DROP TRIGGER slow ON outbox_pages")
        assert stack.exit_code("worker") == 0
        assert answer(channel, events, sent)[0] == "allocated.v1"
    stack.compose("start", "worker")


def test_worker_and_relay_end_in_peace(stack: Stack) -> None:
    stack.compose("stop", "worker", "relay")

    assert [stack.exit_code(service) for service in ("worker", "relay")] == [0, 0]
