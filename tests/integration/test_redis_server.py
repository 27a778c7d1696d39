"""The private Redis server that other tests use."""

import pytest
from redis import Redis
from redis.exceptions import ConnectionError as RedisConnectionError

from allocation_worker.testing.servers import NoServersError, NotOursError
from allocation_worker.testing.servers.reaper import processes_of
from allocation_worker.testing.servers.redis_server import RedisServer, local_redis, start_redis


def test_databases_are_separate_and_empty(redis_server: RedisServer) -> None:
    one, other = redis_server.new_database(), redis_server.new_database()
    with Redis.from_url(one) as first, Redis.from_url(other) as second:
        first.set("key", "value")
        assert (first.dbsize(), second.dbsize()) == (1, 0)


@pytest.mark.parametrize("durable", [False, True])
def test_a_killed_redis_keeps_what_it_was_told_to_keep(*, durable: bool) -> None:
    with local_redis(durable=durable) as server, Redis.from_url(server.url) as client:
        client.set("key", "value")
        server.kill()
        with pytest.raises(RedisConnectionError):
            server.check()
        server.start()
        assert client.get("key") == (b"value" if durable else None)
        folder = server.folder.parent
    assert not folder.exists()
    assert processes_of(folder) == []


def test_a_given_one_takes_no_orders_and_one_that_is_absent_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with local_redis() as server:
        monkeypatch.setenv("ALLOCATION_TEST_SERVERS", "given")
        monkeypatch.setenv("ALLOCATION_REDIS_URL", server.url)
        with start_redis() as given, pytest.raises(NotOursError):
            given.kill()
        server.kill()
        with pytest.raises(NoServersError, match="leads to no Redis"), start_redis():
            pass
