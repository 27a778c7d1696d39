"""The story of a command, from the tables."""

from datetime import UTC, date, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from allocation_worker.adapters.postgres.explain import open_records
from allocation_worker.cli.event_words import because, outcome
from allocation_worker.cli.story_view import as_json, opening
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
from allocation_worker.domain.events import Allocated, OutOfStock
from allocation_worker.service_layer import explain as explain_module
from allocation_worker.service_layer.explain import Story, events_about, explain
from allocation_worker.service_layer.ports import Rejection
from tests.fakes.any_commands import commands
from tests.fakes.messages import message
from tests.integration.postgres.staging import create, order, process
from tests.integration.postgres.store import PostgresStore
from tests.integration.postgres.test_holds import lapser

NEW_YEAR = date(2026, 1, 1)


def decide(store: PostgresStore, *named: tuple[str, Command]) -> None:
    for message_id, command in named:
        process(store.unit_of_work, message(command, message_id))


def story_of(store: PostgresStore, message_id: str) -> Story:
    with open_records(store.engine) as records:
        story = explain(records, message_id)
    assert story is not None
    return story


def verdicts(story: Story) -> list[tuple[str, int, str]]:
    [decision] = story.decisions
    return [(each.batch.reference, each.batch.available_quantity, each.verdict) for each in decision.considered]


@pytest.fixture
def shop(store: PostgresStore) -> PostgresStore:
    decide(
        store,
        ("c1", CreateBatch(batchref="ship", sku="LAMP", qty=20, eta=NEW_YEAR)),
        ("c2", create("shelf", 5)),
        ("c3", CreateBatch(batchref="later", sku="LAMP", qty=50, eta=date(2026, 2, 1))),
        ("m1", order("o1", 3)),
        ("m2", order("o2", 4)),
        ("m3", order("o3", 100)),
    )
    return store


def test_each_batch_that_was_passed_over_says_why(shop: PostgresStore) -> None:
    story = story_of(shop, "m2")
    assert verdicts(story) == [("shelf", 2, "too little left"), ("ship", 20, "took it"), ("later", 50, "not needed")]
    assert story.decisions[0].agrees
    assert story.first is not None
    assert outcome(story.first.event) == (
        "allocate.v1 asked for 4 for order o2, SKU LAMP: allocated to batch ship, due on 2026-01-01."
    )
    assert (story.events, story.published) == (1, 0)


def test_what_has_happened_since_does_not_matter(shop: PostgresStore) -> None:
    before = as_json(story_of(shop, "m2"))
    decide(
        shop,
        ("d", Deallocate(orderid="o1", sku="LAMP")),
        ("x", ChangeBatchQuantity(batchref="ship", qty=1)),
        ("n", create("new-shelf", 1000)),
        ("m9", order("o9", 30)),
    )
    after = as_json(story_of(shop, "m2"))
    assert [told["type"] for told in after["since"]] == ["deallocated.v1", "allocated.v1"]
    assert after | {"since": [], "later_events": 0} == before


def test_out_of_stock_has_passed_over_all(shop: PostgresStore) -> None:
    story = story_of(shop, "m3")
    assert [verdict for _, _, verdict in verdicts(story)] == ["too little left"] * 3
    assert story.first is not None
    assert "the most that one batch could give was 50" in outcome(story.first.event)


def test_an_answer_that_was_announced_again_names_the_command_that_brought_it_about(shop: PostgresStore) -> None:
    decide(shop, ("again", order("o2", 4)))
    story = story_of(shop, "again")
    assert story.repeats is not None
    assert story.repeats.causation_id == "m2"
    assert (story.decisions, story.decided, story.events) == ([], 0, 1)
    assert story_of(shop, "m2").repeats is None
    assert "what m2 brought about at " in words(story)


def test_an_answer_of_another_type_that_was_announced_again_does_not_pass_for_that_of_the_command(
    shop: PostgresStore,
) -> None:
    decide(
        shop,
        ("eta", ChangeBatchEta(batchref="ship", eta=date(2026, 1, 9))),
        ("again", order("o2", 4)),
    )
    _, repeated, told = words(story_of(shop, "again")).splitlines()
    assert repeated.startswith("Nothing had to change: what eta brought about at ")
    assert told == "Order o2, SKU LAMP stays with batch ship: due on 2026-01-01, now due on 2026-01-09."


def test_a_hold_that_found_no_stock_is_not_told_as_an_allocate(shop: PostgresStore) -> None:
    decide(shop, ("basket", Hold(orderid="o9", sku="LAMP", qty=60, until=LATER)))
    [_, told] = words(story_of(shop, "basket")).splitlines()
    assert told.startswith("Order o9, SKU LAMP wanted 60: out of stock, the most that one batch could give was 50")


def test_deliveries_are_counted(shop: PostgresStore) -> None:
    decide(shop, ("m2", order("o2", 4)), ("m2", order("o2", 4)))
    story = story_of(shop, "m2")
    assert story.arrival is not None
    assert story.arrival.deliveries == 3
    assert story.events == 1


def test_a_refusal_tells_its_reason(shop: PostgresStore) -> None:
    decide(shop, ("r", order("o2", 5)))
    story = story_of(shop, "r")
    assert story.first is not None
    assert isinstance(story.first.event, Rejection)
    assert outcome(story.first.event).startswith("allocate.v1 was rejected, line-quantity-conflict: Line (order 'o2'")


def causes(store: PostgresStore, *, orderid: str | None = None, sku: str | None = None) -> list[str]:
    with open_records(store.engine) as records:
        return [each.answer.causation_id for each in events_about(records, orderid=orderid, sku=sku).last]


def test_the_events_about_an_order_or_a_sku_rejections_among_them(shop: PostgresStore) -> None:
    decide(shop, ("r", order("o2", 5)), ("v", create("o2", 9, "VASE")), ("w", order("o2", 1, "VASE")))
    assert causes(shop, orderid="o2") == ["m2", "r", "w"]
    assert causes(shop, sku="VASE") == ["v", "w"]
    assert causes(shop, orderid="o2", sku="LAMP") == ["m2", "r"]
    assert causes(shop, orderid="o") == []


def test_of_many_events_the_last_are_told(shop: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explain_module, "EVENTS_LISTED", 2)
    with open_records(shop.engine) as records:
        found = events_about(records, orderid=None, sku="LAMP")
    assert ([each.answer.causation_id for each in found.last], found.left_out) == (["m2", "m3"], 4)


def test_a_shrink_tells_of_each_line_that_it_moved(shop: PostgresStore, monkeypatch: pytest.MonkeyPatch) -> None:
    decide(shop, ("m4", order("o4", 6)), ("m5", order("o5", 7)), ("x", ChangeBatchQuantity(batchref="ship", qty=4)))
    story = story_of(shop, "x")
    assert story.decided == 2
    assert [decision.event.orderid for decision in story.decisions] == ["o4", "o5"]
    first, second = story.decisions
    left = {each.batch.reference: each.batch.available_quantity for each in second.considered}
    assert left == {"shelf": 2, "ship": 0, "later": 44}
    assert all(decision.agrees for decision in story.decisions)
    assert isinstance(first.event, Allocated)
    assert story.events == 5
    monkeypatch.setattr(explain_module, "DECISIONS_TOLD", 1)
    monkeypatch.setattr(explain_module, "EVENTS_TOLD", 2)
    bounded = story_of(shop, "x")
    assert (len(bounded.decisions), bounded.decided, len(bounded.answers), bounded.events) == (1, 2, 2, 5)


def test_commands_that_look_for_no_stock(shop: PostgresStore) -> None:
    decide(shop, ("d", Deallocate(orderid="o1", sku="LAMP")), ("never", Deallocate(orderid="never", sku="VASE")))
    sentences = [outcome(story.first.event) for name in ("d", "never", "c1") if (story := story_of(shop, name)).first]
    assert sentences == [
        "deallocate.v1 cancelled order o1, SKU LAMP: 3 went back to batch shelf.",
        "deallocate.v1 cancelled order never, SKU VASE: it held no stock.",
        "create-batch.v1 added batch ship: 20 of SKU LAMP, due on 2026-01-01.",
    ]


def test_what_was_never_heard_of_has_no_story(shop: PostgresStore) -> None:
    with open_records(shop.engine) as records:
        assert explain(records, "nobody") is None


def test_a_command_that_waits_for_its_sku_has_no_story_yet(shop: PostgresStore) -> None:
    process(shop.unit_of_work, message(order("o", 1, "UNKNOWN"), "waits"), grace=3)
    with open_records(shop.engine) as records:
        assert explain(records, "waits") is None


def test_older_history_is_not_needed(shop: PostgresStore) -> None:
    shop.edit("DELETE FROM history WHERE sequence < 5")
    assert [verdict for _, _, verdict in verdicts(story_of(shop, "m2"))] == ["too little left", "took it", "not needed"]


def test_a_hole_in_later_history_is_owned_up_to(shop: PostgresStore) -> None:
    shop.edit("DELETE FROM history WHERE sequence = 6")
    story = story_of(shop, "m2")
    assert (story.batches_known, story.decisions, story.decided) == (False, [], 1)


def test_an_answer_that_is_forgotten_is_owned_up_to(shop: PostgresStore) -> None:
    shop.edit("DELETE FROM history")
    story = story_of(shop, "m2")
    assert (story.first, story.events) == (None, 0)


def test_an_inbox_that_has_forgotten_is_no_hindrance(shop: PostgresStore) -> None:
    told = as_json(story_of(shop, "m2"))
    shop.execute("DELETE FROM inbox_entries")
    assert as_json(story_of(shop, "m2")) == told | {"received_at": None, "deliveries": None}


LONG_AGO = datetime(2026, 1, 1, 12, tzinfo=UTC)
LATER = datetime(2026, 1, 1, 13, tzinfo=UTC)


def since(store: PostgresStore, message_id: str) -> list[tuple[str, str, str]]:
    """What has happened to the line of a command since: the type, why, and the command."""
    story = story_of(store, message_id)
    return [(told.answer.type, because(told), told.answer.causation_id) for told in story.since]


def words(story: Story) -> str:
    return "\n".join(opening(story))


def test_a_line_that_waits_says_why_and_later_what_has_served_it(shop: PostgresStore) -> None:
    waiting = Allocate(orderid="w", sku="LAMP", qty=10, wait=True, priority=2, needed_by=date(2025, 12, 31))
    decide(shop, ("w1", waiting))
    story = story_of(shop, "w1")
    assert verdicts(story) == [("shelf", 2, "too little left"), ("ship", 16, "too late"), ("later", 50, "too late")]
    assert story.decisions[0].agrees
    told = words(story)
    assert "it waits for stock, the most that one batch could give was 2." in told
    assert "It is needed by 2025-12-31; a batch that arrives later is not for it." in told
    assert "Its priority is 2;" in told
    assert "It still waits; `allocation-worker show waiting --sku LAMP` shows the queue." in told
    decide(shop, ("n", create("new", 10)), ("s", Ship(orderid="w", sku="LAMP")))
    assert since(shop, "w1") == [("allocated.v1", "batch new was created", "n"), ("shipped.v1", "", "s")]
    assert "It still waits" not in words(story_of(shop, "w1"))
    assert "1 line that waited got stock" in words(story_of(shop, "n"))


@pytest.mark.parametrize(
    ("freeing", "why"),
    [
        (Deallocate(orderid="big", sku="LAMP"), "order big was cancelled"),
        (ChangeBatchQuantity(batchref="b", qty=18), "batch b: from 9 to 18"),
        (
            ChangeBatchEta(batchref="far", eta=None),
            "batch far: due on 2026-02-01, now in the warehouse",
        ),
        (
            ChangeLineQuantity(orderid="big", sku="LAMP", qty=1),
            "order big: from 9 to 1 of batch b, in the warehouse",
        ),
    ],
)
def test_whatever_frees_stock_is_named(store: PostgresStore, freeing: Command, why: str) -> None:
    decide(
        store,
        ("c1", create("b", 9)),
        ("c2", CreateBatch(batchref="far", sku="LAMP", qty=8, eta=date(2026, 2, 1))),
        ("m1", order("big", 9)),
        ("m2", Allocate(orderid="w", sku="LAMP", qty=8, wait=True, needed_by=NEW_YEAR)),
        ("f", freeing),
    )
    assert since(store, "m2") == [("allocated.v1", why, "f")]


def test_a_hold_tells_how_it_was_changed_confirmed_and_moved(shop: PostgresStore) -> None:
    decide(
        shop,
        ("h1", Hold(orderid="h", sku="LAMP", qty=1, until=LONG_AGO)),
        ("h2", Hold(orderid="h", sku="LAMP", qty=2, until=LATER)),
        ("h3", order("h", 2)),
    )
    first, second, third = (story_of(shop, name) for name in ("h1", "h2", "h3"))
    assert verdicts(first) == [("shelf", 2, "took it"), ("ship", 16, "not needed"), ("later", 50, "not needed")]
    assert verdicts(second) == verdicts(first)  # its own stock counts as left
    assert "held in batch shelf, in the warehouse, until 2026-01-01 12:00:00 UTC." in words(first)
    assert "This changed its hold, which was 1 of batch shelf." in words(second)
    assert "This confirmed its hold: 2 of batch shelf. No batch was considered." in words(third)
    assert (third.decisions, third.decided) == ([], 0)
    assert since(shop, "h1") == [("held.v1", "", "h2"), ("allocated.v1", "", "h3")]


def test_a_hold_tells_that_it_has_lapsed_and_who_got_its_stock(store: PostgresStore) -> None:
    decide(
        store,
        ("c", create("b", 5)),
        ("h", Hold(orderid="h", sku="LAMP", qty=5, until=LONG_AGO)),
        ("w", Allocate(orderid="w", sku="LAMP", qty=4, wait=True)),
    )
    assert "It is still held." in words(story_of(store, "h"))
    lapser(store).step()
    assert since(store, "h") == [("hold-lapsed.v1", "its time had passed", "h")]
    assert since(store, "w") == [("allocated.v1", "the hold of order h lapsed", "h")]
    assert verdicts(story_of(store, "w")) == [("b", 0, "too little left")]


def test_a_hold_that_is_given_back_or_taken_off_says_so(store: PostgresStore) -> None:
    decide(
        store,
        ("c1", create("b", 5)),
        ("c2", create("other", 2)),
        ("h1", Hold(orderid="h1", sku="LAMP", qty=3, until=LONG_AGO)),
        ("h2", Hold(orderid="h2", sku="LAMP", qty=2, until=LONG_AGO)),
        ("d", Deallocate(orderid="h1", sku="LAMP")),
        ("x", ChangeBatchQuantity(batchref="b", qty=0)),
    )
    assert "3 went back to batch b.\nIts stock was only held." in words(story_of(store, "d"))
    assert since(store, "h2") == [("held.v1", "batch b: from 5 to 0", "x")]
    assert "1 line was only held, and taken off first: 1 held again, 0 lapsed." in words(story_of(store, "x"))


def test_a_shrink_tells_what_was_left_after_it_had_taken_its_holds_off(store: PostgresStore) -> None:
    decide(
        store,
        ("c", create("b", 10)),
        ("m1", order("o1", 2)),
        ("m2", order("o2", 5)),
        ("h", Hold(orderid="h", sku="LAMP", qty=3, until=LONG_AGO)),
        ("x", ChangeBatchQuantity(batchref="b", qty=6)),
    )
    story = story_of(store, "x")
    assert [(type(each.event).__name__, each.considered[0].batch.available_quantity) for each in story.decisions] == [
        ("OutOfStock", 4),
        ("Held", 4),
    ]
    assert all(decision.agrees for decision in story.decisions)


def test_the_batches_before_a_quantity_was_changed_are_known(shop: PostgresStore) -> None:
    before = verdicts(story_of(shop, "m2"))
    decide(
        shop,
        ("q1", ChangeLineQuantity(orderid="o1", sku="LAMP", qty=1)),
        ("q2", ChangeLineQuantity(orderid="o1", sku="LAMP", qty=19)),
        ("q3", ChangeLineQuantity(orderid="o3", sku="LAMP", qty=10)),
    )
    assert verdicts(story_of(shop, "m2")) == before
    moved = story_of(shop, "q2")
    assert verdicts(moved) == [
        ("shelf", 5, "too little left"),
        ("ship", 16, "too little left"),
        ("later", 50, "took it"),
    ]
    assert moved.decisions[0].agrees
    assert "changed order o1, SKU LAMP from 1 to 19 of batch later, due on 2026-02-01." in words(moved)
    assert "It had 1 of batch shelf before." in words(moved)


def test_where_the_batch_before_a_change_is_forgotten_that_is_owned_up_to(shop: PostgresStore) -> None:
    decide(shop, ("q", ChangeLineQuantity(orderid="o1", sku="LAMP", qty=1)))
    shop.edit("DELETE FROM history WHERE sequence < 5")
    story = story_of(shop, "m2")
    assert (story.batches_known, story.decisions) == (False, [])
    assert words(story).splitlines()[-1] == (
        "The batches of that time are unknown: the quantity of order o1, SKU LAMP was changed since, and the event "
        "that tells its batch before was pruned."
    )


def test_a_batch_that_comes_late_tells_how_many_lines_it_has_moved(store: PostgresStore) -> None:
    decide(
        store,
        ("c", CreateBatch(batchref="ship", sku="LAMP", qty=9, eta=NEW_YEAR)),
        ("m1", order("o1", 2)),
        ("m2", Allocate(orderid="o2", sku="LAMP", qty=3, wait=True, needed_by=NEW_YEAR)),
        ("e", ChangeBatchEta(batchref="ship", eta=date(2026, 2, 1))),
    )
    told = words(story_of(store, "e"))
    assert "1 line of it was told of the change." in told
    assert (
        "1 line needed it before; each looked for stock again, the first asked first: 0 allocated, 1 waiting, 0 out"
        in told
    )
    why = "batch ship: due on 2026-01-01, now due on 2026-02-01"
    assert since(store, "m1") == [("promise-changed.v1", why, "e")]
    assert since(store, "m2") == [("deallocated.v1", why, "e"), ("backordered.v1", why, "e")]


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(history=st.lists(st.lists(commands, min_size=1, max_size=5), min_size=1, max_size=5))
def test_the_rules_always_decide_as_they_did(store: PostgresStore, history: list[list[Command]]) -> None:
    store.empty()
    groups = [[message(command) for command in group] for group in history]
    for group in groups:
        process(store.unit_of_work, *group)
    for sent in (each for group in groups for each in group):
        story = story_of(store, sent.message_id)
        assert story.first is not None
        assert all(decision.agrees for decision in story.decisions)
        assert story.batches_known or story.repeats or isinstance(story.first.event, Rejection)
        if isinstance(story.first.event, Allocated | OutOfStock) and isinstance(sent.command, Allocate):
            assert len(story.decisions) == (0 if story.repeats else 1)
            assert story.first.event.orderid == sent.command.orderid
