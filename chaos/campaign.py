"""Runs one campaign from its start to its verdict."""

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
from chaos.sandbox import CONSUMERS, PROJECTORS, RELAYS, Sandbox, start_sandbox
from chaos.traffic import CommandStream, Upstream, Watcher, declare
from harness.checker.events import Report

RATE = 80.0
DRAIN_WITHIN = 300.0

log = structlog.get_logger()


@dataclass(slots=True, kw_only=True)
class InjectedFault:
    """An injected fault. Times are of `time.monotonic`."""

    target: str
    kind: str
    began: float
    healed: float
    trouble: str = ""
    """An error of the injection itself, such as a node that did not start again; it counts as a finding."""


@dataclass(slots=True, kw_only=True)
class Campaign:
    """The record of a campaign. Times are of `time.monotonic`.

    Attributes:
        seed: The seed, which repeats the campaign.
        began: The time of the first command.
        ended: The time when all faults were healed.
        drained: The time of the last answer; None if some are missing.
        injected: The injected faults.
        sent_at: The time of each command's first publication.
        answered_at: The time of its first answer.
        published_twice: The number of repeated publications.
        poison: The number of unreadable messages.
        deaths: The processes that ended unexpectedly.
        report: The checker's report, once there is one.
    """

    seed: int
    began: float = 0.0
    ended: float = 0.0
    drained: float | None = None
    injected: list[InjectedFault] = field(default_factory=list)
    sent_at: Mapping[str, float] = field(default_factory=dict)
    answered_at: Mapping[str, float] = field(default_factory=dict)
    published_twice: int = 0
    poison: int = 0
    deaths: Sequence[str] = ()
    report: Report = field(default_factory=Report)


def run(seed: int, minutes: float, logs: Path, tell: "CampaignProgress") -> Campaign:
    """Run a campaign and check it. Its report holds the faults; an error that prevents the check is raised."""
    campaign = Campaign(seed=seed)
    logs.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        tell.say("starting a cluster of three nodes, a pair of database servers on small disks, and a Redis")
        sandbox = stack.enter_context(start_sandbox(logs))
        sandbox.prepare()
        declare(sandbox.amqp_urls)
        upstream = stack.enter_context(Upstream(sandbox.amqp_urls))
        watcher = stack.enter_context(Watcher(sandbox.amqp_urls))
        campaign.sent_at, campaign.answered_at = upstream.sent_at, watcher.answered_at
        with sandbox.processes.running(*CONSUMERS, *RELAYS, *PROJECTORS):
            _stock_up(upstream, watcher, seed)
            stream = CommandStream(upstream, orders.Orders(seed), RATE)
            campaign.began = time.monotonic()
            with stream.flowing():
                _inject_all(campaign, sandbox, stream, minutes, tell)
            campaign.ended = time.monotonic()
            tell.say("everything is healed; waiting for the last answers")
            _drain(campaign, sandbox, upstream, watcher)
            campaign.published_twice, campaign.poison = upstream.published_twice, len(upstream.poison)
            tell.say("judging")
            campaign.report.faults += (judged := verdict.judge(sandbox, upstream)).faults
            campaign.report.counts = judged.counts
            campaign.report.faults += [injected.trouble for injected in campaign.injected if injected.trouble]
            if campaign.drained is None:
                campaign.report.fault(f"Not everything was answered within {DRAIN_WITHIN:.0f} s of the last fault.")
        campaign.deaths = sandbox.processes.deaths
    return campaign


class CampaignProgress:
    """Shows the progress of a campaign."""

    def say(self, sentence: str) -> None:
        """Print a permanent line."""
        raise NotImplementedError

    def show(self, done: float, sentence: str) -> None:
        """Show the progress, from 0 to 1, and the current activity."""
        raise NotImplementedError


def _stock_up(upstream: Upstream, watcher: Watcher, seed: int) -> None:
    for number, command in enumerate(orders.stock(seed)):
        upstream.send(command, f"stock-{number}")
    wait_until(
        lambda: upstream.sent.keys() <= watcher.answered_at.keys(),
        within=120,
        otherwise=lambda: f"{len(watcher.answered_at)} of {len(upstream.sent)} batches were created within 120 s.",
    )


def _inject_all(
    campaign: Campaign, sandbox: Sandbox, stream: CommandStream, minutes: float, tell: CampaignProgress
) -> None:
    seconds = 60 * minutes
    planned = schedule.draw(campaign.seed, seconds, KINDS)
    with _injecting(campaign, sandbox, stream, planned) as (threads, active):
        _show(campaign, seconds, threads, active, tell)
    if missing := sum(map(len, planned.values())) - len(campaign.injected):
        campaign.report.fault(f"{missing} of the planned faults did not take place.")


@contextmanager
def _injecting(
    campaign: Campaign, sandbox: Sandbox, stream: CommandStream, planned: Mapping[str, Sequence[schedule.PlannedFault]]
) -> Iterator[tuple[list[threading.Thread], dict[str, str]]]:
    """Run one thread per target. At the end of the block all threads have ended, and all faults are healed."""
    active: dict[str, str] = {}
    ended = threading.Event()
    threads = [
        threading.Thread(
            target=_inject, args=(campaign, sandbox, stream, target, planned_faults, active, ended), name=target
        )
        for target, planned_faults in planned.items()
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
    campaign: Campaign,
    seconds: float,
    threads: Sequence[threading.Thread],
    active: Mapping[str, str],
    tell: CampaignProgress,
) -> None:
    while (elapsed := time.monotonic() - campaign.began) < seconds or any(thread.is_alive() for thread in threads):
        answered, sent = len(campaign.answered_at), len(campaign.sent_at)
        now = f"{len(campaign.injected)} faults; {', '.join(active.values()) or 'no fault'}"
        tell.show(min(1.0, elapsed / seconds), f"{answered:,} of {sent:,} answered; {now}")
        time.sleep(0.5)


def _inject(
    campaign: Campaign,
    sandbox: Sandbox,
    stream: CommandStream,
    target: str,
    planned_faults: Sequence[schedule.PlannedFault],
    active: dict[str, str],
    ended: threading.Event,
) -> None:
    """Inject the faults of one target, one after the other. A fault that takes longer than planned delays the next."""
    for fault in planned_faults:
        if ended.wait(max(0.0, campaign.began + fault.at - time.monotonic())):
            return
        with (
            _recorded(campaign, target, fault, active),
            FAULTS[fault.kind](sandbox, stream, random.Random(fault.seed)),
        ):
            ended.wait(fault.seconds)


@contextmanager
def _recorded(campaign: Campaign, target: str, fault: schedule.PlannedFault, active: dict[str, str]) -> Iterator[None]:
    injected = InjectedFault(target=target, kind=fault.kind, began=time.monotonic(), healed=0.0)
    active[target] = fault.kind
    try:
        yield
    except Exception as error:  # noqa: BLE001 - any error is reported, and the campaign goes on
        injected.trouble = f"After {injected.began - campaign.began:.0f} s, {fault.kind!r} went wrong itself: {error!r}"
        log.warning("fault_failed", kind=fault.kind, error=str(error))
    finally:
        injected.healed = time.monotonic()
        campaign.injected.append(injected)
        del active[target]


def _drain(campaign: Campaign, sandbox: Sandbox, upstream: Upstream, watcher: Watcher) -> None:
    deadline = time.monotonic() + DRAIN_WITHIN
    while time.monotonic() < deadline:
        answered = not upstream.unconfirmed and upstream.sent.keys() <= watcher.answered_at.keys()
        if answered and verdict.is_drained(sandbox):
            campaign.drained = time.monotonic()
            return
        time.sleep(1)
