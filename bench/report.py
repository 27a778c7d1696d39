"""Writes the results: a table, JSON and a plot."""

import json
import os
import platform
import textwrap
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console
from rich.table import Table

from bench.results import Result

_GOOD, _BAD, _GOAL = "#4c78a8", "#e45756", "#222222"


def table(console: Console, results: Sequence[Result]) -> None:
    """Print what was found."""
    shown = Table(title="Beside the bare loop, on the same servers, in the same minutes", title_justify="left")
    for column in ("work", "goal", "found", ""):
        shown.add_column(column)
    for it in results:
        shown.add_row(it.work, it.goal, it.found, {True: "met", False: "MISSED", None: ""}[it.met])
    console.print(shown)


def write(results: Sequence[Result], folder: Path, name: str) -> list[Path]:
    """Write `name`.json, .md and .png; the files."""
    folder.mkdir(parents=True, exist_ok=True)
    data = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": f"{os.cpu_count()} cores, {platform.machine()}, Linux {platform.release()}",
        "python": platform.python_version(),
        "rows": [asdict(it) for it in results],
    }
    files = [folder / f"{name}.{suffix}" for suffix in ("json", "md", "png")]
    files[0].write_text(json.dumps(data, indent=2) + "\n")
    files[1].write_text(_markdown(results))
    _plot(results, files[2])
    return files


def _markdown(results: Sequence[Result]) -> str:
    rows = ["| work | goal | found |", "|---|---|---|"]
    rows += [f"| {it.work} | {it.goal or 'report'} | {it.found} |" for it in results]
    return "\n".join(rows) + "\n"


def _plot(results: Sequence[Result], file: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - half a second, and only here

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    compared = [it for it in results if "ratio" in it.figures]
    curves = [it.figures["curve"] for it in results if "curve" in it.figures]
    peers = [it.figures["peers"] for it in results if "peers" in it.figures]
    width = 1 + len(curves) + len(peers)
    figure, panels = plt.subplots(1, width, figsize=(4 + 4 * width, 1.2 + 0.7 * max(4, len(compared))), squeeze=False)
    bars = panels[0][0]
    names = ["\n".join(_wrapped(it.work)) for it in compared]
    bars.barh(
        names, [it.figures["ratio"] for it in compared], color=[_BAD if it.met is False else _GOOD for it in compared]
    )
    for row, it in enumerate(compared):
        bars.plot(it.figures["ratios"], [row] * len(it.figures["ratios"]), ".", color=_GOAL, markersize=4)
        if it.figures["goal"]:
            bars.plot([it.figures["goal"]] * 2, [row - 0.4, row + 0.4], color=_GOAL, linewidth=2)
    bars.invert_yaxis()
    bars.set_xlabel("ratio to the yardstick (line: goal; dots: runs)")
    for panel, rates in zip(panels[0][1 + len(curves) :], peers, strict=True):
        shown = panel.barh(list(rates), list(rates.values()), color=_GOOD)
        panel.bar_label(shown, fmt="{:,.0f}")
        panel.margins(x=0.25)
        panel.invert_yaxis()
        panel.set_xlabel("commands a second")
    for panel, curve in zip(panels[0][1 : 1 + len(curves)], curves, strict=True):
        panel.plot([str(count) for count in curve], list(curve.values()), "o-", color=_GOOD)
        panel.set_ylim(bottom=0)
        panel.set_xlabel("consumers")
        panel.set_ylabel("commands a second")
    figure.tight_layout()
    figure.savefig(file, dpi=120)


def _wrapped(text: str, width: int = 34) -> list[str]:

    return textwrap.wrap(text, width)
