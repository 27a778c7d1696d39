"""The address of the management API, and what policies do to queues."""

import pytest

from allocation_contracts.url_parts import AddressError
from allocation_worker.adapters.rabbitmq.management import ManagementError, request
from allocation_worker.adapters.rabbitmq.management_address import parse
from allocation_worker.adapters.rabbitmq.policies import OWN_POLICY, Policy, command_line, house_policies, own_policy

QUEUES = ["allocation.orders", "allocation.stock"]


def policy(name: str = "house", **changes: object) -> Policy:
    given = {"pattern": ".*", "definition": {"message-ttl": 1}, "priority": 0, "apply_to": "all", "operator": False}
    return Policy(name=name, **{**given, **changes})  # type: ignore[arg-type]


def found(*policies: Policy) -> list[tuple[str, str, int]]:
    return [(each.policy.name, each.key, len(each.queues)) for each in house_policies(policies, QUEUES)]


def test_an_address_is_shown_without_its_password_and_its_options() -> None:
    address = parse("https://me:canary@broker/rabbit?cacertfile=/etc/ca.pem")
    assert str(address) == "https://me:***@broker:15671/rabbit"
    assert address.files == {"cacertfile": "/etc/ca.pem"}
    assert parse("http://localhost").arguments["port"] == 15672


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("amqp://me:canary@broker", "it must be a URL such as http://"),
        ("http://me:canary@one,two", "of one host"),
        ("http://me:canary@broker?verify=no", "there is no option verify; there is cacertfile"),
        ("http://me:c@nary@broker", "write '/' as %2F"),
    ],
)
def test_a_bad_address_is_refused_without_its_password(url: str, told: str) -> None:
    with pytest.raises(AddressError) as refused:
        parse(url)
    assert told in str(refused.value)
    assert "canary" not in str(refused.value)


def test_an_api_that_does_not_answer_is_told_with_the_setting() -> None:
    with pytest.raises(
        ManagementError, match=r"http://me:\*\*\*@127\.0\.0\.1:1 .*ALLOCATION_MANAGEMENT_URL"
    ) as refused:
        request("http://me:canary@127.0.0.1:1", "GET", "overview")
    assert "canary" not in str(refused.value)


def test_a_policy_that_fits_is_found_for_each_of_its_harmful_keys() -> None:
    assert found(policy(definition={"message-ttl": 1, "expires": 2, "max-length": 3})) == [
        ("house", "expires", 2),
        ("house", "message-ttl", 2),
    ]
    assert found(policy(pattern="stock$")) == [("house", "message-ttl", 1)]
    assert found(policy(apply_to="quorum_queues")) == [("house", "message-ttl", 2)]


def test_a_policy_that_does_not_fit_does_no_harm() -> None:
    assert found(policy(pattern="^shop"), policy(apply_to="exchanges"), policy(apply_to="classic_queues")) == []
    assert found(policy(pattern="(?<")) == []  # Erlang may read it, and Python does not


def test_only_the_policy_with_the_highest_priority_counts() -> None:
    assert found(policy(), OWN_POLICY) == []
    assert found(policy(priority=OWN_POLICY.priority + 1), OWN_POLICY) == [("house", "message-ttl", 2)]


def test_an_operator_policy_counts_beside_it() -> None:
    assert found(policy("ops", operator=True), OWN_POLICY) == [("ops", "message-ttl", 2)]


def test_ours_goes_above_all_that_fit() -> None:
    rival = policy(priority=5000)
    assert own_policy([rival, OWN_POLICY], QUEUES).priority == 5001
    assert own_policy([policy(priority=5000, pattern="^shop"), policy(operator=True)], QUEUES) == OWN_POLICY


def test_the_command_can_be_pasted_into_a_shell() -> None:
    assert command_line("my shop") == (
        "rabbitmqctl set_policy --vhost 'my shop' --priority 1000 --apply-to queues allocation '^allocation\\.' "
        """'{"overflow": "reject-publish"}'"""
    )
