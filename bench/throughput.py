"""The throughput benchmarks, in commands per second."""

import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from allocation_worker.testing.servers import Servers
from bench import clock, seeds, workloads
from bench.clock import Run
from bench.progress import ProgressBar
from bench.results import Result
from bench.sides import BareSide, Side, WorkerSide, plain
from bench.workloads import Workload

RETAIL = Path(__file__).parents[2] / "shared" / "data" / "online-retail.csv"
OLD_LINES_A_SKU = 1000
CONSUMERS = (1, 2, 3, 4)
NEVER_SLOWER = 0.97
"""More consumers count as no slower from here on: two runs of the same thing differ by more."""

NewSide = Callable[[Servers], Side]


class Throughput:
    """Runs both sides in alternation, so that the load of the machine affects them alike.

    Args:
        servers: The servers that everything runs on.
        shown: The display of progress.
        repeats: The number of pairs. The result is their median ratio.
        count: The commands per run.
    """

    def __init__(self, servers: Servers, shown: ProgressBar, *, repeats: int, count: int) -> None:
        self._servers = servers
        self._shown = shown
        self._repeats = repeats
        self._count = count

    def spread(self) -> Result:
        work = f"{self._count:,} allocates, 1,000 SKUs of 3 batches"
        load = workloads.allocates(self._count, skus=1000)
        return self._against_bare(work, 1.1, load, load)

    def one_sku(self) -> Result:
        load = workloads.allocates(self._count, skus=1)
        return self._against_bare(f"{self._count:,} allocates, one SKU", 1.1, load, load)

    def mixed(self) -> Result:
        work = f"{self._count:,} mixed: 90% allocate, 7% deallocate, 3% change-batch-quantity, 200 SKUs"
        bare = workloads.allocates(self._count, skus=200)
        return self._against_bare(work, 0.95, bare, workloads.mixed(self._count))

    def retail(self) -> Result | None:
        """None where the file is not there."""
        if not RETAIL.exists():
            return None
        load = workloads.retail(RETAIL)
        return self._against_bare(f"a real shop's {load.commands:,} order lines", None, load, load)

    def with_history(self) -> Result:
        """The first row on top of a million lines; one such database, used for every run, since it takes a minute."""
        work = f"{self._count:,} allocates on top of 1,000,000 lines and inbox rows"
        stock = workloads.allocates(self._count, skus=1000).stock
        self._shown.say("filling a database with 1,000,000 lines")
        full = WorkerSide(self._servers)
        full.seed(stock)
        seeds.history(plain(full.database_url), per_sku=OLD_LINES_A_SKU)
        # The first run after a checkpoint writes whole pages of the big indexes to the log, once; not counted.
        cold = self._timed(full, workloads.allocates(self._count, skus=1000, seed=99), work)
        pairs = []
        for number in range(self._repeats):
            load = workloads.allocates(self._count, skus=1000, seed=100 + number)
            with self._fresh(WorkerSide) as empty:
                empty.seed(load.stock)
                first, second = (empty, full) if number % 2 else (full, empty)
                runs = {id(side): self._timed(side, load, work) for side in (first, second)}
            pairs.append((runs[id(empty)], runs[id(full)]))
        self._servers.database.drop(full.database_url)
        result = _compared(work, 0.97, pairs, "itself when empty")
        return Result(
            work=work,
            goal=result.goal,
            found=result.found,
            met=result.met,
            figures={**result.figures, "just_after_a_checkpoint": cold.rate},
        )

    def consumers(self) -> Result:
        """The curve. Runs are long, since consumers start seconds apart and the clock waits for the last."""
        work = "one, two, three, four consumers"
        load = workloads.allocates(3 * self._count, skus=1000)
        rates: dict[int, list[float]] = {count: [] for count in CONSUMERS}
        for _ in range(self._repeats):
            for count in CONSUMERS:
                with self._fresh(lambda servers, count=count: WorkerSide(servers, consumers=count)) as side:  # type: ignore[misc] # mypy does not infer lambdas with defaults
                    assert isinstance(side, WorkerSide)  # noqa: S101 - it was made above
                    side.seed(load.stock)
                    run = clock.run_started(side, load, self._shown.counting(f"{work}: {count}"))
                    self._shown.say(f"{work}: {count}: {run.rate:,.0f} a second")
                    rates[count].append(run.rate)
        curve = {count: statistics.median(found) for count, found in rates.items()}
        return Result(
            work=work,
            goal="never slower than one",
            found=", ".join(f"{curve[count] / curve[1]:.2f}" for count in CONSUMERS) + " of one",
            met=all(rate >= NEVER_SLOWER * curve[1] for rate in curve.values()),
            figures={"rates": rates, "curve": curve},
        )

    def _against_bare(self, work: str, goal: float | None, bare: Workload, worker: Workload) -> Result:
        pairs = []
        for number in range(self._repeats):
            sides: list[tuple[NewSide, Workload]] = [(BareSide, bare), (WorkerSide, worker)]
            runs = {}
            for new_side, load in sides if number % 2 == 0 else reversed(sides):
                with self._fresh(new_side) as side:
                    side.seed(load.stock)
                    runs[side.name] = self._timed(side, load, work)
            pairs.append((runs[BareSide.name], runs[WorkerSide.name]))
        return _compared(work, goal, pairs, "the bare loop")

    def _timed(self, side: Side, load: Workload, work: str) -> Run:
        run = clock.run(side, load, self._shown.counting(f"{work}: {side.name}"))
        self._shown.say(f"{work}: {side.name}: {run.rate:,.0f} a second")
        return run

    @contextmanager
    def _fresh(self, new_side: NewSide) -> Iterator[Side]:
        side = new_side(self._servers)
        try:
            yield side
        finally:
            self._servers.database.drop(side.database_url)


def _compared(work: str, goal: float | None, pairs: Sequence[tuple[Run, Run]], with_what: str) -> Result:
    ratios = [second.rate / first.rate for first, second in pairs]
    ratio = statistics.median(ratios)
    firsts, seconds = zip(*pairs, strict=True)
    rates = [statistics.median(run.rate for run in runs) for runs in (firsts, seconds)]
    return Result(
        work=work,
        goal=f">= {goal} of {with_what}" if goal else "",
        found=f"{ratio:.2f} ({rates[1]:,.0f} a second, {with_what} {rates[0]:,.0f})",
        met=ratio >= goal if goal else None,
        figures={
            "ratio": ratio,
            "ratios": ratios,
            "goal": goal,
            "yardstick_rates": [run.rate for run in firsts],
            "worker_rates": [run.rate for run in seconds],
            "yardstick_cpu_ms_a_command": statistics.median(1000 * run.cpu_seconds / run.commands for run in firsts),
            "worker_cpu_ms_a_command": statistics.median(1000 * run.cpu_seconds / run.commands for run in seconds),
        },
    )
