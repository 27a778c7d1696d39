"""The contract of the tables that are pruned, for the fake and for both ways of reading a table of PostgreSQL."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Protocol

import pytest
import sqlalchemy as sa

from allocation_worker.adapters.postgres.prune import PostgresPruneTimes, TableByIds, TableByPages
from allocation_worker.service_layer.ports import PrunedTable, PruneTimes
from tests.fakes.prune import FakeTable, FakeTimes
from tests.integration.postgres.store import PostgresStore

NOW = datetime(2031, 1, 1, tzinfo=UTC)
KEEP = timedelta(days=7)


class Stage(Protocol):
    """A table, and what others do with it."""

    @property
    def table(self) -> PrunedTable: ...
    def write(self, label: str, *, days: float, count: int = 1, may_go: bool = True) -> None: ...
    def locked(self, label: str) -> AbstractContextManager[None]: ...
    def left(self) -> dict[str, int]: ...


class MemoryStage:
    def __init__(self) -> None:
        self.table = FakeTable(keep=KEEP)

    def write(self, label: str, *, days: float, count: int = 1, may_go: bool = True) -> None:
        before = len(self.table.rows)
        self.table.write(label, NOW - timedelta(days=days), count)
        for row in self.table.rows[before:]:
            row.may_go = may_go

    @contextmanager
    def locked(self, label: str) -> Iterator[None]:
        rows = [row for row in self.table.rows if row.label.startswith(label)]
        for row in rows:
            row.locked = True
        yield
        for row in rows:
            row.locked = False

    def left(self) -> dict[str, int]:
        labels = [row.label.rpartition("-")[0] for row in self.table.rows]
        return {label: labels.count(label) for label in labels}


class PostgresStage:
    """A table of the test's own with the columns that pruning knows."""

    def __init__(self, store: PostgresStore, *, by_ids: bool) -> None:
        self.store = store
        store.execute("DROP TABLE IF EXISTS pruned")
        store.execute(
            "CREATE TABLE pruned (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, label text NOT NULL, "
            "written_at timestamptz NOT NULL, published_at timestamptz)"
        )
        self.table: PrunedTable
        if by_ids:
            self.table = TableByIds(
                store.engine, "pruned", "written_at", keep=KEEP, may_go="published_at IS NOT NULL", rows=10
            )
        else:
            self.table = TableByPages(
                store.engine, "pruned", "written_at", keep=KEEP, may_go="published_at IS NOT NULL", pages=1
            )

    def write(self, label: str, *, days: float, count: int = 1, may_go: bool = True) -> None:
        self.store.execute(
            "INSERT INTO pruned (label, written_at, published_at) "
            "SELECT :label, :at, CASE WHEN :may_go THEN now() END FROM generate_series(1, :count)",
            label=label,
            at=NOW - timedelta(days=days),
            count=count,
            may_go=may_go,
        )

    @contextmanager
    def locked(self, label: str) -> Iterator[None]:
        with self.store.engine.begin() as connection:
            connection.execute(sa.text("SELECT FROM pruned WHERE label = :label FOR UPDATE"), {"label": label})
            yield

    def left(self) -> dict[str, int]:
        return {row.label: row.count for row in self.store.rows("SELECT label, count(*) FROM pruned GROUP BY label")}  # type: ignore[misc] # a column, not the method


@pytest.fixture(params=["memory", "by pages", "by ids"])
def stage(request: pytest.FixtureRequest) -> Stage:
    if request.param == "memory":
        return MemoryStage()
    return PostgresStage(request.getfixturevalue("postgres_store"), by_ids=request.param == "by ids")


def prune(stage: Stage, now: datetime = NOW) -> int:
    """Prune through one round; how many rows have gone."""
    gone = 0
    while True:
        rows, ended = stage.table.step(now)
        assert stage.table.steps_left() >= 1
        gone += rows
        if ended:
            return gone


def test_an_empty_table_is_a_round(stage: Stage) -> None:
    assert prune(stage) == 0


def test_old_rows_go_and_young_ones_stay(stage: Stage) -> None:
    stage.write("old", days=7.1, count=35)
    stage.write("young", days=6.9, count=35)
    assert prune(stage) == 35
    assert stage.left() == {"young": 35}


def test_much_goes_a_little_at_a_time(stage: Stage) -> None:
    stage.write("old", days=8, count=1000)
    first, _ = stage.table.step(NOW)
    assert 0 < first < 1000
    assert prune(stage) == 1000 - first


def test_rows_go_as_they_become_old(stage: Stage) -> None:
    for days in (3.0, 2.0, 1.0):
        stage.write(f"written {days} days ago", days=days, count=15)
    gone = [prune(stage, NOW + timedelta(days=later)) for later in range(8)]
    assert gone == [0, 0, 0, 0, 0, 15, 15, 15]


def test_what_may_not_go_stays_and_does_not_keep_others(stage: Stage) -> None:
    stage.write("waiting", days=3650, count=25, may_go=False)
    stage.write("old", days=8, count=25)
    assert prune(stage) == 25
    assert stage.left() == {"waiting": 25}


def test_what_is_locked_is_skipped_and_goes_later(stage: Stage) -> None:
    stage.write("old", days=8, count=15)
    stage.write("locked", days=8)
    stage.write("old", days=8, count=15)
    with stage.locked("locked"):
        assert prune(stage) == 30
        assert stage.left() == {"locked": 1}
    assert prune(stage, NOW + timedelta(hours=2)) == 1


@pytest.mark.parametrize("count", [1, 10, 25, 200])
def test_rows_with_a_time_that_was_ahead_do_not_keep_those_behind_them(stage: Stage, count: int) -> None:
    stage.write("ahead", days=-40, count=count)
    stage.write("old", days=8, count=300)
    stage.write("young", days=1, count=300)
    assert prune(stage) == 300
    assert stage.left() == {"ahead": count, "young": 300}


def test_a_time_that_goes_back_deletes_nothing(stage: Stage) -> None:
    stage.write("young", days=1, count=20)
    prune(stage)
    assert prune(stage, NOW - timedelta(days=40)) == 0


@pytest.fixture(params=["memory", "postgresql"])
def times(request: pytest.FixtureRequest) -> PruneTimes:
    if request.param == "memory":
        return FakeTimes(lambda: 0.0)
    store: PostgresStore = request.getfixturevalue("postgres_store")
    return PostgresPruneTimes(store.engine)


class TestTimes:
    def test_the_time_of_the_server_has_a_zone(self, times: PruneTimes) -> None:
        assert times.server_time().tzinfo is not None

    def test_a_time_is_kept(self, times: PruneTimes) -> None:
        before = times.reached()
        after = before + timedelta(seconds=1)
        assert times.reach(before, after)
        assert times.reached() == after

    def test_but_not_over_one_that_is_not_known(self, times: PruneTimes) -> None:
        before = times.reached()
        assert not times.reach(before - timedelta(seconds=1), before + timedelta(days=1))
        assert times.reached() == before
