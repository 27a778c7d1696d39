"""Starts the worker's processes in some milliseconds instead of a second or two.

One process has imported everything and forks for each that is asked for. Its children are what `allocation-worker VERB`
would be, and none of them outlives whoever asked: when the pipe to the fork server ends, it kills them and ends too.
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
    """This side of the pipe. For one thread; to be entered with `with`."""

    def __init__(self) -> None:
        # -P: the package that is installed, and not what may lie in the folder where the tests are run.
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
            self._process.kill()  # it has no children, and may be importing for seconds yet
        if self._process.stdin is not None and self._process.stdout is not None:
            self._process.stdin.close()
            self._process.wait(_ENDS_WITHIN)
            self._process.stdout.close()

    def start(self, *arguments: str, settings: Mapping[str, str], log: Path) -> "ForkedProcess":
        """Start `allocation-worker ARGUMENTS`.

        Args:
            arguments: The verb and its options.
            settings: Environment variables on top of this process's own.
            log: Where its stderr and stdout go, appended.
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
        """None while it runs; negative if a signal ended it."""
        return self.wait(0)

    @property
    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, if it still runs."""
        self._fork_server._ask(action="signal", pid=self.pid, number=int(number))  # noqa: SLF001 - its other half

    def wait(self, within: float) -> int | None:
        """Wait until it has ended; the exit code, or None if it still runs after so many seconds."""
        code: int | None = self._fork_server._ask(action="wait", pid=self.pid, within=within)  # noqa: SLF001 - as above
        return code


class _Server:
    """The other side of the pipe: forks, signals and waits, as it is told by lines of JSON."""

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
        # Nobody else has the number while it has not been waited for.
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
    """Be `allocation-worker ARGUMENTS` from here on."""
    code = 1
    try:
        os.setsid()
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os.dup2(os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), 1)
        os.dup2(1, 2)
        os.environ.update(settings)
        sys.argv = ["allocation-worker", *arguments]
        cli.main()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - as the interpreter does with what nobody has caught
        sys.excepthook(*sys.exc_info())
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    from allocation_worker import cli

    # Ctrl-C is for whoever asked: it ends the pipe when it is done with us.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.freeze()
    _Server(os.dup(1)).run()
