"""Connections to Redis, with time limits on all that can hang, and its errors in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from allocation_worker.adapters.redis.address import RedisAddress
from allocation_worker.adapters.redis.scripts import BUSY, CLOSED, MISSING
from allocation_worker.service_layer.ports import GenerationClosedError, GenerationMissingError, StoreUnavailableError

_CONNECT_TIMEOUT = 5.0


def connect(address: RedisAddress, *, name: str, timeout: float) -> Redis:
    """Return a client; it connects when it is first used.

    It does not try again by itself: a connection that was lost may mean a Redis that has lost data, which its user must
    hear of. Of one that was lost while it was not in use nobody hears; `ReadModel.incarnation` tells.

    Args:
        address: Its own options win over the defaults here.
        name: What Redis shows the connection as.
        timeout: The longest that one command may take, in seconds.
    """
    arguments: dict[str, Any] = {
        "client_name": name.replace(" ", "-"),
        "decode_responses": True,
        "socket_connect_timeout": _CONNECT_TIMEOUT,
        "socket_timeout": timeout,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
    }
    return Redis(**arguments | dict(address.arguments))


@contextmanager
def translated(client: Redis, place: str) -> Iterator[None]:
    """Turn every error of Redis into StoreUnavailableError: nothing is lost by asking again.

    An error that is not of our scripts also closes the connections that are not in use, so that the next call connects
    anew. A server that was demoted answers READONLY, and its connections stay open; behind the same address there may
    be another primary by now.
    """
    try:
        yield
    except RedisError as error:
        if not any(ours in str(error) for ours in (MISSING, CLOSED, BUSY)):
            client.connection_pool.disconnect(inuse_connections=False)
        _raise(error, place)


def _raise(error: RedisError, place: str) -> NoReturn:
    text = str(error)
    if MISSING in text:
        raise GenerationMissingError(
            f"There is no read model in Redis at {place} yet, or it was lost; `allocation-worker project` builds it."
        ) from error
    if CLOSED in text:
        raise GenerationClosedError(
            "Another rebuild of the read model has begun since, or this one stood still."
        ) from error
    if BUSY in text:
        raise StoreUnavailableError("Another process builds the read model now; it is waited for.") from error
    raise StoreUnavailableError(f"Redis at {place}: {text or type(error).__name__}") from error
