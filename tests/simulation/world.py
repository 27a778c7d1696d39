"""One simulated run: a history, processes, and faults, until the system is idle."""

from collections import deque
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from random import Random
from typing import TYPE_CHECKING
from uuid import UUID

from allocation_contracts.names import COMMANDS_EXCHANGE
from allocation_worker.domain.commands import Command
from allocation_worker.domain.lines import LineId
from allocation_worker.service_layer.retries import RetryPolicy
from tests.fakes import policies
from tests.fakes.unit_of_work import START, FakeDatabase
from tests.simulation import current, processes
from tests.simulation.broker import Broker, Letter
from tests.simulation.faults import OK, Options, Outcome, Schedule
from tests.simulation.histories import Sent
from tests.simulation.processes import Process, Start
from tests.simulation.scheduler import Choose, Scheduler, StuckError
from tests.simulation.seams import SimulatedCondition

if TYPE_CHECKING:
    from tests.simulation.amqp import SimulatedConnection
    from tests.simulation.database import Session

LONGEST = 900.0
"""Simulated seconds after which a run that is not drained is a fault."""
LOOK_AGAIN = 0.05
"""Seconds."""
MARKS_AT_RISK = 0.6
"""Seconds for which a mark may still be lost with the server: `synchronous_commit` is off for marks."""


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What a run is made of.

    Attributes:
        sent: what upstream sends, in its order.
        interleave: whether other tasks may get a turn at every point, or only where one waits.
        slow_start: the most seconds until a process that died is there again.
        unbound: types of events that no queue wants until the subscriber binds.
        upheavals: when, and what happens to the servers.
        prunes: whether the relay prunes lines and batches as soon as they have ended.
    """

    sent: Sequence[Sent]
    consumers: int = 1
    relays: int = 1
    group_limit: int = 500
    prefetch: int = 1000
    window: int = 1000
    policy: RetryPolicy = policies.USUAL
    interleave: bool = False
    slow_start: float = 0.0
    unbound: Collection[str] = ()
    upheavals: Sequence[tuple[float, str]] = ()
    prunes: bool = False


class World:
    """Everything that a run needs, and is judged by.

    Attributes:
        faults: what is wrong already, in sentences.
        nacked: whether the broker has refused an event; then order is promised less strictly.
        held: how many products somebody holds.
        unfinished: how many commits go on though their client has gone.
        befell: the kinds of faults that happened.
    """

    def __init__(self, setting: Setting, schedule: Schedule, choose: Choose, random: Random, *, trace: bool) -> None:
        self.setting = setting
        self.scheduler = Scheduler(choose)
        self.scheduler.after_turn = self._bury_the_dead
        self.database = FakeDatabase(
            SimulatedCondition, lambda: UUID(int=random.getrandbits(128), version=4), self._database_time
        )
        self.broker = Broker(self.scheduler.later, setting.policy.all_delays)
        self.broker.unbound |= set(setting.unbound)
        self.broker.twice = lambda name: self.decide(name, (OK, Outcome.TWICE)) is Outcome.TWICE
        self.connections: list[SimulatedConnection] = []
        self.sessions: list[Session] = []
        self.processes: list[Process] = []
        self.faults: list[str] = []
        self.trace: list[str] | None = [] if trace else None
        self.nacked = False
        self.unfinished = 0
        self.held = 0
        self.befell: set[str] = set()
        self._schedule = schedule
        self._random = random
        self._unsent = deque(setting.sent)
        self._failing = {each.message_id: each.fails for each in setting.sent if each.fails}
        self._deadly = {each.message_id for each in setting.sent if each.deadly}
        self._upheavals_left = len(setting.upheavals)
        self._at_risk: list[tuple[float, set[int], set[int]]] = []
        self._starting = 0

    def run(self) -> None:
        """Until all is drained."""
        current.enter(self)
        self._send_next()
        for number in range(self.setting.consumers):
            self._start(f"consume {number + 1}", processes.consume)
        for number in range(self.setting.relays):
            self._start(f"relay {number + 1}", processes.relay)
        for time, kind in self.setting.upheavals:
            self.scheduler.later(time, partial(self._upheave, kind))
        try:
            self.scheduler.run(self._drained, LONGEST)
        except StuckError as stuck:
            self.fault(f"never drained: {stuck} {self._left()}")
        finally:
            for process in self.processes:
                process.kill()
                process.clean_up()

    def decide(self, name: str, options: Options) -> Outcome:
        """What happens at a point."""
        outcome = self._schedule.decide(name, options)
        if outcome is not OK:
            self.befell.add(outcome.name)
        if self.trace is not None:
            self.note(name if outcome is OK else f"{name} *** {outcome.name}: {outcome.value}")
        return outcome

    def pause(self) -> None:
        """Let others have a turn, where that is to be."""
        if self.setting.interleave:
            self.scheduler.pause()

    def note(self, words: str) -> None:
        if self.trace is not None:
            self.trace.append(f"{self.scheduler.now:9.3f}  {words}")

    def fault(self, sentence: str) -> None:
        self.note(f"FAULT {sentence}")
        self.faults.append(sentence)

    def fails(self, message_id: str) -> bool:
        """Whether the handler of this message is to fail now."""
        left = self._failing.get(message_id, 0)
        self._failing[message_id] = max(0, left - 1)
        return left > 0

    def kills(self, message_id: object) -> bool:
        """Whether this message kills whoever reads it."""
        return message_id in self._deadly

    def names_line(self, sku: str, line: LineId) -> bool:
        """Whether a message that is on its way names this line."""
        named = (sku, *line)
        return any(
            (getattr(command, "sku", None), getattr(command, "orderid", None), getattr(command, "lineid", None))
            == named
            for command in self._on_their_way()
        )

    def names_batch(self, reference: str) -> bool:
        """Whether a message that is on its way names this batch."""
        return any(getattr(command, "batchref", None) == reference for command in self._on_their_way())

    def _on_their_way(self) -> Iterator[Command | None]:
        taken = self.database.committed.inbox
        return (sent.command for sent in self.setting.sent if sent.message_id not in taken)

    def reconnect_after(self) -> float:
        return 0.2 * self._random.uniform(0.5, 1.0)

    def a_while(self) -> float:
        """In seconds."""
        return self._random.uniform(0.05, 3.0)

    def at_risk(self, published: set[int], unrouted: set[int]) -> None:
        """Take note of how the outbox was marked before a write of the relay."""
        self._at_risk.append((self.scheduler.now, published, unrouted))

    def _start(self, name: str, start: Start) -> None:
        self.note(f"{name} starts")
        self.processes.append(Process(self, name, start))

    def _bury_the_dead(self) -> None:
        for process in [each for each in self.processes if each.dead]:
            self.note(f"{process.name} is dead")
            self.processes.remove(process)
            process.clean_up()
            self._starting += 1
            self.scheduler.later(self._random.random() * self.setting.slow_start, partial(self._restart, process))

    def _restart(self, process: Process) -> None:
        self._starting -= 1
        self._start(process.name, process.start)

    def _send_next(self) -> None:
        if self._unsent:
            self.scheduler.later(self._unsent[0].after, partial(self._send, self._unsent[0]))

    def _send(self, sent: Sent) -> None:
        self._unsent.popleft()
        self.note(f"upstream sends {sent.type} {sent.message_id} {sent.body.decode(errors='replace')}")
        self.broker.publish(Letter(COMMANDS_EXCHANGE, sent.routing_key, sent.body, sent.properties()))
        self._send_next()

    def _upheave(self, kind: str) -> None:
        self.note(f"*** {kind}")
        self.befell.add(kind)
        self._upheavals_left -= 1
        match kind:
            case "the broker restarts":
                for connection in list(self.connections):
                    connection.lose()
            case "the database restarts":
                self._break_sessions()
            case "the database crashes":
                self._break_sessions()
                committed = self.database.committed
                for time, published, unrouted in reversed(self._at_risk):
                    if time > self.scheduler.now - MARKS_AT_RISK:
                        committed.published, committed.unrouted = published, unrouted
            case "somebody holds a product":
                self._hold("LAMP", f"somebody since {self.scheduler.now}")
            case "the subscriber binds":
                self.broker.unbound.clear()

    def _hold(self, sku: str, holder: str) -> None:
        """Hold a product for a while, as soon as it exists and nobody else holds it."""
        if sku in self.database.committed.products and self.database.locks.take_if_free(("sku", sku), holder):
            self.held += 1
            self.scheduler.later(self.a_while(), partial(self._give_up, holder))
        elif not self._drained():
            self.scheduler.later(LOOK_AGAIN, partial(self._hold, sku, holder))

    def _give_up(self, holder: str) -> None:
        self.database.locks.release(holder)
        self.held -= 1

    def _break_sessions(self) -> None:
        for session in list(self.sessions):
            session.break_off()

    def _database_time(self) -> datetime:
        return START + timedelta(seconds=self.scheduler.now)

    def _drained(self) -> bool:
        return not any(self._left().values())

    def _holds_that_lapse_soon(self) -> int:
        untils = [
            line.hold.until
            for product in self.database.committed.products.values()
            for line in product.lines.values()
            if line.hold
        ]
        return sum(until < START + timedelta(seconds=LONGEST) for until in untils)

    def _left(self) -> dict[str, object]:
        """What is still to be done, where there is anything."""
        waiting = [id_ for id_ in self.database.committed.outbox if self.database.committed.waits(id_)]
        return {
            "unsent": len(self._unsent),
            "in queues": not self.broker.empty,
            "unpublished": waiting,
            "commits under way": self.unfinished,
            "processes to start": self._starting,
            "upheavals to come": self._upheavals_left,
            "held": self.held,
            "holds that lapse soon": self._holds_that_lapse_soon(),
        }
