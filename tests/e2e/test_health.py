"""Signs of life: what `health` says of the processes, and what it costs."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from allocation_contracts import Allocate, CreateBatch
from allocation_worker.testing.servers.redis_server import RedisServer
from allocation_worker.testing.waiting import wait_until
from harness.processes import run_verb
from harness.proxy import Proxy
from harness.service import RunningService


@pytest.fixture
def watched(fresh_service: RunningService, tmp_path: Path) -> RunningService:
    fresh_service.settings["ALLOCATION_HEALTH_FOLDER"] = str(tmp_path / "health")
    return fresh_service


def health(service: RunningService, *words: str) -> tuple[int, str]:
    done = run_verb("health", *words, settings=service.settings)
    return done.returncode, done.stderr


def wait_for_health(service: RunningService, code: int, *words: str) -> str:
    wait_until(
        lambda: health(service, *words)[0] == code,
        within=30,
        every=0.2,
        otherwise=lambda: f"{health(service, *words)}\n{service.logs()}",
    )
    return health(service, *words)[1]


def beating(service: RunningService, verb: str) -> set[str]:
    """The loops that have moved in all processes of a verb."""
    done = run_verb("health", verb, "--json", settings=service.settings)
    processes = json.loads(done.stdout)["processes"]
    return set.intersection(*({loop["name"] for loop in each["loops"] if loop["beat"]} for each in processes))


def test_processes_that_work_are_alive_and_ready_and_leave_nothing_behind(
    watched: RunningService, redis_server: RedisServer
) -> None:
    watched.settings["ALLOCATION_REDIS_URL"] = redis_server.new_database()
    code, told = health(watched)
    assert (code, told.count("\n")) == (4, 1)
    assert told.startswith("No process of the worker has left a sign of life in ")
    processes = [watched.start("consume"), *watched.start_relays(), watched.start("project")]
    for process in processes:
        process.wait_for("ready")
    assert wait_for_health(watched, 0, "--ready") == ""
    with watched.client() as client:
        client.ask(CreateBatch(batchref="b", sku="LAMP", qty=5))
        client.ask(Allocate(orderid="o", sku="LAMP", qty=1))
    done = run_verb("health", "consume", "--json", settings=watched.settings)
    (Path(watched.settings["ALLOCATION_HEALTH_FOLDER"]) / "relay-of-somebody-else.json").write_text("[]")
    assert health(watched) == (0, "")
    (Path(watched.settings["ALLOCATION_HEALTH_FOLDER"]) / "relay-of-somebody-else.json").unlink()
    [consume] = json.loads(done.stdout)["processes"]
    assert {loop["name"] for loop in consume["loops"]} >= {"worker of allocation.orders", "worker of allocation.stock"}
    assert consume["pid"] == processes[0].pid
    wait_until(
        lambda: beating(watched, "relay") == {"relay", "pruning", "holds", "network of allocation-worker relay"},
        within=30,
        otherwise=lambda: f"{beating(watched, 'relay')}",
    )
    for process in processes:
        assert process.terminate() == 0
    assert list(Path(watched.settings["ALLOCATION_HEALTH_FOLDER"]).iterdir()) == []


@pytest.mark.parametrize("verb", ["consume", "relay"])
def test_servers_that_are_away_make_a_process_unready_and_restart_nobody(watched: RunningService, verb: str) -> None:
    with Proxy(watched.database_url) as database, Proxy(watched.amqp_url) as broker:
        process = watched.start(
            verb, settings={"ALLOCATION_DATABASE_URL": database.url, "ALLOCATION_AMQP_URL": broker.url}
        )
        process.wait_for("ready")
        wait_for_health(watched, 0, "--ready")
        broker.refuse()
        broker.cut()
        assert "is not connected to the broker" in wait_for_health(watched, 4, "--ready")
        assert health(watched) == (0, "")
        broker.accept()
        wait_for_health(watched, 0, "--ready")


def test_tail_is_alive_without_a_broker_and_ready_with_one(watched: RunningService) -> None:
    with Proxy(watched.amqp_url) as broker:
        tail = watched.start("tail", settings={"ALLOCATION_AMQP_URL": broker.url})
        wait_for_health(watched, 0, "tail", "--ready")
        broker.refuse()
        broker.cut()
        assert "is not connected to the broker" in wait_for_health(watched, 4, "tail", "--ready")
        assert health(watched, "tail", "--max-age", "1") == (0, "")
        broker.accept()
        wait_for_health(watched, 0, "tail", "--ready")
        assert tail.terminate() == 0
    assert health(watched)[0] == 4


@pytest.mark.parametrize("verb", ["consume", "relay"])
def test_a_process_waits_for_the_database_alive(watched: RunningService, verb: str) -> None:
    process = watched.start(verb, settings={"ALLOCATION_DATABASE_URL": "postgresql://x@127.0.0.1:1/x"})
    process.wait_for("waiting")
    wait_for_health(watched, 0, verb)
    assert "is starting, and waits for the database" in wait_for_health(watched, 4, verb, "--ready")
    assert health(watched, verb) == (0, "")


def test_a_process_that_is_stopped_in_its_tracks_is_not_alive(watched: RunningService) -> None:
    process = watched.start("consume")
    process.wait_for("ready")
    wait_for_health(watched, 0)
    process.send(signal.SIGSTOP)
    try:
        assert "has given no sign of life for" in wait_for_health(watched, 4, "--max-age", "1")
    finally:
        process.send(signal.SIGCONT)
    wait_for_health(watched, 0, "--max-age", "5")


def test_a_probe_costs_little_more_than_the_interpreter(watched: RunningService) -> None:
    """The whole command line takes half a second."""
    watched.start("consume").wait_for("ready")
    wait_for_health(watched, 0, "--ready")
    env = {**os.environ, **watched.settings}

    def cost(*words: str) -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        for _ in range(10):
            subprocess.run([sys.executable, *words], env=env, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / 10

    assert cost("-m", "allocation_worker", "health", "--ready") - cost("-c", "pass") < 0.05
    heavy = ("pydantic", "typer", "pika", "sqlalchemy", "structlog", "typing", "pathlib", "importlib.metadata")
    asked = (
        "import sys; from allocation_worker.bootstrap.health import probe; code = probe(['--ready']); "
        f"print([name for name in {heavy!r} if name in sys.modules]); sys.exit(code)"
    )
    # Without `site`, which imports some of them for the editable installation.
    here = f"import sys; sys.path[:0] = [{str(Path.cwd())!r}]; "
    program = [sys.executable, "-S", "-c", here + asked]
    done = subprocess.run(program, env=env, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_systemd_is_told(watched: RunningService, tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(30)
        process = watched.start("relay", settings={"NOTIFY_SOCKET": str(tmp_path / "notify")})
        assert systemd.recv(100) == b"READY=1\nWATCHDOG=1"
        assert systemd.recv(100) == b"WATCHDOG=1"
        process.wait_for("ready")
        process.terminate()
        while (told := systemd.recv(100)) == b"WATCHDOG=1":
            pass
        assert told == b"STOPPING=1"


def test_a_folder_that_cannot_be_written_stops_nothing(watched: RunningService) -> None:
    watched.settings["ALLOCATION_HEALTH_FOLDER"] = "/proc/nowhere"
    process = watched.start("consume")
    process.wait_for("sign_of_life_unwritable")
    process.wait_for("ready")
    assert process.terminate() == 0
    assert process.log.count("sign_of_life_unwritable") == 1
