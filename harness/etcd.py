"""An etcd server, as a private process."""

import http.client
import json
import os
import signal
from contextlib import closing
from pathlib import Path

from allocation_worker.testing.servers.programs import Program, ProgramError, find_program, free_port
from allocation_worker.testing.servers.reaper import MARK

_TIMEOUT = 5.0


class Etcd:
    """The store in which Patroni keeps who leads, as one private process on a machine of its own.

    Args:
        folder: The folder of `private_folder`. The server creates its own inside.
    """

    def __init__(self, folder: Path) -> None:
        program = find_program("etcd")
        if program is None:
            raise ProgramError("etcd is missing; `make test-ha` installs it (on Debian, as root).")
        self.folder = folder / "etcd"
        self.folder.mkdir()
        self.host = f"127.0.0.1:{free_port()}"
        peers = f"http://127.0.0.1:{free_port()}"
        options = {
            "name": "etcd",
            "data-dir": str(self.folder / "data"),
            "listen-client-urls": f"http://{self.host}",
            "advertise-client-urls": f"http://{self.host}",
            "listen-peer-urls": peers,
            "initial-advertise-peer-urls": peers,
            "initial-cluster": f"etcd={peers}",
        }
        command = [str(program), *(f"--{name}={value}" for name, value in options.items())]
        env = {"PATH": os.environ.get("PATH", os.defpath), MARK: str(folder)}
        self._program = Program(command, env=env, folder=self.folder)

    def start(self) -> None:
        """Start the server, again or for the first time, and wait until it answers."""
        self._program.launch()
        self._program.wait_until(self._check)

    def kill(self) -> None:
        """End the server as a power cut would."""
        self._program.end(signal.SIGKILL)

    def _check(self) -> None:
        host, _, port = self.host.partition(":")
        with closing(http.client.HTTPConnection(host, int(port), timeout=_TIMEOUT)) as connection:
            connection.request("GET", "/health")
            if json.loads(connection.getresponse().read()).get("health") != "true":
                raise ConnectionError("etcd is not healthy yet")
