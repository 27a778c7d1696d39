"""The queries of the read model."""

from datetime import UTC, date, datetime, timedelta

from allocation_worker.domain.commands import Allocate, CreateBatch, Deallocate
from allocation_worker.service_layer.ports import BatchView, LineView, RejectionView
from allocation_worker.service_layer.project import EventMessage
from harness.checker.read_model import Contents, compare
from tests.integration.postgres.staging import create, order
from tests.integration.redis.rig import Models, delivered

NEW_YEAR = date(2026, 1, 1)
MORNING = datetime(2026, 1, 1, 8, tzinfo=UTC)


def show(models: Models, *commands: Allocate | CreateBatch | Deallocate) -> None:
    models.projector().process(delivered(models.answer(*commands)))


def test_an_order_with_a_line_of_every_kind(models: Models) -> None:
    show(
        models,
        CreateBatch(batchref="ship", sku="LAMP", qty=5, eta=NEW_YEAR),
        order("o1", 2),
        Allocate(orderid="o1", sku="LAMP", qty=9, lineid="2"),
        Allocate(orderid="o1", sku="LAMP", qty=1, lineid="3"),
        Deallocate(orderid="o1", sku="LAMP", lineid="3"),
        order("other", 1),
    )
    assert models.views.order("o1") == [
        LineView("o1", "LAMP", "", "allocated", 2, "ship", NEW_YEAR, 2),
        LineView("o1", "LAMP", "2", "out-of-stock", 9, None, None, 3),
        LineView("o1", "LAMP", "3", "cancelled", 1, None, None, 5),
    ]


def test_batches_stand_in_the_order_in_which_they_are_used(models: Models) -> None:
    show(
        models,
        CreateBatch(batchref="later", sku="LAMP", qty=5, eta=date(2026, 2, 1)),
        CreateBatch(batchref="sooner", sku="LAMP", qty=5, eta=NEW_YEAR),
        create("shelf", 5),
        create("shelf-2", 5),
        order("o1", 4),
    )
    view = models.views.sku("LAMP")
    assert view is not None
    assert view.sequence == 5
    assert [batch.reference for batch in view.batches] == ["shelf", "shelf-2", "sooner", "later"]
    assert models.views.batch("shelf") == BatchView("shelf", "LAMP", 5, 4, None, 3) == view.batches[0]
    assert view.batches[0].available == 1


def test_what_was_never_heard_of(models: Models) -> None:
    show(models, create("shelf", 5))
    assert models.views.order("o") == []
    assert models.views.sku("VASE") is None
    assert models.views.batch("b") is None


def rejected(detail: str, *, at: datetime = MORNING, lineid: str = "") -> RejectionView:
    return RejectionView("o1", "LAMP", lineid, "allocate.v1", "unknown-sku", detail, at)


def test_the_latest_rejection_of_each_line_is_known(models: Models) -> None:
    projector = models.projector()
    later = rejected("later", at=MORNING + timedelta(hours=1))
    other = rejected("other", lineid="2")
    for each in (rejected("first"), later, rejected("late to come"), other):
        projector.process([EventMessage(None, "command-rejected.v1", "id", "conversation", each)])
    assert models.views.rejections("o1") == [later, other]
    assert models.views.rejections("o2") == []


def test_rejections_are_restored_from_the_history(models: Models) -> None:
    models.answer(create("shelf", 9), order("o1", 2), order("o1", 3))
    models.projector().rebuild()
    [known] = models.views.rejections("o1")
    assert (known.command, known.reason) == ("allocate.v1", "line-quantity-conflict")
    models.redis.delete("allocation:1:rejected:o1", "allocation:project-seen")
    models.projector().tend()
    assert models.views.rejections("o1") == [known]


def test_the_stock_of_all_skus_the_least_first(models: Models) -> None:
    show(
        models,
        create("shelf", 5),
        CreateBatch(batchref="ship", sku="LAMP", qty=5, eta=NEW_YEAR),
        create("vase", 7, "VASE"),
        create("bowl", 1, "BOWL"),
        order("o1", 1, "BOWL"),
    )
    stock = models.views.stock(None)
    assert [(view.sku, view.available, view.in_warehouse, view.next_eta) for view in stock] == [
        ("BOWL", 0, 0, None),
        ("VASE", 7, 7, None),
        ("LAMP", 10, 5, NEW_YEAR),
    ]
    assert [view.sku for view in models.views.stock(7)] == ["BOWL"]


def test_the_age_is_that_of_the_last_sign_of_life(models: Models) -> None:
    assert models.views.age() is None
    show(models, create("shelf", 5))
    age = models.views.age()
    assert age is not None
    assert age < 60
    models.redis.set("allocation:project-seen", "1000000000")
    aged = models.views.age()
    assert aged is not None
    assert aged > 700_000_000
    models.projector().tend()
    assert (models.views.age() or 0) < 60


def test_names_of_any_kind(models: Models) -> None:
    name = 'a:b {c} "d" \\ *?[x] \U0001f6cb é'
    show(models, CreateBatch(batchref=name, sku=name, qty=5), Allocate(orderid=name, sku=name, qty=2, lineid=name))
    assert models.views.order(name) == [LineView(name, name, name, "allocated", 2, name, None, 2)]
    assert models.views.batch(name) == BatchView(name, name, 5, 2, None, 1)
    assert models.differences() == []


def test_a_comparison_finds_each_kind_of_difference() -> None:
    line = ("o", "LAMP", "")
    write = Contents(
        lines={line: ("allocated", 2, "b")}, batches={"b": ("LAMP", 5, 2, None)}, sequences={"LAMP": 2, "VASE": 1}
    )
    read = Contents(
        lines={line: ("allocated", 1, "b")}, batches={"b": ("LAMP", 5, 1, None)}, sequences={"LAMP": 1, "VASE": 1}
    )
    assert compare(write, write) == []
    assert [fault.split()[0] for fault in compare(read, write)] == ["Line", "Batch", "SKU"]
    assert len(compare(Contents(), write)) == 4


def test_a_comparison_reads_what_stands_there(models: Models) -> None:
    show(models, create("shelf", 5), order("o1", 2))
    models.redis.hset("allocation:1:batch:shelf", "allocated", "3")
    assert models.differences() == [
        "Batch shelf: the read model says ('LAMP', 5, 3, None), the write model ('LAMP', 5, 2, None)."
    ]
