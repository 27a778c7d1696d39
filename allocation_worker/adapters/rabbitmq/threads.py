"""Threads whose ends are futures."""

from collections.abc import Callable, Collection
from concurrent.futures import Future
from concurrent.futures import wait as wait_for
from queue import SimpleQueue
from threading import Condition, Thread


class Threads:
    """Starts threads and lets them wait for each other. The simulation has its own kind.

    The threads are daemons, so that none keeps a process alive that is to end; an executor's threads would.
    """

    def spawn(self, name: str, function: Callable[[], None]) -> Future[None]:
        """Call `function` in a thread of its own; the future has what it raises."""
        future: Future[None] = Future()
        Thread(target=run_into, args=(future, function), name=name, daemon=True).start()
        return future

    def wait(self, futures: Collection[Future[None]], timeout: float) -> None:
        """Wait until all of them are done, or for `timeout` seconds."""
        wait_for(futures, timeout)

    def condition(self) -> Condition:
        """Return a new condition."""
        return Condition()

    def queue(self) -> SimpleQueue[None]:
        """Return a new queue. A signal handler may put into it while the same thread waits for it."""
        return SimpleQueue()


def run_into(future: Future[None], function: Callable[[], None]) -> None:
    """Call `function`, and complete `future` with what comes of it."""
    try:
        function()
    except BaseException as error:  # noqa: BLE001 - whoever looks at the future raises it
        future.set_exception(error)
    else:
        future.set_result(None)
