"""Groups in PostgreSQL have the same results as single messages in memory."""

from collections.abc import Sequence
from datetime import UTC, date, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allocation_worker.adapters.postgres.unit_of_work import Optimism
from allocation_worker.domain import model
from allocation_worker.domain.commands import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CreateBatch,
    Deallocate,
    Hold,
    Ship,
)
from allocation_worker.service_layer import handlers
from allocation_worker.service_layer.messages import CommandMessage
from allocation_worker.service_layer.outcomes import Outcome
from tests.fakes.messages import message
from tests.fakes.unit_of_work import FakeDatabase, Published
from tests.integration.postgres.staging import process
from tests.integration.postgres.store import PostgresStore

skus = st.sampled_from(["LAMP", "LAMP", "VASE", "NULL"])
orderids = st.sampled_from(["o1", "o2", "o3", '{"o4"}'])
lineids = st.sampled_from(["", "2"])
batchrefs = st.sampled_from(["b1", "b2", "b3", "b\\4"])
times = st.sampled_from([datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 13, tzinfo=UTC)])
etas = st.sampled_from([None, date(2026, 1, 1), date(2026, 1, 2)])

commands: st.SearchStrategy[Command] = st.one_of(
    st.builds(Allocate, orderid=orderids, sku=skus, lineid=lineids, qty=st.sampled_from([1, 2, 2, 3, 5])),
    st.builds(Allocate, orderid=orderids, sku=skus, lineid=lineids, qty=st.just(2)),
    st.builds(
        Allocate,
        orderid=orderids,
        sku=skus,
        lineid=lineids,
        qty=st.sampled_from([1, 2, 3, 5, 9]),
        wait=st.just(True),  # noqa: FBT003 - the value of a field
        priority=st.sampled_from([0, 0, 9]),
        needed_by=etas,
    ),
    st.builds(Deallocate, orderid=orderids, sku=skus, lineid=lineids),
    st.builds(Ship, orderid=orderids, sku=skus, lineid=lineids),
    st.builds(CreateBatch, batchref=batchrefs, sku=skus, qty=st.sampled_from([2, 5, 9]), eta=etas),
    st.builds(ChangeBatchEta, batchref=batchrefs, eta=etas),
    st.builds(ChangeBatchQuantity, batchref=batchrefs, qty=st.integers(0, 12)),
)
changes_of_lines: st.SearchStrategy[Command] = st.builds(
    ChangeLineQuantity, orderid=orderids, sku=skus, lineid=lineids, qty=st.sampled_from([1, 2, 3, 5])
)
holds: st.SearchStrategy[Command] = st.builds(
    Hold,
    orderid=orderids,
    sku=skus,
    lineid=lineids,
    qty=st.sampled_from([1, 2, 3, 5]),
    # Long ago, so that the clock of the database does not shorten it. Nothing ends holds here.
    until=times,
)
# One message in three or so has an id that another may have.
message_ids = st.none() | st.none() | st.integers(1, 4).map("id-{}".format)
messages = st.builds(message, st.one_of(commands, changes_of_lines, holds), message_ids)
groups = st.lists(st.lists(messages, min_size=1, max_size=10), min_size=1, max_size=6)


def comparable(published: Sequence[Published]) -> list[tuple[object, ...]]:
    """All of the events; of the ids, which are random, only which are the same."""
    numbers: dict[str, int] = {}
    return [
        (
            numbers.setdefault(event.message_id, len(numbers)),
            event.type,
            event.sku,
            event.sequence,
            event.body,
            event.correlation_id,
            event.causation_id,
        )
        for event in published
    ]


def answers(store: PostgresStore | FakeDatabase, group: Sequence[CommandMessage]) -> list[Outcome]:
    return process(store.unit_of_work, *group)


@pytest.mark.parametrize("at_a_time", [model.AT_A_TIME, 2])
@settings(
    max_examples=50,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(story=groups, optimistic=st.booleans())
def test_groups_in_postgresql_are_single_messages_in_memory(
    store: PostgresStore,
    story: list[list[CommandMessage]],
    optimistic: bool,  # noqa: FBT001 - hypothesis gives it
    at_a_time: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for module in (model, handlers):
        monkeypatch.setattr(module, "AT_A_TIME", at_a_time)
    store.empty()
    store.optimism = Optimism() if optimistic else None
    memory = FakeDatabase()
    for group in story:
        assert answers(store, group) == [outcome for each in group for outcome in answers(memory, [each])]
    assert comparable(store.published()) == comparable(memory.published())
    assert (store.stock(), store.lines(), store.taken(*memory.taken())) == (
        memory.stock(),
        memory.lines(),
        memory.taken(),
    )
