"""The proxy injects network faults between a plain client and a plain server."""

import socket
import socketserver
import threading
from collections.abc import Iterator
from time import monotonic

import pytest

from allocation_worker.testing.waiting import wait_until
from harness.proxy import ConnectionFault, Proxy


class Echo(socketserver.BaseRequestHandler):
    """Answers each piece with itself, in capitals."""

    def handle(self) -> None:
        while piece := self.request.recv(65536):
            self.server.heard.append(piece)  # type: ignore[attr-defined] # set by the fixture
            try:
                self.request.sendall(piece.upper())
            except ConnectionError:
                return


@pytest.fixture
def heard() -> list[bytes]:
    return []


@pytest.fixture
def proxy(heard: list[bytes]) -> Iterator[Proxy]:
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Echo) as server:
        server.daemon_threads = True
        server.heard = heard  # type: ignore[attr-defined] # for the handler
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        with Proxy(f"echo://user:p%40ss@127.0.0.1:{server.server_address[1]}/place?x=1") as proxy:
            yield proxy
        server.shutdown()
        thread.join()


def connect(proxy: Proxy) -> socket.socket:
    port = int(proxy.url.partition("@")[2].partition("/")[0].partition(":")[2])
    return socket.create_connection(("127.0.0.1", port), timeout=5)


def ask(client: socket.socket, question: bytes) -> bytes:
    client.sendall(question)
    answer = b""
    while len(answer) < len(question):
        piece = client.recv(65536)
        if not piece:
            raise ConnectionResetError
        answer += piece
    return answer


def is_reset(client: socket.socket) -> bool:
    try:
        client.recv(1)
    except ConnectionResetError:
        return True
    return False


def test_its_address_is_the_servers_with_another_port(proxy: Proxy) -> None:
    assert proxy.url.startswith("echo://user:p%40ss@127.0.0.1:")
    assert proxy.url.endswith("/place?x=1")


def test_what_is_said_passes_both_ways_and_so_does_the_end(proxy: Proxy) -> None:
    with connect(proxy) as client:
        assert ask(client, b"hello") == b"HELLO"
        assert ask(client, b"a" * 1_000_000) == b"A" * 1_000_000
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
    wait_until(lambda: proxy.connections == 0, within=5, otherwise=lambda: str(proxy.connections))


def test_while_the_server_is_away_connections_are_reset_and_refused(proxy: Proxy) -> None:
    with connect(proxy) as client:
        ask(client, b"hello")
        proxy.vanish()
        assert is_reset(client)
    with pytest.raises(ConnectionRefusedError):
        connect(proxy)
    proxy.accept()
    with connect(proxy) as client:
        assert ask(client, b"again") == b"AGAIN"


def test_those_that_are_open_stay_when_new_ones_are_refused(proxy: Proxy) -> None:
    with connect(proxy) as client:
        ask(client, b"hello")
        proxy.refuse()
        assert ask(client, b"still here") == b"STILL HERE"


def test_nothing_passes_while_it_is_held_and_all_of_it_afterwards(proxy: Proxy, heard: list[bytes]) -> None:
    with connect(proxy) as client:
        ask(client, b"hello")
        proxy.hold()
        client.sendall(b"anyone?")
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
        assert heard == [b"hello"]
        proxy.release()
        client.settimeout(5)
        assert client.recv(100) == b"ANYONE?"


def test_slowed_down_each_piece_takes_its_time(proxy: Proxy) -> None:
    with connect(proxy) as client:
        ask(client, b"hello")
        proxy.slow_down(0.1)
        began = monotonic()
        ask(client, b"hello")
        assert monotonic() - began >= 0.2
        proxy.slow_down(0)


@pytest.mark.parametrize("fault", [ConnectionFault.CUT_BEFORE, ConnectionFault.CUT_AFTER, ConnectionFault.CUT_ANSWER])
def test_a_trap_cuts_the_connection_as_often_as_it_was_set_to(
    proxy: Proxy, heard: list[bytes], fault: ConnectionFault
) -> None:
    trap = proxy.trap(b"COMMIT", fault, times=2)
    for _ in range(2):
        with connect(proxy) as client:
            assert ask(client, b"work") == b"WORK"
            client.sendall(b"COMMIT")
            assert is_reset(client)
    trap.wait()
    with connect(proxy) as client:
        assert ask(client, b"COMMIT") == b"COMMIT"
    expected = 1 if fault is ConnectionFault.CUT_BEFORE else 3
    wait_until(lambda: heard.count(b"COMMIT") == expected, within=5, otherwise=lambda: str(heard))


def test_silence_swallows_the_answers_and_nothing_else(proxy: Proxy, heard: list[bytes]) -> None:
    trap = proxy.trap(b"COMMIT", ConnectionFault.SILENCE)
    with connect(proxy) as client:
        client.sendall(b"COM")
        assert client.recv(3) == b"COM"
        client.sendall(b"MIT")
        trap.wait()
        client.settimeout(0.2)
        with pytest.raises(TimeoutError):
            client.recv(1)
    assert b"".join(heard) == b"COMMIT"


def test_a_server_that_is_not_there_is_a_connection_that_ends() -> None:
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    with Proxy(f"echo://u@127.0.0.1:{port}") as other, connect(other) as client:
        assert client.recv(1) == b""
