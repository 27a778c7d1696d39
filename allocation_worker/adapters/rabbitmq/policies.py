"""Policies: what an administrator sets for many queues at once, beside the arguments that they were declared with.

Of the policies that fit a queue, only the one with the highest priority is in force. So a policy of our own, with a
higher priority, ends what another one would do. Operator policies are merged with it: of each limit the lower counts.
"""

import json
import re
import shlex
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

_APPLIES_TO_QUEUES = frozenset({"all", "queues", "quorum_queues"})

_HARM: Mapping[str, str] = {
    "message-ttl": "messages that wait for longer than that vanish, or are dead-lettered",
    "expires": "the queue is deleted if nobody uses it for so long",
    "delivery-limit": "a message is dropped or dead-lettered after so many deliveries",
}
"""What a policy can do to the worker's queues in spite of their arguments."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """A policy of a virtual host, or an operator policy."""

    name: str
    pattern: str
    definition: Mapping[str, Any]
    priority: int
    apply_to: str
    operator: bool = False

    def fits(self, queue: str) -> bool:
        """Return whether it applies to a quorum queue of this name."""
        if self.apply_to not in _APPLIES_TO_QUEUES:
            return False
        try:
            return re.search(self.pattern, queue) is not None
        except re.error:
            return False  # Erlang's patterns know a few things that Python's do not


# A policy cannot be empty. This says what the arguments of all our queues say.
OWN_POLICY = Policy(
    name="allocation",
    pattern=r"^allocation\.",
    definition={"overflow": "reject-publish"},
    priority=1000,
    apply_to="queues",
)
"""The policy that keeps other policies away from the worker's queues."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HousePolicy:
    """A policy that does harm to queues of the worker: which key does, its value, and the queues."""

    policy: Policy
    key: str
    queues: Sequence[str]

    def __str__(self) -> str:
        kind = "operator policy" if self.policy.operator else "policy"
        others = f" and {len(self.queues) - 1} more" if len(self.queues) > 1 else ""
        remedy = (
            "it is merged with every policy, and only an administrator can except these queues from it"
            if self.policy.operator
            else "run `allocation-worker topology`, which sets a policy of a higher priority or says how to"
        )
        return (
            f"The {kind} {self.policy.name} sets {self.key} {self.policy.definition[self.key]} for {self.queues[0]}"
            f"{others}: {_HARM[self.key]}; {remedy}."
        )


def own_policy(others: Iterable[Policy], queues: Sequence[str]) -> Policy:
    """Return our policy, with a priority above all others that fit one of the queues."""
    rivals = [
        each.priority
        for each in others
        if not each.operator and each.name != OWN_POLICY.name and any(map(each.fits, queues))
    ]
    priority = max([OWN_POLICY.priority, *(rival + 1 for rival in rivals)])
    return Policy(
        name=OWN_POLICY.name,
        pattern=OWN_POLICY.pattern,
        definition=OWN_POLICY.definition,
        priority=priority,
        apply_to=OWN_POLICY.apply_to,
    )


def house_policies(policies: Sequence[Policy], queues: Sequence[str]) -> Iterator[HousePolicy]:
    """Yield the policies in force that do harm to some of these queues."""
    hit: dict[tuple[str, bool, str], tuple[Policy, list[str]]] = {}
    for queue in queues:
        for operator in (False, True):
            fitting = [each for each in policies if each.operator is operator and each.fits(queue)]
            for policy in sorted(fitting, key=lambda each: each.priority)[-1:]:
                for key in _HARM.keys() & policy.definition.keys():
                    hit.setdefault((policy.name, operator, key), (policy, []))[1].append(queue)
    for (_, _, key), (policy, names) in sorted(hit.items()):
        yield HousePolicy(policy=policy, key=key, queues=names)


def command_line(vhost: str) -> str:
    """Return the command that sets our policy."""
    policy = OWN_POLICY
    options = f"--vhost {shlex.quote(vhost)} --priority {policy.priority} --apply-to {policy.apply_to}"
    definition = json.dumps(dict(policy.definition))
    return f"rabbitmqctl set_policy {options} {policy.name} {shlex.quote(policy.pattern)} {shlex.quote(definition)}"
