"""Starts a broker and a database server in Docker containers, with testcontainers."""

import os
import secrets
import socket
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tenacity import Retrying, stop_after_delay, wait_fixed

from allocation_worker.testing.servers.controls import Broker, Database

with warnings.catch_warnings():
    # testcontainers 4.15 warns about its own deprecated function while its RabbitMQ module is imported.
    warnings.simplefilter("ignore", DeprecationWarning)
    from testcontainers.community.postgres import PostgresContainer
    from testcontainers.community.rabbitmq import RabbitMqContainer
    from testcontainers.core.config import testcontainers_config
    from testcontainers.core.docker_client import DockerClient

RABBITMQ_IMAGE = os.environ.get("RABBITMQ_IMAGE", "rabbitmq:4-management")
POSTGRES_IMAGE = os.environ.get("POSTGRES_IMAGE", "postgres:18")

_USER = "allocation"
_MANAGEMENT_PORT = 15672
_ENGINE_ANSWERS_WITHIN = 2
_PULL_MOVES_WITHIN = 30
_READY_WITHIN = 60.0


class NoEngineError(RuntimeError):
    """No Docker engine answers, or it lacks an image and cannot pull it."""


def prepare(*images: str) -> None:
    """Check that an engine answers and has these images, by default those of the broker and the database.

    Raises:
        NoEngineError: No engine answers, or an image is missing.
    """
    if not _something_listens():
        raise NoEngineError("no Docker engine answers")
    try:
        _client(_ENGINE_ANSWERS_WITHIN).ping()
    except Exception as error:  # docker-py raises its own errors and those of requests
        raise NoEngineError(f"no Docker engine answers ({error})") from error
    for image in images or (RABBITMQ_IMAGE, POSTGRES_IMAGE):
        if not _has_or_pulls(image):
            raise NoEngineError(f"the image {image} is not there and cannot be pulled")
    if testcontainers_config.tc_host_override is None and _runs_the_bridge():
        testcontainers_config.tc_host_override = "127.0.0.1"
    if not _has_or_pulls(testcontainers_config.ryuk_image):
        # Without this reaper, the containers of a killed process would stay.
        testcontainers_config.ryuk_disabled = True


@contextmanager
def container_servers() -> Iterator[tuple[Broker, Database]]:
    """Start both servers. Stop and remove them at the end of the block."""
    password = secrets.token_hex(8)
    rabbitmq = RabbitMqContainer(RABBITMQ_IMAGE, username=_USER, password=password)
    rabbitmq.with_exposed_ports(5672, _MANAGEMENT_PORT)
    postgres = PostgresContainer(POSTGRES_IMAGE, username=_USER, password=password, dbname=_USER)
    with rabbitmq, postgres:
        broker = _broker(rabbitmq, password)
        Retrying(stop=stop_after_delay(_READY_WITHIN), wait=wait_fixed(0.1), reraise=True)(broker.check)
        yield broker, Database(admin_url=postgres.get_connection_url())


def _broker(container: RabbitMqContainer, password: str) -> Broker:
    host = container.get_container_host_ip()
    port, management_port = container.get_exposed_port(5672), container.get_exposed_port(_MANAGEMENT_PORT)
    return Broker(
        amqp_url=f"amqp://{_USER}:{password}@{host}:{port}/%2F",
        management_url=f"http://{_USER}:{password}@{host}:{management_port}",
    )


def _something_listens() -> bool:
    """Return False at once on machines without Docker. A remote engine is checked by the ping."""
    address = urlsplit(os.environ.get("DOCKER_HOST", "unix:///var/run/docker.sock"))
    if address.scheme != "unix":
        return True
    if not Path(address.path).exists():
        return False
    with socket.socket(socket.AF_UNIX) as probe:
        return probe.connect_ex(address.path) == 0


def _runs_the_bridge() -> bool:
    """Return whether the engine's bridge is on this machine, so that its ports are on the loopback interface."""
    try:
        gateway = _client(_ENGINE_ANSWERS_WITHIN).networks.get("bridge").attrs["IPAM"]["Config"][0]["Gateway"]
        with socket.socket() as probe:
            probe.bind((gateway, 0))
    except Exception:  # noqa: BLE001 - no such network, no such address: leave the choice to testcontainers
        return False
    return True


def _has_or_pulls(image: str) -> bool:
    images = _client(_PULL_MOVES_WITHIN).images
    try:
        images.get(image)
    except Exception:  # noqa: BLE001 - docker-py's ImageNotFound, without a hard dependency on docker-py
        try:
            images.pull(image)
        except Exception:  # noqa: BLE001 - any error means that the image is unavailable
            return False
    return True


def _client(timeout: int) -> Any:  # noqa: ANN401 - docker-py is not typed
    return DockerClient(timeout=timeout).client
