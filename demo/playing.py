"""Runs the demo: starts servers and processes, runs the steps, checks the results, and stops everything."""

import logging
import os
import shutil
import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import mkdtemp
from time import monotonic

import structlog
from rich.console import Console

from allocation_worker.testing.servers import NoServersError, start_servers, ways
from demo import words
from demo.acts import Cast, PlotError, perform
from demo.closing import Ending, recap, verdict
from demo.live import LiveView
from demo.plan import plan_day
from demo.stage import Stage
from demo.views import PlainView
from harness.checker.events import check
from harness.service import RunningService

EX_INTERRUPTED = 130
"""The usual exit code of a program that Ctrl-C has ended."""

_LAST_LOOK = 0.7

log = structlog.get_logger()


def play(orders: int) -> int:
    """Run the demo and check the results.

    Args:
        orders: The number of orders.

    Returns:
        The exit code: 0 if every check held, 130 after Ctrl-C, else 1.
    """
    folder = Path(mkdtemp(prefix="allocation-demo-"))
    code, complaints = _play_in(folder, orders)
    if code == 1 and any(folder.iterdir()):
        complaints = [*complaints, f"The logs are in {folder}."]
    else:
        shutil.rmtree(folder)
    with suppress(OSError):  # there may be no one to complain to: the terminal may be gone
        for sentence in complaints:
            sys.stderr.write(f"{sentence}\n")
    return code


def _play_in(folder: Path, orders: int) -> tuple[int, list[str]]:
    """Return the exit code, and the error to print."""
    console = Console(highlight=False)
    try:
        with _own_log(folder / "demo.log"), _signals_as_ctrl_c():
            ending = _perform(orders, console, folder)
        _print_ending(console, ending)
    except NoServersError as error:
        (folder / "demo.log").unlink()
        return 1, [str(error)]
    except PlotError as fault:
        return 1, [f"The service broke its contract. {fault}"]
    except (KeyboardInterrupt, Exception) as error:  # noqa: BLE001 - a person wants a sentence and the logs
        if _is_interrupt(error):
            return EX_INTERRUPTED, ["Interrupted; all that was started has been ended."]
        return 1, [f"The demo could not go on: {error}"]
    return (1, ["The service broke its contract."]) if ending.faults else (0, [])


def _is_interrupt(error: BaseException | None) -> bool:
    """Return whether Ctrl-C was the first cause. A closed terminal causes further errors."""
    return error is not None and (isinstance(error, KeyboardInterrupt) or _is_interrupt(error.__context__))


def _watched(console: Console) -> bool:
    return sys.stdout.isatty() and not console.is_dumb_terminal


def _perform(orders: int, console: Console, folder: Path) -> Ending:
    today = datetime.now(tz=UTC).date()
    day = plan_day(orders, today=today)
    watched = _watched(console)
    with ExitStack() as stack:
        service = _set_up(stack, console, folder)
        client = stack.enter_context(service.client())
        view = stack.enter_context(LiveView(console) if watched else PlainView(console))
        stage = Stage(service, client, view, paced=watched)
        stage.start("consume")
        stage.start("relay")
        chronicle = perform(Cast(stage=stage, day=day, today=today))
        stage.pause(_LAST_LOOK)
        return Ending(
            shop=stage.shop,
            chronicle=chronicle,
            exit_codes=stage.end(),  # first: after it, no more events come
            report=check(client.sent, client.received),
            answered=len(stage.shop.caused),
        )


def _set_up(stack: ExitStack, console: Console, folder: Path) -> RunningService:
    begin = monotonic()
    announcement = (
        "Making a virtual host and a database on the servers that you have given."
        if os.environ.get(ways.VARIABLE) == ways.GIVEN
        else "Starting a broker and a database of your own; this takes some seconds."
    )
    if _watched(console):
        with console.status(announcement, spinner="line"):
            return _start(stack, folder)
    console.print(announcement, soft_wrap=True)
    service = _start(stack, folder)
    console.print(f"They are up ({service.servers.how}) after {monotonic() - begin:.1f} s.", soft_wrap=True)
    return service


def _start(stack: ExitStack, folder: Path) -> RunningService:
    servers = stack.enter_context(start_servers())
    return stack.enter_context(RunningService(servers, folder))


def _print_ending(console: Console, ending: Ending) -> None:
    signs = words.signs_for(console.encoding)
    watched = _watched(console)
    if watched:
        console.print(recap(ending, signs, width=console.width))
    for line in verdict(ending, signs):
        console.print(line, soft_wrap=not watched)


@contextmanager
def _own_log(path: Path) -> Iterator[None]:
    """Redirect the logs of libraries in this process to a file, since the screen shows the demo."""
    with path.open("a", encoding="utf-8") as file:
        structlog.configure(
            processors=[
                structlog.processors.add_log_level,
                structlog.processors.TimeStamper(fmt="iso", utc=True),
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(default=repr),
            ],
            logger_factory=structlog.WriteLoggerFactory(file=file),
        )
        logging.basicConfig(stream=file)
        logging.captureWarnings(capture=True)
        try:
            yield
        except Exception:
            log.exception("demo_failed")
            raise


@contextmanager
def _signals_as_ctrl_c() -> Iterator[None]:
    """Treat SIGTERM and SIGHUP like Ctrl-C, and ignore further signals during the clean-up."""

    def handle(_number: int, _frame: object) -> None:
        for number in previous:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    wanted = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    previous = {number: signal.getsignal(number) for number in wanted if signal.getsignal(number) != signal.SIG_IGN}
    try:
        for number in previous:
            signal.signal(number, handle)
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
