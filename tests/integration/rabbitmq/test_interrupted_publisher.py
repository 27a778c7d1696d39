"""Ctrl-C amid a call of the contracts' `Publisher`: closing it then ends, and what was handed over is answered."""

import random
import signal
import sys
from collections.abc import Callable
from threading import Thread, Timer, get_ident, main_thread
from time import monotonic

import pytest

from allocation_contracts import Allocate
from allocation_contracts.amqp import Publisher, UnconfirmedError
from allocation_contracts.amqp.link import Link

NOWHERE = "amqp://u:secret@127.0.0.1:1/"
LINE = Allocate(orderid="order-1", sku="CHAIR", qty=1)


class Interruption:
    """Raises KeyboardInterrupt in the main thread, once, where it is asked to."""

    def __init__(self) -> None:
        self.wanted = False

    def here(self) -> None:
        if self.wanted and get_ident() == main_thread().ident:
            self.wanted = False
            raise KeyboardInterrupt


def closed_in_time(publisher: Publisher) -> bool:
    closing = Thread(target=publisher.close, daemon=True)
    closing.start()
    closing.join(10)
    return not closing.is_alive()


@pytest.fixture
def interruption() -> Interruption:
    return Interruption()


def test_before_the_command_is_handed_over(interruption: Interruption) -> None:
    def clock() -> float:
        interruption.here()
        return monotonic()

    publisher = Publisher(NOWHERE, timeout=0.2, window=1, clock=clock)
    interruption.wanted = True
    with pytest.raises(KeyboardInterrupt):
        publisher.publish_soon(LINE)
    assert publisher.publish_soon(LINE).exception(timeout=10)  # there is room for it
    assert closed_in_time(publisher)


def test_before_the_network_thread_is_told_of_the_command(interruption: Interruption) -> None:
    class InterruptedLink(Link):
        def call_soon(self, function: Callable[[], None]) -> None:
            interruption.here()
            super().call_soon(function)

    publisher = Publisher(NOWHERE, timeout=0.2, link=InterruptedLink)
    interruption.wanted = True
    with pytest.raises(KeyboardInterrupt):
        publisher.publish_soon(LINE)
    assert publisher.publish_soon(LINE).exception(timeout=10)  # it does not wait behind the other one for ever
    assert closed_in_time(publisher)


def test_amid_close(interruption: Interruption) -> None:
    def clock() -> float:
        interruption.here()
        return monotonic()

    publisher = Publisher(NOWHERE, timeout=60, clock=clock)
    future = publisher.publish_soon(LINE)
    interruption.wanted = True
    with pytest.raises(KeyboardInterrupt):
        publisher.close()
    publisher.close(wait=False)
    assert isinstance(future.exception(timeout=10), UnconfirmedError)


@pytest.fixture
def interruptions_may_be_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python drops an exception amid a callback of its own (a weak reference's), and says so: pytest fails then."""
    told = sys.unraisablehook

    def tell(unraisable: "sys.UnraisableHookArgs") -> None:
        if not issubclass(unraisable.exc_type, KeyboardInterrupt):
            told(unraisable)

    monkeypatch.setattr(sys, "unraisablehook", tell)


@pytest.mark.usefixtures("interruptions_may_be_ignored")
def test_an_ignored_interruption_is_no_failure() -> None:
    class Interrupted:
        def __del__(self) -> None:
            raise KeyboardInterrupt

    Interrupted()


@pytest.mark.usefixtures("interruptions_may_be_ignored")
def test_anywhere() -> None:
    chance = random.Random(20261126)
    for _ in range(40):
        publisher = Publisher(NOWHERE, timeout=0.05, window=chance.choice([1, 2, 1_000]))
        try:
            Timer(chance.uniform(0, 0.004), signal.raise_signal, [signal.SIGINT]).start()
            gives_up = monotonic() + 1  # for an interruption that is ignored
            while monotonic() < gives_up:
                publisher.publish_soon(LINE)
        except KeyboardInterrupt:
            pass
        assert closed_in_time(publisher)
