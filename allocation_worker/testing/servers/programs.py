"""Runs a server's program as a private process, with its own folder and port."""

import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from tenacity import Retrying, retry_if_not_exception_type, stop_after_delay, wait_fixed

from allocation_worker.testing.servers import reaper

_RABBITMQ_FOLDER = Path("/usr/lib/rabbitmq/bin")  # the wrappers on Debian's PATH switch to the user rabbitmq
_POSTGRES_FOLDERS = Path("/usr/lib/postgresql")
_READY_WITHIN = 60.0
_ENDS_WITHIN = 60.0
_PORTS = range(15_000, 32_000)  # below the range of outgoing connections, one of which could take a stopped server's


class ProgramError(RuntimeError):
    """A server's program failed."""


def find_program(name: str) -> Path | None:
    """Return a program of RabbitMQ or PostgreSQL: the newest in Debian's folders, else the one on the PATH."""
    versions = sorted(_POSTGRES_FOLDERS.glob("[0-9]*/bin"), key=lambda folder: float(folder.parent.name), reverse=True)
    found = shutil.which(
        name, path=os.pathsep.join(map(str, [_RABBITMQ_FOLDER, *versions, os.environ.get("PATH", "")]))
    )
    return Path(found) if found else None


def missing_programs() -> list[str]:
    """Return the names of the programs that private servers need and this machine lacks."""
    return [name for name in ("rabbitmq-server", "rabbitmqctl", "initdb", "postgres") if find_program(name) is None]


@contextmanager
def private_folder() -> Iterator[Path]:
    """Yield a temporary folder. At the end, even after a SIGKILL, its servers are ended and it is removed."""
    folder = Path(mkdtemp(prefix="allocation-servers-"))
    folder.chmod(0o711)  # PostgreSQL runs as another user and must reach its own folder inside
    command = [sys.executable, "-I", reaper.__file__, str(folder)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, cwd="/", start_new_session=True) as watcher:  # noqa: S603
        try:
            yield folder
        finally:
            # A byte, and not only the end of the pipe: a forked child could hold the pipe open.
            watcher.communicate(b".")


def free_port() -> int:
    """Return a free port of the loopback interface, and reserve it until this process ends."""
    while True:
        port = _PORTS.start + secrets.randbelow(len(_PORTS))
        holder = socket.socket()
        try:
            holder.bind(("127.0.0.1", port))
        except OSError:
            holder.close()
            continue
        # From here on, a server that sets SO_REUSEADDR can bind the port, and the next call here cannot.
        holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        holder.detach()  # never closed: the server binds seconds later, and again whenever it is started again
        return port


class Program:
    """One server process, which can be launched again after its end."""

    def __init__(self, command: list[str], *, env: Mapping[str, str], folder: Path, user: str | None = None) -> None:
        self._command = command
        self._env = env
        self._folder = folder
        self._user = user
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> Path:
        """The file with the program's output."""
        return self._folder / "output.log"

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def launch(self) -> None:
        """Start the process, in a process group of its own, and return at once."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the command is ours
                self._command,
                env=self._env,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self._user,
                group=self._user,
                extra_groups=[] if self._user else None,
            )

    def wait_until(self, ready: Callable[[], object]) -> None:
        """Call `ready` until it no longer raises.

        Raises:
            ProgramError: The process has ended.
            Exception: The last exception of `ready`, at the deadline.
        """
        trying = Retrying(
            stop=stop_after_delay(_READY_WITHIN),
            wait=wait_fixed(0.05),
            retry=retry_if_not_exception_type(ProgramError),
            reraise=True,
        )
        trying(self._check_then, ready)

    def send(self, sign: signal.Signals) -> None:
        """Send a signal to the process, if it runs."""
        if self._process is not None and self.running:
            os.kill(self._process.pid, sign)

    def end(self, sign: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to the process, or to its whole group, and wait until the process has ended."""
        if self._process is None:
            return
        if group and self.running:
            os.killpg(self._process.pid, sign)
        else:
            self.send(sign)
        self._process.wait(_ENDS_WITHIN)

    def _check_then(self, ready: Callable[[], object]) -> None:
        if not self.running:
            tail = self.log.read_text(errors="replace")[-2000:] if self.log.exists() else ""
            raise ProgramError(f"{Path(self._command[0]).name} has ended: {tail}")
        ready()
