"""Writes the report of a campaign: text, JSON and a plot."""

import json
import statistics
from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from chaos.campaign import Campaign

BIN = 2.0
_COLOURS = {
    "broker": "tab:orange",
    "database": "tab:blue",
    "consume": "tab:green",
    "relay": "tab:purple",
    "messages": "tab:red",
    "read model": "tab:brown",
}


def recoveries(campaign: Campaign) -> list[tuple[str, float]]:
    """Return, for each fault, the seconds from its end to the next answer of a command sent after its start."""
    pairs = sorted((campaign.sent_at[key], at) for key, at in campaign.answered_at.items() if key in campaign.sent_at)
    sent = [pair[0] for pair in pairs]
    found = []
    for injected in campaign.injected:
        answers = [at for _, at in pairs[bisect_left(sent, injected.began) :][:5000] if at >= injected.healed]
        if answers:
            found.append((injected.kind, min(answers) - injected.healed))
    return found


def summary(campaign: Campaign) -> dict[str, Any]:
    """Return the figures of a campaign."""
    recovered: dict[str, list[float]] = {}
    for kind, seconds in recoveries(campaign):
        recovered.setdefault(kind, []).append(seconds)
    waits = sorted(at - campaign.sent_at[key] for key, at in campaign.answered_at.items() if key in campaign.sent_at)
    return {
        "seed": campaign.seed,
        "minutes": round((campaign.ended - campaign.began) / 60, 1),
        "commands": len(campaign.sent_at),
        "answered": len(campaign.answered_at.keys() & campaign.sent_at.keys()),
        "published_again": campaign.published_twice,
        "poison": campaign.poison,
        "counts": campaign.report.counts,
        "faults_struck": len(campaign.injected),
        "kinds": len({injected.kind for injected in campaign.injected}),
        "by_kind": {
            kind: {
                "times": count,
                "seconds": round(sum(it.healed - it.began for it in campaign.injected if it.kind == kind), 1),
                "recovery_median": round(statistics.median(recovered.get(kind, [0.0])), 2),
                "recovery_longest": round(max(recovered.get(kind, [0.0])), 2),
            }
            for kind, count in sorted(Counter(injected.kind for injected in campaign.injected).items())
        },
        "answer_median": round(statistics.median(waits), 3) if waits else None,
        "answer_longest": round(waits[-1], 1) if waits else None,
        "drained_after": None if campaign.drained is None else round(campaign.drained - campaign.ended, 1),
        "deaths": list(campaign.deaths),
        "verdict": campaign.report.faults or "nothing lost, nothing twice, nothing oversold",
    }


def lines(figures: dict[str, Any], repeat: str) -> list[str]:
    """Return the figures as lines of text."""
    text = [
        (
            f"Seed {figures['seed']}, {figures['minutes']} minutes: {figures['commands']:,} commands, all but "
            f"{figures['commands'] - figures['answered']:,} answered; {figures['published_again']:,} published again, "
            f"{figures['poison']} that nobody could read."
        ),
        f"{figures['faults_struck']} faults of {figures['kinds']} kinds:",
    ]
    text += [
        f"  {kind:<58} {it['times']:>4} times, {it['seconds']:>7.1f} s; answers again after "
        f"{it['recovery_median']:.1f} s (longest {it['recovery_longest']:.1f} s)"
        for kind, it in figures["by_kind"].items()
    ]
    text.append("Events: " + ", ".join(f"{count:,} {kind}" for kind, count in sorted(figures["counts"].items())) + ".")
    text.append(
        f"An answer took {figures['answer_median']} s (median), {figures['answer_longest']} s at most; the last came "
        f"{figures['drained_after']} s after the last fault."
    )
    text += [f"Ended by itself: {death}" for death in figures["deaths"]]
    if isinstance(figures["verdict"], str):
        text.append(f"Verdict: {figures['verdict']}.")
    else:
        text.append(f"Verdict: {len(figures['verdict'])} faults. Repeat it with: {repeat}")
        text += [f"  {sentence}" for sentence in figures["verdict"][:50]]
    return text


def write(campaign: Campaign, folder: Path, repeat: str) -> list[str]:
    """Write report.txt, report.json and report.png into the folder. Return the lines of the text."""
    folder.mkdir(parents=True, exist_ok=True)
    figures = summary(campaign)
    text = lines(figures, repeat)
    (folder / "report.txt").write_text("\n".join(text) + "\n")
    (folder / "report.json").write_text(json.dumps(figures, indent=2) + "\n")
    _draw(campaign, folder / "report.png")
    return text


def _draw(campaign: Campaign, file: Path) -> None:
    import matplotlib as mpl  # noqa: PLC0415 - it takes a second to load

    mpl.use("Agg")
    from matplotlib import pyplot as plt  # noqa: PLC0415 - as above

    figure, (top, bottom) = plt.subplots(2, 1, figsize=(14, 7), sharex=True, height_ratios=(3, 2), layout="constrained")
    end = (campaign.drained or campaign.ended) - campaign.began
    edges = [BIN * number for number in range(int(end / BIN) + 2)]
    for times, label, colour in (
        (campaign.sent_at.values(), "sent", "0.6"),
        (campaign.answered_at.values(), "answered", "tab:green"),
    ):
        found = [at - campaign.began for at in times if at >= campaign.began]
        heights, _ = _histogram(found, edges)
        top.step(edges[:-1], [height / BIN for height in heights], where="post", label=label, color=colour, linewidth=1)
    top.set_ylabel("commands a second")
    top.legend(loc="upper right")
    top.set_title(
        f"Seed {campaign.seed}: {len(campaign.injected)} faults, {len(campaign.sent_at):,} commands, "
        f"{len(campaign.report.faults)} promises broken"
    )
    _draw_faults(bottom, campaign)
    bottom.set_xlabel("seconds")
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _histogram(values: Sequence[float], edges: Sequence[float]) -> tuple[list[int], Sequence[float]]:
    heights = [0] * (len(edges) - 1)
    for value in values:
        heights[min(int(value / BIN), len(heights) - 1)] += 1
    return heights, edges


def _draw_faults(axes: Any, campaign: Campaign) -> None:  # noqa: ANN401 - matplotlib's
    kinds = sorted({(injected.target, injected.kind) for injected in campaign.injected})
    rows = {kind: row for row, (_, kind) in enumerate(kinds)}
    for injected in campaign.injected:
        began = injected.began - campaign.began
        width = max(injected.healed - injected.began, 1.0)
        axes.broken_barh([(began, width)], (rows[injected.kind] - 0.4, 0.8), color=_COLOURS[injected.target])
    axes.set_yticks(range(len(kinds)), [kind for _, kind in kinds], fontsize=7)
    axes.invert_yaxis()
