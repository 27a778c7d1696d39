"""A deterministic scheduler and clock for a simulation.

Each thread of production is a `Task` here, a greenlet. It runs until it waits for something, and continues when it is
chosen. The clock moves only when no task can run.
"""

import heapq
from collections.abc import Callable, Sequence
from itertools import count
from typing import Protocol

from greenlet import getcurrent, greenlet

MAX_STEPS = 200_000


class Killed(BaseException):
    """The process of this task is gone; nothing may catch it."""


class StuckError(Exception):
    """Time is up, or nobody will ever have anything to do, and the run is not over."""


class Actor(Protocol):
    """Whatever takes turns."""

    @property
    def name(self) -> str: ...

    def ready(self) -> bool: ...

    def step(self) -> None: ...


Choose = Callable[[Sequence[Actor]], Actor]


class Task:
    """A thread of a simulated process."""

    def __init__(self, name: str, function: Callable[[], None], scheduler: "Scheduler") -> None:
        self.name = name
        self._scheduler = scheduler
        self._function = function
        self._greenlet = greenlet(self._run)
        self._condition: Callable[[], bool] | None = None
        self.due: float | None = None

    @property
    def ended(self) -> bool:
        return bool(self._greenlet.dead)

    def ready(self) -> bool:
        if self._condition is None or self._condition():
            return True
        return self.due is not None and self.due <= self._scheduler.now

    def step(self) -> None:
        self._greenlet.parent = getcurrent()
        self._greenlet.switch()

    def park(self, condition: Callable[[], bool] | None, due: float | None) -> None:
        """Let others run; called by the task itself."""
        self._condition, self.due = condition, due
        parent = self._greenlet.parent
        assert parent is not None
        parent.switch()
        self._condition = self.due = None

    def kill(self) -> None:
        """Unwind it where it stands."""
        if self._greenlet:  # begun, and not over
            self._greenlet.parent = getcurrent()
            self._greenlet.throw(Killed())

    def _run(self) -> None:
        try:
            self._function()
        except Killed:
            return


class Scheduler:
    """Gives turns to actors, and moves the clock.

    Args:
        choose: picks one of several that are ready.
    """

    def __init__(self, choose: Choose) -> None:
        self.now = 0.0
        self.steps = 0
        self.actors: list[Actor] = []
        self.running: Actor | None = None
        self.after_turn: Callable[[], None] = lambda: None
        self._choose = choose
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def spawn(self, name: str, function: Callable[[], None]) -> Task:
        task = Task(name, function, self)
        self.actors.append(task)
        return task

    def remove(self, *actors: Actor) -> None:
        self.actors = [actor for actor in self.actors if actor not in actors]

    def later(self, delay: float, function: Callable[[], None]) -> None:
        heapq.heappush(self._timers, (self.now + delay, next(self._numbers), function))

    def wait(self, condition: Callable[[], bool], timeout: float | None = None) -> bool:
        """Park the running task until the condition holds; False if the time is up before."""
        due = None if timeout is None else self.now + timeout
        while not condition():
            if due is not None and self.now >= due:
                return False
            self._task().park(condition, due)
        return True

    def sleep(self, seconds: float) -> None:
        self.wait(lambda: False, seconds)

    def pause(self) -> None:
        """Let others have a turn, if a task is running."""
        if isinstance(self.running, Task):
            self.running.park(None, None)

    def run(self, over: Callable[[], bool], deadline: float) -> None:
        """Give turns until nobody wants one and it is over.

        Raises:
            StuckError: that is not to be.
        """
        while True:
            self._fire()
            if ready := [actor for actor in self.actors if actor.ready()]:
                self._turn(ready[0] if len(ready) == 1 else self._choose(ready))
            elif over():
                return
            else:
                self._move_clock(deadline)

    def _turn(self, actor: Actor) -> None:
        self.steps += 1
        if self.steps > MAX_STEPS:
            raise StuckError(f"Not over after {MAX_STEPS} steps; {actor.name} is the next.")
        self.running = actor
        actor.step()
        self.running = None
        if isinstance(actor, Task) and actor.ended:
            self.remove(actor)
        self.after_turn()

    def _fire(self) -> None:
        while self._timers and self._timers[0][0] <= self.now:
            heapq.heappop(self._timers)[2]()

    def _move_clock(self, deadline: float) -> None:
        times = [actor.due for actor in self.actors if isinstance(actor, Task) and actor.due is not None]
        times += [time for time, _, _ in self._timers[:1]]
        if not times:
            raise StuckError(f"At {self.now:.3f} s nobody will ever have anything to do.")
        self.now = max(self.now, min(times))
        if self.now > deadline:
            raise StuckError(f"Not over after {deadline:.0f} simulated seconds.")

    def _task(self) -> Task:
        assert isinstance(self.running, Task), "only a task can wait"
        return self.running


class InTurn:
    """Chooses in rounds: everyone in the order of coming into being, and again from the first."""

    def __init__(self) -> None:
        self._last: Actor | None = None
        self._order: dict[Actor | None, int] = {None: -1}

    def __call__(self, ready: Sequence[Actor]) -> Actor:
        for actor in ready:
            self._order.setdefault(actor, len(self._order))
        last = self._order[self._last]
        self._last = min(ready, key=lambda actor: (self._order[actor] <= last, self._order[actor]))
        return self._last
