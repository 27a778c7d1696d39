"""A Redis that is demoted, behind the same address."""

from collections.abc import Iterator

import pytest
from redis import Redis

from allocation_worker.service_layer.ports import StoreUnavailableError
from allocation_worker.testing.servers.programs import free_port
from allocation_worker.testing.servers.redis_server import local_redis
from tests.integration.postgres.staging import create, order, until
from tests.integration.postgres.store import PostgresStore
from tests.integration.redis.rig import Models, delivered


@pytest.fixture
def alone(projected_store: PostgresStore) -> Iterator[Models]:
    """Both models, the read model in a Redis of its own."""
    projected_store.empty()
    with local_redis() as server, Redis.from_url(server.url, decode_responses=True) as client:
        yield Models(projected_store, server.url, client)


def demote(redis: Redis) -> None:
    """Make it a replica of a primary that is away, as a failover leaves it for a while."""
    redis.replicaof("127.0.0.1", free_port())


def promote(redis: Redis) -> None:
    redis.replicaof("NO", "ONE")


def projects_connection(redis: Redis) -> set[str]:
    """The ids of the connections that the projection has open."""
    return {client["id"] for client in redis.client_list() if client["name"] == "tests"}


def test_the_projection_leaves_it_with_the_first_event_and_loses_none(alone: Models) -> None:
    projector = alone.projector()
    projector.process(delivered(alone.answer(create("b", 10))))
    before = projects_connection(alone.redis)
    demote(alone.redis)
    events = alone.answer(order("o"))
    with pytest.raises(StoreUnavailableError, match="read only replica"):
        projector.process(delivered(events))
    until(lambda: not before & projects_connection(alone.redis))
    promote(alone.redis)
    projector.process(delivered(events))
    assert alone.differences() == []


def test_the_projection_leaves_it_without_an_event(alone: Models) -> None:
    projector = alone.projector()
    projector.tend()
    before = projects_connection(alone.redis)
    demote(alone.redis)
    with pytest.raises(StoreUnavailableError, match="is a replica"):
        projector.tend()
    until(lambda: not before & projects_connection(alone.redis))
    promote(alone.redis)
    projector.tend()


def test_readers_read_from_a_replica(alone: Models) -> None:
    alone.projector().process(delivered(alone.answer(create("b", 10))))
    demote(alone.redis)
    assert alone.views.batch("b") is not None
