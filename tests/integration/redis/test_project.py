"""The read model follows the write model, even if events are lost, repeated or reordered."""

import random
from datetime import UTC, date, datetime

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis import Redis
from structlog.testing import capture_logs

from allocation_worker.adapters.postgres.project import open_write_model
from allocation_worker.adapters.redis import read_model as redis_read_model
from allocation_worker.domain.commands import (
    Allocate,
    ChangeBatchEta,
    ChangeBatchQuantity,
    ChangeLineQuantity,
    Command,
    CreateBatch,
    Deallocate,
    Hold,
    LapseHold,
    Ship,
)
from allocation_worker.domain.events import OutOfStock, ProductEvent
from allocation_worker.service_layer import project
from allocation_worker.service_layer.outcomes import Done
from allocation_worker.service_layer.ports import (
    BatchView,
    CountedEvent,
    GenerationClosedError,
    GenerationMissingError,
    StoreUnavailableError,
)
from allocation_worker.service_layer.project import EventMessage
from allocation_worker.testing.servers.redis_server import local_redis
from tests.fakes.any_commands import commands, orderids, times
from tests.integration.postgres.staging import create, order
from tests.integration.postgres.store import PostgresStore
from tests.integration.rabbitmq.rig import eventually
from tests.integration.redis.rig import Models, delivered

A_DAY: list[Command] = [
    create("shelf", 10),
    CreateBatch(batchref="ship", sku="LAMP", qty=20, eta=date(2026, 1, 1)),
    create("vase", 5, "VASE"),
    order("o1", 4),
    order("o2", 5),
    order("o3", 3),
    order("o4", 100),
    order("o1", 2, "VASE"),
    Deallocate(orderid="o2", sku="LAMP"),
    Deallocate(orderid="never-seen", sku="BOWL"),
    ChangeBatchQuantity(batchref="shelf", qty=1),
]


NOON, ONE = datetime(2026, 1, 1, 12, tzinfo=UTC), datetime(2026, 1, 1, 13, tzinfo=UTC)
JANUARY, FEBRUARY = date(2026, 1, 1), date(2026, 2, 1)


def hold(orderid: str, qty: int, until: datetime = NOON) -> Command:
    return Hold(orderid=orderid, sku="LAMP", qty=qty, until=until, message_id=_name(orderid, qty, until))


def lapse(orderid: str, qty: int, until: datetime = NOON) -> Command:
    """End the hold that was asked for in this quantity, until this time."""
    return LapseHold(orderid=orderid, sku="LAMP", message_id=_name(orderid, qty, until))


def _name(orderid: str, qty: int, until: datetime) -> str:
    return f"{orderid}: {qty} until {until:%H}"


def wait(orderid: str, qty: int, needed_by: date | None = None) -> Command:
    return Allocate(orderid=orderid, sku="LAMP", qty=qty, wait=True, needed_by=needed_by)


def resize(orderid: str, qty: int) -> Command:
    return ChangeLineQuantity(orderid=orderid, sku="LAMP", qty=qty)


SHELF, SHIP = create("shelf", 10), CreateBatch(batchref="ship", sku="LAMP", qty=10, eta=JANUARY)

STORIES: dict[str, list[Command]] = {
    "a hold that lapses": [SHELF, hold("o1", 4), lapse("o1", 4), lapse("o1", 4), hold("o2", 10)],
    "a hold that is confirmed": [SHELF, hold("o1", 4), order("o1", 4), lapse("o1", 4)],
    "a hold that is prolonged": [SHELF, hold("o1", 4), hold("o1", 4, ONE), lapse("o1", 4), lapse("o1", 4, ONE)],
    "a hold in more": [SHELF, hold("o1", 4), hold("o1", 6), hold("o1", 11)],
    "a hold that moves for more": [SHELF, SHIP, hold("o1", 4), order("o2", 6), hold("o1", 8)],
    "a hold that is resized": [SHELF, SHIP, hold("o1", 4), order("o2", 5), resize("o1", 2), resize("o1", 9)],
    "a hold that is given back": [SHELF, hold("o1", 4), Deallocate(orderid="o1", sku="LAMP"), hold("o1", 4)],
    "a hold of a batch that comes later": [
        SHIP,
        hold("o1", 4),
        ChangeBatchEta(batchref="ship", eta=FEBRUARY),
        resize("o1", 5),
        ChangeBatchEta(batchref="ship", eta=None),
        order("o1", 5),
    ],
    "a hold that is confirmed too late for its batch": [SHIP, hold("o1", 4), wait("o1", 4, date(2025, 1, 1)), SHELF],
    "a hold of a line that waits": [SHELF, wait("o1", 11), hold("o1", 4), resize("o1", 3), lapse("o1", 4)],
    "a shrink that takes a hold off": [
        SHELF,
        order("o1", 3),
        hold("o2", 4),
        hold("o3", 2),
        SHIP,
        ChangeBatchQuantity(batchref="ship", qty=4),
        ChangeBatchQuantity(batchref="shelf", qty=2),
        lapse("o2", 4),
    ],
    "a lapse that serves": [SHELF, hold("o1", 8), wait("o2", 3), wait("o3", 5), lapse("o1", 8), hold("o1", 2)],
    "a line that waits and is served": [
        SHELF,
        wait("o1", 11),
        wait("o2", 12),
        ChangeBatchQuantity(batchref="shelf", qty=30),
    ],
    "a line that waits and is resized": [SHELF, wait("o1", 11), resize("o1", 12), resize("o1", 9), resize("o1", 1)],
    "a line that stops waiting": [SHELF, wait("o1", 11), order("o1", 11), resize("o1", 10), order("o1", 10)],
    "a line that moves": [SHELF, SHIP, order("o1", 4), order("o2", 6), resize("o1", 9), resize("o2", 10)],
    "a line that is shipped": [SHELF, order("o1", 4), resize("o1", 5), Ship(orderid="o1", sku="LAMP"), resize("o1", 6)],
    "a batch that is late": [
        SHIP,
        wait("o1", 4),
        wait("o2", 3, JANUARY),
        ChangeBatchEta(batchref="ship", eta=FEBRUARY),
        ChangeBatchEta(batchref="ship", eta=None),
        Ship(orderid="o1", sku="LAMP"),
    ],
}


@pytest.mark.parametrize("name", STORIES)
def test_it_is_level_after_each_event_of(models: Models, name: str) -> None:
    projector = models.projector()
    for command in STORIES[name]:
        for event in models.answer(command):
            projector.process(delivered([event]))
        assert models.differences() == [], command
    models.projector().rebuild()
    assert models.differences() == []
    models.forget_history()
    models.projector().rebuild()
    assert models.differences() == []


def test_all_events_in_order(models: Models) -> None:
    events = models.answer(*A_DAY)
    projector = models.projector()
    assert projector.process(delivered(events)) == [Done()] * len(events)
    assert models.differences() == []


def test_each_event_alone_is_applied_as_it_comes(models: Models) -> None:
    projector = models.projector()
    for command in A_DAY:
        for event in models.answer(command):
            projector.process(delivered([event]))
        assert models.differences() == []


def test_repeats_change_nothing(models: Models) -> None:
    events = models.answer(*A_DAY)
    projector = models.projector()
    for _ in range(3):
        projector.process(delivered(events))
    projector.process(delivered(events[:5]))
    assert models.differences() == []


def test_an_event_of_an_unknown_type_moves_the_sequence_of_its_sku_alone(models: Models) -> None:
    projector = models.projector()
    projector.process([])
    messages = delivered(models.answer(*A_DAY))
    at, out_of_stock = next((at, each.event) for at, each in enumerate(messages) if isinstance(each.event, OutOfStock))
    unknown = CountedEvent(out_of_stock.sku, out_of_stock.sequence)
    messages[at] = EventMessage(unknown, "later.v1", "id", "conversation")
    models.forget_history()
    assert projector.process(messages) == [Done()] * len(messages)
    with open_write_model(models.store.engine) as written:
        assert models.read_model.sequences(1) == written.sequences()
    (difference,) = models.differences()
    assert out_of_stock.orderid in difference


def test_an_event_of_no_sku_changes_nothing(models: Models) -> None:
    events = models.answer(*A_DAY)
    projector = models.projector()
    projector.process([*delivered(events), EventMessage(None, "command-rejected.v1", "id", "c")])
    assert models.differences() == []


def test_a_type_in_the_history_that_this_version_does_not_know_is_counted(models: Models) -> None:
    models.answer(*A_DAY)
    models.store.edit("UPDATE history SET type = 'later.v1' WHERE sku = 'LAMP' AND sequence = 2")
    models.projector().rebuild()
    with open_write_model(models.store.engine) as written:
        assert models.read_model.sequences(1) == written.sequences()


@pytest.mark.parametrize("pruned", [False, True])
def test_a_gap_is_healed_before_anything_is_settled(models: Models, *, pruned: bool) -> None:
    projector = models.projector()
    projector.process(delivered(models.answer(*A_DAY[:3])))
    events = models.answer(*A_DAY[3:])
    if pruned:
        models.forget_history()
    projector.process(delivered(events[-1:]))
    projector.process(delivered([event for event in events if event.sku == "VASE"]))
    projector.process(delivered([event for event in events if event.sku == "BOWL"]))
    assert models.differences() == []


def test_history_that_begins_too_late_is_made_up_for_from_the_tables(models: Models) -> None:
    models.answer(*A_DAY)
    models.store.edit("DELETE FROM history WHERE sku = 'LAMP' AND sequence <= 3")
    models.projector().tend()
    assert models.differences() == []


def test_a_start_finds_what_was_lost_while_nothing_more_happened(models: Models) -> None:
    models.projector().process(delivered(models.answer(*A_DAY[:5])))
    models.answer(*A_DAY[5:])
    models.projector().tend()
    assert models.differences() == []


def test_a_lost_read_model_is_built_anew(models: Models) -> None:
    projector = models.projector()
    projector.process(delivered(models.answer(*A_DAY[:5])))
    models.redis.flushdb()
    with pytest.raises(GenerationMissingError, match="`allocation-worker project` builds it"):
        models.views.sku("LAMP")
    projector.process(delivered(models.answer(*A_DAY[5:])))
    assert models.differences() == []


def test_a_read_model_lost_while_nothing_happens_is_built_anew(models: Models) -> None:
    projector = models.projector()
    projector.process(delivered(models.answer(*A_DAY)))
    models.redis.flushdb()
    projector.tend()
    assert models.differences() == []


def test_a_redis_that_came_back_without_its_last_writes_while_nothing_happened_is_healed(
    projected_store: PostgresStore,
) -> None:
    """Nobody hears of it: an idle connection that was closed is replaced without a word."""
    projected_store.empty()
    with local_redis() as server, Redis.from_url(server.url, decode_responses=True) as client:
        models = Models(projected_store, server.url, client)
        projector = models.projector()
        projector.process(delivered(models.answer(*A_DAY[:5])))
        client.save()
        projector.process(delivered(models.answer(*A_DAY[5:])))
        server.kill()
        server.start()
        projector.tend()
        assert models.differences() == []


def test_events_that_the_database_does_not_know_are_waited_for(models: Models) -> None:
    projector = models.projector()
    events = models.answer(*A_DAY)
    models.store.empty()
    with pytest.raises(StoreUnavailableError, match="old copy"):
        projector.process(delivered(events[5:6]))


def test_a_rebuild_from_a_database_that_is_behind_ends_and_says_so(models: Models) -> None:
    models.projector().process(delivered(models.answer(*A_DAY)))
    models.store.empty()
    with pytest.raises(StoreUnavailableError, match="old copy"):
        models.projector().rebuild()
    assert models.read_model.current() == 1


def test_a_database_that_has_lost_what_was_published_is_told_at_the_next_start(models: Models) -> None:
    """Such as an asynchronous standby that was promoted."""
    events = models.answer(create("b", 10), order("o1"), order("o2"), create("c", 10, "SOFA"))
    models.projector().process(delivered(events))
    with capture_logs() as logs:
        models.projector().tend()
    assert [line for line in logs if line["event"] == "database_behind"] == []
    models.store.edit("DELETE FROM history WHERE sequence = 3")
    models.store.execute("UPDATE products SET sequence = 2 WHERE sku = 'LAMP'")
    with capture_logs() as logs:
        models.projector().tend()
    [told] = [line for line in logs if line["event"] == "database_behind"]
    assert (told["log_level"], told["skus"], told["count"]) == ("error", ["LAMP"], 1)


def test_after_a_restored_backup_nothing_is_shown_that_the_database_has_lost(models: Models) -> None:
    models.projector().process(delivered(models.answer(create("b", 10), order("o1"), create("c", 5, "SOFA"))))
    models.store.empty()  # the oldest backup there is
    sequence = models.store.restored()
    with capture_logs() as logs:
        models.projector().tend()
    assert logs[0]["event"] == "database_restored"
    assert models.views.order("o1") == []
    assert models.differences() == [
        f"SKU {sku}: the read model says {sequence}, the write model None." for sku in ("LAMP", "SOFA")
    ]
    events = models.answer(create("b", 10), order("o2"), create("c", 5, "SOFA"))
    models.projector().process(delivered(events))
    assert models.differences() == []
    with capture_logs() as logs:
        models.projector().tend()
    assert logs == []


def test_a_rebuild_shows_the_old_until_it_switches_and_leaves_nothing_behind(models: Models) -> None:
    models.projector().process(delivered(models.answer(*A_DAY)))
    keys = {str(key) for key in models.redis.scan_iter()}
    seen = []
    models.projector(while_reading=lambda: seen.append(models.views.sku("LAMP"))).rebuild()
    assert seen
    assert seen[0] is not None
    assert models.read_model.current() == 2
    assert models.differences() == []
    assert {str(key).replace(":2:", ":1:") for key in models.redis.scan_iter()} == keys


@pytest.mark.parametrize("pruned", [False, True])
def test_what_happens_while_it_is_rebuilt_is_not_lost(models: Models, *, pruned: bool) -> None:
    """Live events of SKUs that are not loaded yet, of SKUs that are, and of one that is new."""
    live = models.projector()
    live.process(delivered(models.answer(*A_DAY[:6])))
    still_to_come: list[list[Command]] = [
        A_DAY[6:9],
        [create("new", 1, "NEW"), order("o9", 1, "NEW")],
        A_DAY[9:],
        [order("o10", 1)],
    ]

    def something_happens() -> None:
        if still_to_come:
            live.process(delivered(models.answer(*still_to_come.pop(0))))
            if pruned:
                models.forget_history()

    models.projector(while_reading=something_happens).rebuild()
    assert len(still_to_come) < 3
    for commands_ in still_to_come:
        live.process(delivered(models.answer(*commands_)))
    assert models.read_model.current() == 2
    assert models.differences() == []


def test_a_rebuild_comes_to_its_end_though_events_never_stop(models: Models) -> None:
    models.answer(*A_DAY)
    live = models.projector()
    live.tend()
    moments: list[int] = []

    def one_more() -> None:
        moments.append(len(moments))
        assert len(moments) < 10
        live.process(delivered(models.answer(order(f"more-{len(moments)}", 1))))

    models.projector(while_reading=one_more).rebuild()
    assert models.differences() == []


def test_a_line_is_never_set_back(models: Models) -> None:
    """As the tables told it a moment ago, when a later event of it has been applied meanwhile."""
    live = models.projector()
    live.process(delivered(models.answer(create("shelf", 5), order("o1", 2))))
    [before] = models.views.order("o1")
    live.process(delivered(models.answer(Deallocate(orderid="o1", sku="LAMP"))))
    models.read_model.put_lines(1, [before])
    models.read_model.put_stock(1, "LAMP", 2, [BatchView("shelf", "LAMP", 5, 2, None, 1)])
    assert models.differences() == []


def test_a_second_rebuild_ends_the_first(models: Models) -> None:
    models.answer(*A_DAY)
    other = models.projector()
    begun: list[bool] = []

    def another_begins() -> None:
        if not begun:
            begun.append(True)
            other.rebuild()

    with pytest.raises(GenerationClosedError, match="Another rebuild"):
        models.projector(while_reading=another_begins).rebuild()
    assert models.read_model.current() == 2
    assert models.differences() == []


def test_a_lost_read_model_is_not_built_twice_at_a_time(models: Models) -> None:
    models.answer(*A_DAY)
    building = models.read_model.begin(takeover=False)
    with pytest.raises(StoreUnavailableError, match="Another process is building the read model"):
        models.projector().tend()
    with models.read_model.kept_open(building):
        pass
    models.projector().tend()
    assert models.differences() == []


def test_a_rebuild_stays_open_for_as_long_as_it_takes(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_read_model, "_BEAT_EVERY", 0.01)
    building = models.read_model.begin(takeover=True)
    models.redis.pexpire("allocation:building", 1000)
    with models.read_model.kept_open(building):
        eventually(lambda: int(str(models.redis.pttl("allocation:building"))) > 10_000)
    assert not models.redis.exists("allocation:building")


def test_the_remains_of_a_rebuild_that_died_go_with_the_next(models: Models) -> None:
    models.answer(*A_DAY)
    live = models.projector()
    live.tend()
    dead = models.read_model.begin(takeover=True)
    models.read_model.put_stock(dead, "LAMP", 1, [])
    live.process(delivered(models.answer(order("o20", 1))))
    with pytest.raises(StoreUnavailableError, match="Another process is building"):
        live.rebuild(takeover=False)
    live.rebuild()
    assert not models.redis.keys(f"allocation:{dead}:*")
    assert models.differences() == []


def test_many_are_read_a_few_at_a_time(models: Models, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(project, "AT_A_TIME", 2)
    models.answer(*A_DAY)
    models.store.edit("DELETE FROM history WHERE sku = 'VASE'")
    models.projector().tend()
    assert models.differences() == []


held_quantities = st.sampled_from([1, 2])
holds: st.SearchStrategy[Command] = st.builds(hold, orderids, held_quantities, times)
lapses: st.SearchStrategy[Command] = st.builds(lapse, orderids, held_quantities, times)


def mangled(luck: random.Random, events: list[ProductEvent]) -> list[ProductEvent]:
    """Some lost, some twice, some overtaken."""
    kept = [event for event in events if luck.random() < 0.8 for _ in range(luck.choice([1, 1, 2]))]
    for index in range(len(kept) - 1):
        if luck.random() < 0.1:
            kept[index], kept[index + 1] = kept[index + 1], kept[index]
    return kept


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    story=st.lists(st.lists(st.one_of(commands, holds, lapses), min_size=1, max_size=6), min_size=1, max_size=6),
    luck=st.randoms(),
)
def test_whatever_is_lost_repeated_or_overtaken(
    models: Models, story: list[list[Command]], luck: random.Random
) -> None:
    models.store.empty()
    models.redis.flushdb()
    projector = models.projector()
    for group in story:
        events = models.answer(*group)
        projector.process(delivered(mangled(luck, events)))
        match luck.randrange(10):
            case 0:
                models.redis.flushdb()
            case 1:
                models.forget_history()
            case 2:
                projector = models.projector()
            case 3:
                models.projector().rebuild()
    models.projector().tend()
    assert models.differences() == []
