"""Connects to Redis, with time limits on everything that can hang, and translates its errors."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NoReturn

from redis import Redis
from redis.backoff import NoBackoff
from redis.credentials import CredentialProvider
from redis.exceptions import RedisError
from redis.retry import Retry

from allocation_worker.adapters.redis.address import RedisAddress
from allocation_worker.adapters.redis.scripts import BUSY, CLOSED, MISSING
from allocation_worker.service_layer.ports import GenerationClosedError, GenerationMissingError, StoreUnavailableError

_CONNECT_TIMEOUT = 5.0


def connect(latest: Callable[[], RedisAddress], *, name: str, timeout: float) -> Redis:
    """Return a client. It connects when it is first used.

    It does not retry by itself: a lost connection may mean that Redis has restarted and lost data, so the caller must
    see the error. A connection that is lost while idle raises none; compare `ReadModel.incarnation` for that case.

    Args:
        latest: Gives the address. Its options override the defaults here. User and password are asked for anew for each
            connection.
        name: The name that Redis shows for the connection.
        timeout: The longest time for one command, in seconds.
    """
    arguments: dict[str, Any] = {
        "client_name": name.replace(" ", "-"),
        "decode_responses": True,
        "socket_connect_timeout": _CONNECT_TIMEOUT,
        "socket_timeout": timeout,
        "socket_keepalive": True,
        "retry": Retry(NoBackoff(), 0),
    }
    arguments |= latest().arguments
    if arguments["password"]:
        del arguments["username"], arguments["password"]
        arguments["credential_provider"] = _Credentials(latest)
    return Redis(**arguments)


class _Credentials(CredentialProvider):
    """User and password for the next connection."""

    def __init__(self, latest: Callable[[], RedisAddress]) -> None:
        self._latest = latest

    def get_credentials(self) -> tuple[str] | tuple[str, str]:
        arguments = self._latest().arguments
        password = arguments["password"] or ""
        return (arguments["username"], password) if arguments["username"] else (password,)


@contextmanager
def translated(client: Redis, place: str) -> Iterator[None]:
    """Translate the errors of Redis to StoreUnavailableError or a generation's error. All calls are safe to repeat.

    An error that does not come from our scripts also closes the idle connections, so that the next call connects again.
    A demoted server answers READONLY and keeps its connections open, while the address may lead to a new primary.

    Raises:
        GenerationMissingError: Redis holds no read model.
        GenerationClosedError: The generation being built was replaced, or has expired.
        StoreUnavailableError: Redis is unreachable, or another process is building the read model.
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
            "Another rebuild of the read model has begun since, or this one was idle for too long."
        ) from error
    if BUSY in text:
        raise StoreUnavailableError("Another process is building the read model.") from error
    raise StoreUnavailableError(f"Redis at {place}: {text or type(error).__name__}") from error
