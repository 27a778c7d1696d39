"""Connections to Redis, with time limits on all that can hang, and its errors in our words."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NoReturn
from urllib.parse import urlsplit

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from allocation_worker.adapters.redis.scripts import BUSY, CLOSED, MISSING
from allocation_worker.service_layer.ports import StoreUnavailableError
from allocation_worker.service_layer.read_model import GenerationClosedError, GenerationMissingError

_CONNECT_TIMEOUT = 5.0


def connect(url: str, *, name: str, timeout: float) -> Redis:
    """A client; it connects when it is first used.

    It does not try again by itself: a connection that was lost may mean a Redis that has lost data, which its user must
    hear of. Of one that was lost while it was not in use nobody hears; `ReadModel.incarnation` tells.

    Args:
        url: redis:// or rediss://, with the number of the database as its path.
        name: what Redis shows the connection as.
        timeout: the longest that one command may take, in seconds.
    """
    return Redis.from_url(
        url,
        client_name=name.replace(" ", "-"),
        decode_responses=True,
        socket_connect_timeout=_CONNECT_TIMEOUT,
        socket_timeout=timeout,
        socket_keepalive=True,
        retry=Retry(NoBackoff(), 0),
    )


def masked(url: str) -> str:
    """The address as it may stand in a log or an error: without the password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


@contextmanager
def translated(place: str) -> Iterator[None]:
    """Turn whatever Redis says no with into StoreUnavailableError: nothing is lost by asking again."""
    try:
        yield
    except RedisError as error:
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
