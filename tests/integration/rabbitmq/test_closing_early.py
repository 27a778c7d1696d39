"""A connection that is closed while it is being opened."""

import logging
import socket
import threading

import pytest
import structlog

from allocation_contracts.amqp.link import Link, LinkFactory
from allocation_worker.adapters.rabbitmq.link import worker_link

DEADLINE = 10


def close_while_it_opens(new_link: LinkFactory) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        silent.settimeout(DEADLINE)
        url = f"amqp://guest:guest@127.0.0.1:{silent.getsockname()[1]}/"
        link = new_link([url], name="closing early", on_connected=lambda _: None, on_lost=lambda: None)
        link.start()
        with silent.accept()[0] as connection:
            assert connection.recv(4) == b"AMQP"
            link.stop()
            link.join(DEADLINE)
        assert "closing early" not in {thread.name for thread in threading.enumerate()}


def test_the_worker_says_nothing_of_it() -> None:
    with structlog.testing.capture_logs() as logs:
        close_while_it_opens(worker_link)
    assert [entry for entry in logs if entry["log_level"] != "debug"] == []


def test_nor_does_a_program_of_another_team(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, "allocation_contracts"):
        close_while_it_opens(Link)
    assert [record for record in caplog.records if record.name.startswith("allocation_contracts")] == []
