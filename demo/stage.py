"""The environment of the demo: the service's processes, and an external client."""

import time
from collections.abc import Sequence
from uuid import uuid4

import allocation_contracts as contracts
from allocation_worker.testing.waiting import wait_until
from demo.meter import Meter
from demo.shop import Shop
from demo.views import Running, Scene, View
from harness.checker.messages import ReceivedEvent
from harness.client import ExternalClient
from harness.processes import WorkerProcess
from harness.service import RunningService

_ANSWERED_WITHIN = 60.0
_LOOK_EVERY = 0.02


class ProcessEndedError(RuntimeError):
    """A process of the service ended unexpectedly. The text says which and how."""


class Stage:
    """Publishes commands, waits for events, and updates the view meanwhile. Use it from one thread.

    Args:
        service: The service, whose processes are started here.
        client: The external client, already entered.
        view: The view, already entered.
        paced: Whether a person watches and needs time to read.
    """

    def __init__(self, service: RunningService, client: ExternalClient, view: View, *, paced: bool) -> None:
        self.shop = Shop()
        self.view = view
        self._service = service
        self._client = client
        self._paced = paced
        self._meter = Meter()
        self._taken = 0
        self._sent: set[str] = set()
        self._processes = dict[str, WorkerProcess]()
        self._killed: set[int] = set()

    def start(self, verb: str) -> int:
        """Start `consume` or `relay`, for the first time or again. Return its process id."""
        self._processes[verb] = self._service.start(verb)
        return self._processes[verb].pid

    def kill(self, verb: str) -> int:
        """Kill a process with SIGKILL. Return its former process id."""
        process = self._processes[verb]
        self._killed.add(process.pid)
        process.kill()
        return process.pid

    def end(self) -> dict[str, int]:
        """Stop the processes in the order of their start. Return their exit codes."""
        return {verb: process.terminate() for verb, process in self._processes.items()}

    @property
    def waiting(self) -> int:
        """The number of unanswered commands."""
        return len(self._sent) - len(self.shop.caused)

    def send(self, command: contracts.Command, *, message_id: str | None = None) -> str:
        """Publish a command. Return its message_id."""
        message_id = message_id or str(uuid4())
        self._sent.add(message_id)
        self._client.send(command, message_id=message_id)
        self.look()
        return message_id

    def stream(self, commands: Sequence[contracts.Command], *, over: float) -> None:
        """Publish commands evenly over some seconds if a person watches, else at once."""
        begin = time.monotonic()
        for number, command in enumerate(commands, start=1):
            self.send(command)
            self.pause(begin + over * number / len(commands) - time.monotonic())

    def ask(self, command: contracts.Command) -> ReceivedEvent:
        """Publish a command and wait for its answer."""
        message_id = self.send(command)
        self.wait_settled()
        return self._client.answers(message_id)[0]

    def caused_by(self, message_id: str) -> list[ReceivedEvent]:
        """Return the events that a command has caused."""
        return self._client.answers(message_id)

    def wait_settled(self) -> None:
        """Wait until every command is answered, and every line has been told what became of it.

        Raises:
            TimeoutError: It takes too long.
            ProcessEndedError: A process has ended unexpectedly.
        """
        self._client.wait_confirmed(_ANSWERED_WITHIN)
        wait_until(
            self._is_settled,
            within=_ANSWERED_WITHIN,
            otherwise=lambda: (
                f"{self.waiting} of {len(self._sent)} commands were not answered in {_ANSWERED_WITHIN} s"
                if self.waiting
                else f"lines that wait, or were moved, were not answered in {_ANSWERED_WITHIN} s"
            ),
        )

    def tell(self, sentence: str, *, rest: float = 1.0) -> None:
        """Show a sentence, and leave time to read it."""
        self.view.tell(sentence)
        self.pause(rest)

    def pause(self, seconds: float) -> None:
        """Pause for people who watch. Nothing else relies on the pause."""
        end = time.monotonic() + seconds
        self.look()
        while self._paced and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, _LOOK_EVERY))
            self.look()

    def look(self) -> None:
        """Apply the events that have arrived, and update the view.

        Raises:
            ProcessEndedError: A process has ended unexpectedly.
        """
        self._check_processes()
        new = self._client.received[self._taken :]
        for event in new:
            self.shop.take(event)
        self._taken += len(new)
        self._meter.read(len(self.shop.caused), at=time.monotonic())
        self.view.show(Scene(shop=self.shop, meter=self._meter, sent=len(self._sent), processes=self._running()))

    def _is_settled(self) -> bool:
        self.look()
        return self.waiting == 0 and self.shop.settled

    def _check_processes(self) -> None:
        for verb, process in self._processes.items():
            if process.exit_code is not None and process.pid not in self._killed:
                raise ProcessEndedError(f"{verb} has ended with {process.exit_code}; see {process.log_path}")

    def _running(self) -> list[Running]:
        return [
            Running(verb=verb, pid=process.pid, alive=process.exit_code is None)
            for verb, process in self._processes.items()
        ]
