"""One campaign from start to verdict."""

import random
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import structlog

from allocation_worker.testing.waiting import wait_until
from chaos import orders, schedule, verdict
from chaos.faults import FAULTS, KINDS
from chaos.place import CONSUMERS, PROJECTORS, RELAYS, Place, place
from chaos.traffic import Traffic, Upstream, Watcher, declare
from harness.checker.events import Report

RATE = 80.0
DRAIN_WITHIN = 300.0

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class Struck:
    """A fault that took place; times are of `time.monotonic`."""

    target: str
    kind: str
    began: float
    healed: float
    trouble: str = ""
    """What went wrong with the fault itself: a node that did not come back is a finding."""


@dataclass(slots=True, kw_only=True)
class Campaign:
    """What happened.

    Attributes:
        seed: repeats it.
        began: of `time.monotonic`, when the first command was sent.
        ended: when everything was healed.
        drained: when the last answer had come; None if it never did.
        struck: the faults.
        sent_at: when each command was first published.
        answered_at: when its first answer came.
        published_twice: how many publications were repeats.
        poison: how many messages nobody could read.
        deaths: processes that ended by themselves.
        report: the checker's, once it has judged.
    """

    seed: int
    began: float = 0.0
    ended: float = 0.0
    drained: float | None = None
    struck: list[Struck] = field(default_factory=list)
    sent_at: Mapping[str, float] = field(default_factory=dict)
    answered_at: Mapping[str, float] = field(default_factory=dict)
    published_twice: int = 0
    poison: int = 0
    deaths: Sequence[str] = ()
    report: Report = field(default_factory=Report)


def run(seed: int, minutes: float, logs: Path, tell: "Progress") -> Campaign:
    """Run it and judge it. Faults are in the report; whatever cannot even be judged is raised."""
    campaign = Campaign(seed=seed)
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        tell.say("starting a cluster of three nodes, a database on a small disk, and a Redis")
        here = stack.enter_context(place(logs))
        here.prepare()
        declare(here.amqp_urls)
        upstream = stack.enter_context(Upstream(here.amqp_urls))
        watcher = stack.enter_context(Watcher(here.amqp_urls))
        campaign.sent_at, campaign.answered_at = upstream.sent_at, watcher.answered_at
        with here.processes.running(*CONSUMERS, *RELAYS, *PROJECTORS):
            _stock_up(upstream, watcher, seed)
            traffic = Traffic(upstream, orders.Orders(seed), RATE)
            campaign.began = time.monotonic()
            with traffic.flowing():
                _strike_all(campaign, here, traffic, minutes, tell)
            campaign.ended = time.monotonic()
            tell.say("everything is healed; waiting for the last answers")
            _drain(campaign, here, upstream, watcher)
            campaign.published_twice, campaign.poison = upstream.published_twice, len(upstream.poison)
            tell.say("judging")
            campaign.report.faults += (judged := verdict.judge(here, upstream)).faults
            campaign.report.counts = judged.counts
            campaign.report.faults += [struck.trouble for struck in campaign.struck if struck.trouble]
            if campaign.drained is None:
                campaign.report.fault(f"Not everything was answered within {DRAIN_WITHIN:.0f} s of the last fault.")
        campaign.deaths = here.processes.deaths
    return campaign


class Progress:
    """Where it is told how it goes."""

    def say(self, sentence: str) -> None:
        """A line of its own."""
        raise NotImplementedError

    def show(self, done: float, sentence: str) -> None:
        """How far it is, from 0 to 1, and what is going on."""
        raise NotImplementedError


def _stock_up(upstream: Upstream, watcher: Watcher, seed: int) -> None:
    for number, command in enumerate(orders.stock(seed)):
        upstream.send(command, f"stock-{number}")
    wait_until(
        lambda: upstream.sent.keys() <= watcher.answered_at.keys(),
        within=120,
        otherwise=lambda: f"{len(watcher.answered_at)} of {len(upstream.sent)} batches were created within 120 s.",
    )


def _strike_all(campaign: Campaign, here: Place, traffic: Traffic, minutes: float, tell: Progress) -> None:
    seconds = 60 * minutes
    planned = schedule.draw(campaign.seed, seconds, KINDS)
    with _striking(campaign, here, traffic, planned) as (threads, active):
        _show(campaign, seconds, threads, active, tell)
    if missing := sum(map(len, planned.values())) - len(campaign.struck):
        campaign.report.fault(f"{missing} of the planned faults did not take place.")


@contextmanager
def _striking(
    campaign: Campaign, here: Place, traffic: Traffic, planned: Mapping[str, Sequence[schedule.Strike]]
) -> Iterator[tuple[list[threading.Thread], dict[str, str]]]:
    """A thread for each target; none strikes any more when this ends, and all that was struck is healed."""
    active: dict[str, str] = {}
    ended = threading.Event()
    threads = [
        threading.Thread(target=_strike, args=(campaign, here, traffic, target, strikes, active, ended), name=target)
        for target, strikes in planned.items()
    ]
    for thread in threads:
        thread.start()
    try:
        yield threads, active
    finally:
        ended.set()
        for thread in threads:
            thread.join()


def _show(
    campaign: Campaign, seconds: float, threads: Sequence[threading.Thread], active: Mapping[str, str], tell: Progress
) -> None:
    while (elapsed := time.monotonic() - campaign.began) < seconds or any(thread.is_alive() for thread in threads):
        answered, sent = len(campaign.answered_at), len(campaign.sent_at)
        now = f"{len(campaign.struck)} faults; {', '.join(active.values()) or 'no fault'}"
        tell.show(min(1.0, elapsed / seconds), f"{answered:,} of {sent:,} answered; {now}")
        time.sleep(0.5)


def _strike(
    campaign: Campaign,
    here: Place,
    traffic: Traffic,
    target: str,
    strikes: Sequence[schedule.Strike],
    active: dict[str, str],
    ended: threading.Event,
) -> None:
    """One target's faults, one after the other. One that took longer than planned delays those that follow."""
    for strike in strikes:
        if ended.wait(max(0.0, campaign.began + strike.at - time.monotonic())):
            return
        with _noted(campaign, target, strike, active), FAULTS[strike.kind](here, traffic, random.Random(strike.seed)):
            ended.wait(strike.seconds)


@contextmanager
def _noted(campaign: Campaign, target: str, strike: schedule.Strike, active: dict[str, str]) -> Iterator[None]:
    struck = Struck(target=target, kind=strike.kind, began=time.monotonic(), healed=0.0)
    active[target] = strike.kind
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever it is, it is told, and the campaign goes on
        struck.trouble = f"After {struck.began - campaign.began:.0f} s, {strike.kind!r} went wrong itself: {error!r}"
        log.warning("fault_failed", kind=strike.kind, error=str(error))
    finally:
        struck.healed = time.monotonic()
        campaign.struck.append(struck)
        del active[target]


def _drain(campaign: Campaign, here: Place, upstream: Upstream, watcher: Watcher) -> None:
    deadline = time.monotonic() + DRAIN_WITHIN
    while time.monotonic() < deadline:
        answered = not upstream.unconfirmed and upstream.sent.keys() <= watcher.answered_at.keys()
        if answered and verdict.is_drained(here):
            campaign.drained = time.monotonic()
            return
        time.sleep(1)
