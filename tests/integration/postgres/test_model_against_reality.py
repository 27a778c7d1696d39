"""Groups in PostgreSQL have the same results as single messages in memory. Nothing ends holds here."""

from collections.abc import Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allocation_worker.adapters.postgres.unit_of_work import Optimism
from allocation_worker.domain import model
from allocation_worker.service_layer import handlers
from allocation_worker.service_layer.messages import CommandMessage
from tests.fakes.any_commands import commands
from tests.fakes.messages import message
from tests.fakes.unit_of_work import FakeDatabase, Published
from tests.integration.postgres.staging import process
from tests.integration.postgres.store import PostgresStore

# One message in three or so has an id that another may have.
message_ids = st.none() | st.none() | st.integers(1, 4).map("id-{}".format)
messages = st.builds(message, commands, message_ids)
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


@pytest.mark.parametrize("at_a_time", [model.AT_A_TIME, 2])
@settings(
    max_examples=50,
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
    monkeypatch.setattr(model, "FIRST_SERVED", min(model.FIRST_SERVED, at_a_time))
    store.empty()
    store.optimism = Optimism() if optimistic else None
    memory = FakeDatabase()
    for group in story:
        one_by_one = [outcome for each in group for outcome in process(memory.unit_of_work, each)]
        assert process(store.unit_of_work, *group) == one_by_one
    assert comparable(store.published()) == comparable(memory.published())
    assert (store.stock(), store.lines(), store.taken(*memory.taken())) == (
        memory.stock(),
        memory.lines(),
        memory.taken(),
    )
