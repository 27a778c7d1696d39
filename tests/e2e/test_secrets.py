"""No verb and no process prints a password, in any format of an address."""

import subprocess
from pathlib import Path

import pytest
from pika.spec import BasicProperties

from allocation_contracts import Allocate, CreateBatch
from allocation_worker.testing.waiting import wait_until
from harness.client import read_dead_letters
from harness.login import new_password, own_login
from harness.processes import WorkerProcess, ended, run_verb
from harness.service import RunningService

BEGIN, END = "firstHalf", "otherHalf"
"""The two halves of every password; what stands between them has a meaning in a URL, or had one."""

AWAY = "127.0.0.1:1"


def _says_nothing(text: str) -> None:
    assert BEGIN not in text
    assert END not in text


@pytest.mark.parametrize("between", ["/", "#", "@", "?x="])
def test_a_password_that_is_not_encoded_ends_every_verb_with_one_sentence_without_it(between: str) -> None:
    secret = f"{BEGIN}{between}{END}"
    for name, url in {
        "ALLOCATION_AMQP_URL": f"amqp://me:{secret}@{AWAY}/shop",
        "ALLOCATION_DATABASE_URL": f"postgresql://me:{secret}@{AWAY}/shop",
        "ALLOCATION_REDIS_URL": f"redis://me:{secret}@{AWAY}/0",
    }.items():
        done = run_verb("consume", settings={name: url})
        assert done.returncode == 78
        assert done.stderr.startswith(f"{name} is wrong: ")
        assert done.stderr.count("\n") == 1
        assert "%" in done.stderr, "the way to encode it"
        _says_nothing(done.stdout + done.stderr)


DATABASES = [
    f"postgresql://me:{BEGIN}%2F%40{END}@{AWAY}/shop",
    f"postgresql+psycopg2://me:{BEGIN}%23{END}@{AWAY},{AWAY}/shop\n",
    f"postgresql://me@{AWAY}/shop?password={BEGIN}{END}",
    f"postgresql://{AWAY}/shop?user=me&sslpassword={BEGIN}{END}&options=-csearch_path%3Dx",
]


@pytest.mark.parametrize("database", DATABASES)
def test_no_verb_prints_the_password_of_a_database(database: str) -> None:
    for verb in ("migrate", "verify"):
        done = run_verb(verb, settings={"ALLOCATION_DATABASE_URL": database})
        assert done.returncode == 69
        assert "Connection refused" in done.stderr
        _says_nothing(done.stdout + done.stderr)


BROKERS = [
    f"amqp://me:{BEGIN}%2F%40{END}@{AWAY}/%2Fteam%2Fshop",
    f"amqps://me:{BEGIN}%23{END}@{AWAY},amqps://me:{BEGIN}@{AWAY}\n",
    f"amqps://me:{BEGIN}@{AWAY}/shop?password={END}&ssl_options={{'server_hostname':'{END}'}}",
]


@pytest.mark.parametrize("broker", BROKERS)
def test_no_verb_prints_the_password_of_a_broker(broker: str) -> None:
    done = run_verb("topology", settings={"ALLOCATION_AMQP_URL": broker})
    assert done.returncode == 69
    assert "Connection refused" in done.stderr
    _says_nothing(done.stdout + done.stderr)


@pytest.mark.parametrize(
    "redis", [f"redis://me:{BEGIN}%2F{END}@{AWAY}/0", f"redis://{AWAY}?password={BEGIN}", f"rediss://:{BEGIN}@{AWAY}/0"]
)
def test_no_verb_prints_the_password_of_redis(redis: str) -> None:
    done = run_verb("show", "sku", "LAMP", settings={"ALLOCATION_REDIS_URL": redis})
    assert done.returncode == 69
    assert "Connection refused" in done.stderr
    _says_nothing(done.stdout + done.stderr)


@pytest.mark.parametrize("verb", ["consume", "relay", "project"])
def test_no_process_prints_a_password_while_it_waits(verb: str, tmp_path: Path) -> None:
    settings = {
        "ALLOCATION_AMQP_URL": BROKERS[0],
        "ALLOCATION_DATABASE_URL": DATABASES[1],
        "ALLOCATION_REDIS_URL": f"redis://me:{BEGIN}%2F{END}@{AWAY}/0",
        "ALLOCATION_LOG_LEVEL": "debug",
    }
    process = WorkerProcess(verb, settings=settings, log=tmp_path / "log")
    with ended(process):
        wait_until(lambda: process.log.count("Connection refused") > 1, within=60, otherwise=lambda: process.log)
        assert process.terminate() == 0
    assert "***@127.0.0.1:1" in process.log
    _says_nothing(process.log)


def test_a_password_from_a_file_is_changed_without_a_restart_and_stands_nowhere(
    fresh_service: RunningService, tmp_path: Path
) -> None:
    if fresh_service.servers.how != "programs":
        pytest.skip("only servers that are ours get other users")
    passwords = [new_password(), new_password()]
    printed = []
    with fresh_service.client() as client, own_login(fresh_service, tmp_path, passwords[0]) as login:
        processes = [
            fresh_service.start(verb, settings={"ALLOCATION_LOG_LEVEL": "debug"}) for verb in ("consume", "relay")
        ]
        client.ask(CreateBatch(batchref="b", sku="LAMP", qty=10))
        login.change(passwords[1])
        for process in processes:
            process.wait_for("amqp_lost")
        assert client.ask(Allocate(orderid="o", sku="LAMP", qty=1)).type == "allocated.v1"
        client.publish_raw(
            b"{", routing_key="allocate", properties=BasicProperties(message_id="bad", type="allocate.v1")
        )
        wait_until(lambda: fresh_service.count_dead_letters() == 1, within=30, otherwise=fresh_service.logs)
        for verb in (
            ["settings"],
            ["settings", "--json"],
            ["verify"],
            ["topology", "--check"],
            ["dead-letters", "list", "--json"],
            ["explain", "nobody"],
        ):
            done = run_verb(*verb, settings=fresh_service.settings)
            assert done.stdout + done.stderr
            printed.append(done.stdout + done.stderr)
        [letter] = read_dead_letters(fresh_service.amqp_url, expected=1)
        printed.append(str(letter))
        pids = [str(process.pid) for process in processes]
        # The arguments and the environment.
        ps = subprocess.run(["ps", "eww", "-o", "args", *pids], capture_output=True, text=True, check=True)
        assert "ALLOCATION_DATABASE_URL_FILE" in ps.stdout
        printed += [ps.stdout, fresh_service.logs()]
    for text in printed:
        for password in passwords:
            assert password not in text
            assert password[6:] not in text
