"""Starts, stops and kills the worker's processes, as an operator would."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from allocation_worker.testing.environment import environment
from allocation_worker.testing.waiting import wait_until


class WorkerProcess:
    """One `allocation-worker` process with its log file.

    Args:
        arguments: The verb and its options.
        settings: Environment variables, added to those of this process.
        log: The file to which stderr and stdout are appended.
        crash: A point of `harness.crash_points` and the number of the passage that kills the process; or `message-id`
            and the id whose reading kills it each time.
    """

    def __init__(
        self, *arguments: str, settings: Mapping[str, str], log: Path, crash: tuple[str, int | str] | None = None
    ) -> None:
        self.arguments = arguments
        program = ["allocation_worker"] if crash is None else ["harness.crash_points", crash[0], str(crash[1])]
        self.log_path = log
        self._log = log.open("ab")
        self._process = subprocess.Popen(
            [sys.executable, "-m", *program, *arguments],
            env=environment(settings),
            stdout=self._log,
            stderr=self._log,
            stdin=subprocess.DEVNULL,
        )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """The exit code: None while the process runs, negative if a signal ended it."""
        return self._process.poll()

    @property
    def log(self) -> str:
        """What was logged so far; empty where the log is no file, such as /dev/full."""
        return self.log_path.read_text() if self.log_path.is_file() else ""

    def send(self, number: signal.Signals) -> None:
        if self.exit_code is None:
            self._process.send_signal(number)

    def kill(self) -> None:
        """Send SIGKILL and wait for the end."""
        self.send(signal.SIGKILL)
        self.wait()

    def terminate(self, within: float = 60) -> int:
        """Send SIGTERM, wait for the end, and return the exit code."""
        self.send(signal.SIGTERM)
        return self.wait(within)

    def wait(self, within: float = 60) -> int:
        try:
            return self._process.wait(within)
        finally:
            self._log.close()

    @property
    def events(self) -> list[dict[str, Any]]:
        """The entries of its log."""
        lines = self.log.split("\n")
        return [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]

    def wait_for(self, event: str, within: float = 60, **fields: Any) -> None:  # noqa: ANN401 - fields of any type
        """Wait until the process has logged this event with these fields.

        Raises:
            TimeoutError: The event was not logged in time, or the process ended. The text holds the end of the log.
        """
        wanted = {"event": event, **fields}

        def logged() -> bool:
            return any(wanted.items() <= line.items() for line in self.events)

        wait_until(
            lambda: logged() or self.exit_code is not None,
            within=within,
            otherwise=lambda: f"{self.arguments} did not log {wanted}; its log ends: {self.log[-2000:]}",
        )
        if not logged():
            raise TimeoutError(f"{self.arguments} ended with {self.exit_code}; its log ends: {self.log[-2000:]}")

    def wait_for_log(self, text: str, within: float = 60) -> None:
        """Wait until the log contains this text.

        Raises:
            TimeoutError: The text was not logged in time, or the process ended. The text holds the end of the log.
        """
        wait_until(
            lambda: text in self.log or self.exit_code is not None,
            within=within,
            otherwise=lambda: f"{self.arguments} did not log {text!r}; its log ends: {self.log[-2000:]}",
        )
        if text not in self.log:
            raise TimeoutError(f"{self.arguments} ended with {self.exit_code}; its log ends: {self.log[-2000:]}")


def run_verb(
    *arguments: str, settings: Mapping[str, str], within: float = 60, text: str = "", stdout: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run a verb that ends by itself, with `text` as stdin.

    Args:
        arguments: The verb and its arguments.
        settings: Environment variables.
        within: The most seconds that it may take.
        text: Its stdin.
        stdout: A file to print to.

    Returns:
        The process, with stdout, if that is no file, and stderr as text.
    """
    with nullcontext(subprocess.PIPE) if stdout is None else stdout.open("w") as printed:
        return subprocess.run(
            [sys.executable, "-m", "allocation_worker", *arguments],
            env=environment(settings),
            stdout=printed,
            stderr=subprocess.PIPE,
            text=True,
            timeout=within,
            check=False,
            input=text,
        )


@contextmanager
def ended(*processes: WorkerProcess) -> Iterator[None]:
    """Kill all these processes at the end of the block."""
    try:
        yield
    finally:
        for process in processes:
            process.kill()
