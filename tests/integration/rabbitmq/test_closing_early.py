"""A connection that is closed while it is being opened."""

import logging
import socket
import threading

import pytest
import structlog
from pika import spec
from pika.frame import Method

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


@pytest.mark.parametrize("stage", ["silent", "shaking hands", "open"])
def test_a_broker_that_no_longer_answers_does_not_keep_the_socket_open(stage: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as frozen:
        frozen.settimeout(DEADLINE)
        opened = threading.Event()
        link = Link(
            [f"amqp://guest:guest@127.0.0.1:{frozen.getsockname()[1]}/"],
            name="frozen",
            on_connected=lambda _: opened.set(),
            on_lost=lambda: None,
        )
        link.start()
        with frozen.accept()[0] as connection:
            connection.settimeout(DEADLINE)
            assert connection.recv(8).startswith(b"AMQP")
            if stage != "silent":
                connection.sendall(Method(0, spec.Connection.Start(server_properties={}, mechanisms="PLAIN")).marshal())
                assert connection.recv(4096)
            if stage == "open":
                connection.sendall(Method(0, spec.Connection.Tune(10, 131072, 0)).marshal())
                assert connection.recv(4096)
                connection.sendall(Method(0, spec.Connection.OpenOk()).marshal())
                assert opened.wait(DEADLINE)
            link.stop()
            link.join(DEADLINE)
            while connection.recv(4096):
                pass  # until the end of the stream: the socket was closed
