"""`topology` and `status` on a broker whose administrator has set a policy for all queues."""

import json
import shlex

import pytest

from allocation_worker.adapters.rabbitmq.management import request
from harness.processes import run_verb
from harness.service import RunningService


@pytest.fixture
def house(fresh_service: RunningService) -> RunningService:
    """A service in a virtual host in which all messages expire after a minute."""
    broker, vhost = fresh_service.servers.broker, fresh_service.amqp_url.rpartition("/")[2]
    body = {"pattern": ".*", "definition": {"message-ttl": 60_000}, "priority": 7, "apply-to": "queues"}
    request(broker.management_url, "PUT", f"policies/{vhost}/house", body)
    return fresh_service


def kinds(service: RunningService, *words: str) -> list[str]:
    done = run_verb(*words, "--json", settings=service.settings)
    return [each["kind"] for each in json.loads(done.stdout)["findings"]]


def test_with_the_management_api_it_is_found_and_ended(house: RunningService) -> None:
    house.settings["ALLOCATION_MANAGEMENT_URL"] = house.servers.broker.management_url
    told = "The policy house sets message-ttl 60000 for allocation."
    done = run_verb("topology", "--check", settings=house.settings)
    assert (done.returncode, told in done.stderr) == (4, True)
    assert told in run_verb("status", settings=house.settings).stdout
    assert "house-policy" in kinds(house, "status")
    declared = run_verb("topology", settings=house.settings)
    assert (declared.returncode, declared.stdout) == (0, "All exchanges, queues and bindings exist.\n")
    assert kinds(house, "topology", "--check") == []
    assert "house-policy" not in kinds(house, "status")


def test_without_it_the_command_is_printed_and_ends_it_too(house: RunningService) -> None:
    declared = run_verb("topology", settings=house.settings)
    vhost = house.amqp_url.rpartition("/")[2]
    command = f"rabbitmqctl set_policy --vhost {vhost} --priority 1000 --apply-to queues allocation "
    assert command in declared.stdout
    assert "Policies of the broker: not seen" in run_verb("status", settings=house.settings).stdout
    if house.servers.how == "programs":
        house.servers.broker.ctl(*shlex.split(declared.stdout.partition("or run: rabbitmqctl ")[2]))
        house.settings["ALLOCATION_MANAGEMENT_URL"] = house.servers.broker.management_url
        assert kinds(house, "topology", "--check") == []


def test_an_api_that_is_away_or_refuses_is_one_sentence(house: RunningService) -> None:
    house.settings["ALLOCATION_MANAGEMENT_URL"] = "http://me:canary@127.0.0.1:1"
    for words, code in ((("topology", "--check"), 69), (("topology",), 69), (("status", "--check"), 69)):
        done = run_verb(*words, settings=house.settings)
        assert done.returncode == code, done.stdout + done.stderr
        assert "The management API at http://me:***@127.0.0.1:1 cannot be used" in done.stdout + done.stderr
        assert "canary" not in done.stdout + done.stderr
    house.settings["ALLOCATION_MANAGEMENT_URL"] = "amqp://me:canary@broker"
    wrong = run_verb("topology", settings=house.settings)
    assert (wrong.returncode, "ALLOCATION_MANAGEMENT_URL is wrong: it must be a URL" in wrong.stderr) == (78, True)
