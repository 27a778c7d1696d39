"""A connection that is closed while it is being opened."""

import logging
import socket
from threading import Thread

import pytest
import structlog

from allocation_contracts.amqp.channels import ChannelLoop
from allocation_worker.adapters.rabbitmq.connection import ConnectionLoop

DEADLINE = 10


def test_the_worker_says_nothing_of_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, structlog.testing.capture_logs() as logs:
        silent.settimeout(DEADLINE)
        url = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}/"
        loop = ConnectionLoop([url], name="tests", on_connected=lambda _: None, on_lost=lambda: None)
        thread = Thread(target=loop.run, daemon=True)
        thread.start()
        with silent.accept()[0] as connection:
            assert connection.recv(4) == b"AMQP"
            loop.stop()
            thread.join(DEADLINE)
        assert not thread.is_alive()
    assert [entry for entry in logs if entry["log_level"] != "debug"] == []


def test_nor_does_a_publisher(caplog: pytest.LogCaptureFixture) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent, caplog.at_level(logging.INFO, "allocation_contracts"):
        silent.settimeout(DEADLINE)
        url = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}/"
        loop = ChannelLoop(url, name="tests", on_opened=lambda _: None, on_lost=lambda _: None)
        loop.start()
        with silent.accept()[0] as connection:
            assert connection.recv(4) == b"AMQP"
            loop.stop()
        assert not loop._thread.is_alive()
    assert [record for record in caplog.records if record.name.startswith("allocation_contracts")] == []
