"""What the scenarios have in common."""

from collections.abc import Callable, Sequence

from allocation_worker.testing.waiting import wait_until
from harness.checker.events import check
from harness.client import ExternalClient
from harness.service import RunningService

PATIENCE = 20.0
"""Seconds until an answer that has not come counts as lost."""


def answered(client: ExternalClient, message_ids: Sequence[str] | None = None) -> str | None:
    """What is missing, if anything is."""
    client.wait_confirmed()
    try:
        client.wait_answered(message_ids, within=PATIENCE)
    except TimeoutError as error:
        return str(error)
    return None


def faults_of(service: RunningService, client: ExternalClient) -> Sequence[str]:
    """The checker's verdict, also where the service does not come to rest."""
    if answered(client):
        return check(client.sent, client.received).faults
    try:
        return service.judge(client).faults
    except TimeoutError as error:
        return [str(error)[:300], *check(client.sent, client.received).faults]


def not_seen(condition: Callable[[], bool], sentence: str, *, within: float = PATIENCE) -> list[str]:
    """Wait for what the scenario builds on; where a bug prevents it, the scenario goes on with this sentence."""
    try:
        wait_until(condition, within=within, every=0.1, otherwise=lambda: sentence)
    except TimeoutError:
        return [sentence]
    return []
