"""Redoing events gives the state that the rules gave; undoing them gives the first state."""

import json
from copy import deepcopy

from hypothesis import given, settings
from hypothesis import strategies as st

from allocation_worker.adapters import wire
from allocation_worker.domain.commands import Command
from allocation_worker.domain.history import Batches, Shares, redo, undo
from tests.fakes.any_commands import commands
from tests.fakes.messages import message
from tests.fakes.unit_of_work import FakeDatabase
from tests.integration.postgres.staging import process


@settings(max_examples=200)
@given(story=st.lists(commands, min_size=1, max_size=25))
def test_there_and_back_again(story: list[Command]) -> None:
    database = FakeDatabase()
    process(database.unit_of_work, *(message(command) for command in story))
    for sku, product in database.committed.products.items():
        events = {
            event.sequence: wire.product_event(event.type, json.dumps(event.body).encode())
            for event in database.published()
            if event.sku == sku
        }
        batches: Batches = {}
        steps: list[Batches] = []
        known = Shares()
        before = {sequence: known.take(events[sequence]) for sequence in sorted(events, key=lambda each: each or 0)}
        for sequence in sorted(events, key=lambda each: each or 0):
            steps.append(deepcopy(batches))
            redo(batches, events[sequence], before[sequence])
        assert batches == product.batches
        for sequence in sorted(events, key=lambda each: -(each or 0)):
            undo(batches, events[sequence], before[sequence])
            assert batches == steps.pop()
