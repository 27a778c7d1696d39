"""The demo's live view fits every terminal size."""

from datetime import date
from io import StringIO

import pytest
from rich.console import Console

from demo import words
from demo.live import Frame, LiveView
from demo.meter import Meter
from demo.shop import Shop
from demo.views import PlainView, Running, Scene
from tests.unit.demo.demo_events import allocated, created, out_of_stock, received, shrunk

SENTENCES = ["A container went overboard.", "It is long. " * 12]


@pytest.fixture
def scene() -> Scene:
    shop = Shop()
    for sku in ("RED-CHAIR", "TASTELESS-LAMP"):
        for ref, eta in (("warehouse", None), ("argo", date(2030, 1, 5)), ("beagle", date(2030, 2, 5))):
            shop.take(received(created(f"{ref}-{sku}", 12345, sku=sku, eta=eta)))
    shop.take(received(shrunk("argo-RED-CHAIR", 12345, 5000)))
    for number in range(40):
        shop.take(received(allocated(f"order-{number:04}", "argo-RED-CHAIR", 11)))
    shop.take(received(out_of_stock("order-9999", 70, 4, next_eta=date(2030, 1, 5)), cause="another"))
    processes = [Running(verb="consume", pid=1234567, alive=False), Running(verb="relay", pid=1234568, alive=True)]
    return Scene(shop=shop, meter=Meter(), sent=3, processes=processes)


def drawn(scene: Scene, width: int, height: int, signs: words.Signs = words.UNICODE) -> list[str]:
    console = Console(width=width, height=height, file=StringIO(), force_terminal=True, color_system=None)
    with console.capture() as capture:
        console.print(Frame(scene, "4. A shipment shrinks", SENTENCES, signs))
    return capture.get().splitlines()


@pytest.mark.parametrize(("width", "height"), [(100, 30), (80, 24), (60, 20), (200, 60)])
def test_a_frame_is_as_wide_and_as_high_as_the_terminal(scene: Scene, width: int, height: int) -> None:
    lines = drawn(scene, width, height)
    assert len(lines) == height
    assert max(map(len, lines)) <= width


def test_a_frame_shows_stock_story_events_and_speed(scene: Scene) -> None:
    lines = drawn(scene, 100, 30)
    assert "consume gone ○" in lines[0]
    assert "relay 1234568 ●" in lines[0]
    assert lines[3].split()[:3] == ["argo-RED-CHAIR", "5", "Jan"]
    assert lines[3].endswith("440 of 5000")
    assert {"━", "─", "╌"} <= set(lines[3])
    assert "4. A shipment shrinks" in lines
    assert lines[-3].startswith("out-of-stock           order-9999  70 LAMP: one batch has 4 at most")
    assert lines[-1].startswith("3 sent, 2 answered, 1 waiting")
    assert lines[-1].endswith("0 a second")


def test_a_narrow_terminal_goes_without_references(scene: Scene) -> None:
    assert "argo-RED-CHAIR" not in drawn(scene, 60, 24)[3]


def test_an_ascii_terminal_gets_ascii(scene: Scene) -> None:
    assert "".join(drawn(scene, 60, 24, words.ASCII)).isascii()


def test_the_live_view_leaves_the_terminal_as_it_found_it(scene: Scene) -> None:
    out = StringIO()
    console = Console(width=80, height=24, file=out, force_terminal=True, _environ={"TERM": "xterm"})
    with LiveView(console) as view:
        view.act(1, "Stock comes in")
        view.tell("In the morning.")
        view.show(scene)
    enter, leave = "\x1b[?1049h", "\x1b[?1049l"
    assert enter in out.getvalue()
    assert out.getvalue().index("In the morning.") < out.getvalue().index(leave)
    assert "\x1b[?25h" in out.getvalue()


def test_without_a_terminal_there_are_lines_however_long() -> None:
    out = StringIO()
    with PlainView(Console(file=out, width=20)) as view:
        view.act(1, "Stock comes in")
        view.tell("It is a rather long sentence, [and] has brackets.")
    assert out.getvalue() == "\n1. Stock comes in\n   It is a rather long sentence, [and] has brackets.\n"
