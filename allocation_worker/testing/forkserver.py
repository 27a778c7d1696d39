"""Starts the worker's processes in milliseconds instead of seconds.

A fork server imports everything once, and forks for each process. Each child runs as `allocation-worker VERB`. When the
pipe to the fork server closes, it kills its children and exits, so no child outlives the program that started it.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Self

_POLL = 0.002
_ENDS_WITHIN = 10.0


class ForkServerError(RuntimeError):
    """The fork server itself has ended."""


class ForkServer:
    """The client of a fork server. Use it in a `with` block, from one thread."""

    def __init__(self) -> None:
        # -P imports the installed package, not a folder of the same name in the current directory.
        self._process = subprocess.Popen(  # noqa: S603 - this very module
            [sys.executable, "-P", "-m", __name__],
            bufsize=0,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._asked = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._asked:
            self._process.kill()  # it has no children, and may still be importing
        if self._process.stdin is not None and self._process.stdout is not None:
            self._process.stdin.close()
            self._process.wait(_ENDS_WITHIN)
            self._process.stdout.close()

    def start(self, *arguments: str, settings: Mapping[str, str], log: Path) -> "ForkedProcess":
        """Start `allocation-worker ARGUMENTS`.

        Args:
            arguments: The verb and its options.
            settings: Environment variables, added to those of this process.
            log: The file to which stderr and stdout are appended.
        """
        log.touch()
        pid = self._ask(action="start", arguments=arguments, settings=dict(settings), log=str(log))
        return ForkedProcess(self, pid, arguments, log)

    def _ask(self, **request: object) -> Any:  # noqa: ANN401 - JSON
        if self._process.stdin is None or self._process.stdout is None:
            raise ForkServerError("The fork server has no pipes.")
        self._asked = True
        try:
            self._process.stdin.write(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise ForkServerError(f"The fork server of the worker's processes has ended: {error}.") from error
        answer = self._process.stdout.readline()
        if not answer:
            raise ForkServerError("The fork server of the worker's processes has ended.")
        return json.loads(answer)


class ForkedProcess:
    """A process that a fork server has started."""

    def __init__(self, fork_server: ForkServer, pid: int, arguments: tuple[str, ...], log: Path) -> None:
        self.pid = pid
        self.arguments = arguments
        self._fork_server = fork_server
        self._log = log

    @property
    def exit_code(self) -> int | None:
        """The exit code: None while the process runs, negative if a signal ended it."""
        return self.wait(0)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send a signal, if the process still runs."""
        self._fork_server._ask(action="signal", pid=self.pid, number=int(number))  # noqa: SLF001 - its other half

    def wait(self, within: float) -> int | None:
        """Wait until the process has ended.

        Args:
            within: Seconds to wait at most.

        Returns:
            The exit code, or None if the process still runs.
        """
        code: int | None = self._fork_server._ask(action="wait", pid=self.pid, within=within)  # noqa: SLF001 - as above
        return code


class _Server:
    """The fork server: forks, signals and waits, on requests that are lines of JSON."""

    def __init__(self, answers: int) -> None:
        self._answers = answers
        self._ended: dict[int, int] = {}
        self._running: set[int] = set()

    def run(self) -> None:
        for line in sys.stdin.buffer:
            request = json.loads(line)
            answer = getattr(self, request.pop("action"))(**request)
            os.write(self._answers, json.dumps(answer).encode() + b"\n")
        for pid in list(self._running):
            self.signal(pid, signal.SIGKILL)
            self.wait(pid, _ENDS_WITHIN)

    def start(self, arguments: list[str], settings: dict[str, str], log: str) -> int:
        pid = os.fork()
        if pid == 0:
            os.close(self._answers)
            _become(arguments, settings, log)
        self._running.add(pid)
        return pid

    def signal(self, pid: int, number: int) -> None:
        # The kernel does not reuse the id of a child before `waitpid`.
        if self.wait(pid, 0) is None:
            os.kill(pid, number)

    def wait(self, pid: int, within: float) -> int | None:
        deadline = time.monotonic() + within
        while pid in self._running:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._running.remove(pid)
                self._ended[pid] = os.waitstatus_to_exitcode(status)
            elif time.monotonic() >= deadline:
                return None
            else:
                time.sleep(_POLL)
        return self._ended[pid]


def _become(arguments: list[str], settings: dict[str, str], log: str) -> NoReturn:
    """Turn this process into `allocation-worker ARGUMENTS`."""
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 1)
        os.dup2(1, 2)
        in_force = environment(settings)
        os.environ.clear()
        os.environ.update(in_force)
        sys.argv = ["allocation-worker", *arguments]
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter handles uncaught exceptions
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    from allocation_worker import cli
    from allocation_worker.testing.environment import environment

    # The client handles Ctrl-C, and closes the pipe when it has finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    _Server(os.dup(1)).run()
