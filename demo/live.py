"""The live view: stock as bars, the latest events, commands per second, on the terminal's alternate screen."""

from collections.abc import Iterator, Sequence
from time import monotonic
from typing import Self

from rich.console import Console, ConsoleOptions, Group, RenderableType
from rich.live import Live
from rich.measure import Measurement
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

import allocation_contracts as contracts
from demo import words
from demo.shop import Shop, ShopBatch
from demo.views import Scene, View
from demo.words import Signs

_FRAME_EVERY = 0.1
_NARROW = 72
_LOW = 24
_EVENT_STYLES = {
    contracts.OutOfStock.TYPE: "red",
    contracts.Backordered.TYPE: "yellow",
    contracts.CommandRejected.TYPE: "red",
    contracts.Deallocated.TYPE: "yellow",
    contracts.BatchQuantityChanged.TYPE: "yellow",
    contracts.BatchEtaChanged.TYPE: "yellow",
    contracts.PromiseChanged.TYPE: "yellow",
    contracts.BatchCreated.TYPE: "cyan",
}


class LiveView(View):
    """Draws ten frames per second on the alternate screen, and restores the terminal at the end.

    Args:
        console: A terminal.
    """

    def __init__(self, console: Console) -> None:
        self._signs = words.signs_for(console.encoding)
        self._live = Live(console=console, screen=True, auto_refresh=False)
        self._due = 0.0
        self._title = ""
        self._sentences: list[str] = []

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def act(self, number: int, title: str) -> None:
        self._title, self._sentences = f"{number}. {title}", []

    def tell(self, sentence: str) -> None:
        self._sentences.append(sentence)
        self._due = 0.0

    def show(self, scene: Scene) -> None:
        if monotonic() >= self._due:
            self._live.update(Frame(scene, self._title, self._sentences, self._signs), refresh=True)
            self._due = monotonic() + _FRAME_EVERY


class Frame:
    """One frame in the size of the terminal.

    Args:
        scene: The current state.
        title: The title of the current step.
        sentences: The sentences about this step so far.
        signs: The characters to draw with.
    """

    def __init__(self, scene: Scene, title: str, sentences: Sequence[str], signs: Signs) -> None:
        self._scene = scene
        self._title = title
        self._sentences = sentences
        self._signs = signs

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        height = options.height or console.height
        gap = [Text()] if height >= _LOW else []
        story: list[RenderableType] = [Text(self._title, "bold"), *self._told()]
        above = Group(
            _header(self._scene, self._signs),
            *gap,
            stock_table(self._scene.shop, self._signs, width=options.max_width),
            *gap,
            *story,
            *gap,
        )
        used = len(console.render_lines(above, options.update(height=None), pad=False))
        room = max(0, height - used - len(gap) - 1)
        yield above
        yield from self._events(room)
        yield from gap
        yield _footer(self._scene, self._signs, width=options.max_width)

    def _told(self) -> list[RenderableType]:
        return [Padding(sentence, (0, 0, 0, 2)) for sentence in self._sentences]

    def _events(self, room: int) -> Iterator[Text]:
        events = list(self._scene.shop.latest)[-room:] if room else []
        for event in events:
            style = _EVENT_STYLES.get(event.TYPE, "dim")
            told = Text(no_wrap=True, overflow=self._signs.ellipsis)
            told.append(f"{words.name(event):<23}", style)
            told.append(words.describe(event), "" if style == "red" else "dim")
            yield told
        yield from [Text()] * (room - len(events))


def stock_table(shop: Shop, signs: Signs, *, width: int) -> Table:
    """Return a table with a row for each batch, and a bar of its allocated and available stock."""
    table = Table.grid(padding=(0, 2, 0, 0), expand=True)
    table.add_column(no_wrap=True, overflow=signs.ellipsis)
    if width >= _NARROW:
        table.add_column(no_wrap=True, overflow=signs.ellipsis, style="dim")
    table.add_column(no_wrap=True, overflow=signs.ellipsis, justify="right")
    table.add_column(ratio=1)
    numbers = len(f"{shop.largest} of {shop.largest}")
    table.add_column(no_wrap=True, overflow=signs.ellipsis, justify="right", min_width=numbers)
    for sku in shop.skus():
        for index, stock in enumerate(shop.of(sku)):
            row = [Text("" if index else sku, "bold")]
            row += [Text(stock.ref)] if width >= _NARROW else []
            row += [Text(words.day(stock.eta), "" if stock.eta else "dim")]
            table.add_row(*row, Bar(stock, shop.largest, signs), Text(f"{stock.allocated} of {stock.purchased}"))
    return table


class Bar:
    """A batch as a bar of allocated, available and lost stock, as wide as its column.

    Args:
        stock: The batch.
        scale: The quantity that the whole width stands for.
        signs: The characters to draw with.
    """

    def __init__(self, stock: ShopBatch, scale: int, signs: Signs) -> None:
        self._stock = stock
        self._scale = scale
        self._signs = signs

    def __rich_console__(self, _console: Console, options: ConsoleOptions) -> Iterator[RenderableType]:
        held, free, lost = words.bar(
            width=options.max_width,
            scale=self._scale,
            allocated=self._stock.allocated,
            purchased=self._stock.purchased,
            lost=self._stock.lost,
        )
        yield Text.assemble(
            (self._signs.held * held, "cyan"),
            (self._signs.free * free, "dim"),
            (self._signs.lost * lost, "red"),
        )

    def __rich_measure__(self, _console: Console, options: ConsoleOptions) -> Measurement:
        return Measurement(1, options.max_width)


def _header(scene: Scene, signs: Signs) -> Table:
    processes = Text()
    for process in scene.processes:
        sign, style = (signs.on, "green") if process.alive else (signs.off, "red")
        processes.append(f"   {process.verb} ")
        processes.append(f"{process.pid} {sign}" if process.alive else f"gone {sign}", style)
    return _left_and_right(Text("A day in a shop", "bold cyan"), processes, signs)


def _left_and_right(left: Text, right: Text, signs: Signs) -> Table:
    row = Table.grid(expand=True)
    row.add_column(no_wrap=True, ratio=1, overflow=signs.ellipsis)
    row.add_column(no_wrap=True, justify="right", overflow=signs.ellipsis)
    row.add_row(left, right)
    return row


def _footer(scene: Scene, signs: Signs, *, width: int) -> Table:
    answered = len(scene.shop.caused)
    waiting = scene.sent - answered
    counts = Text(f"{scene.sent:,} sent, {answered:,} answered")
    if waiting:
        counts.append(f", {waiting:,} waiting", "yellow")
    history = scene.meter.history if width >= _NARROW else []
    speed = Text.assemble((words.sparkline(history, signs.levels), "cyan"), f"{scene.meter.per_second:>6,.0f} a second")
    return _left_and_right(counts, speed, signs)
