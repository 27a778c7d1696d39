"""The contract of the store, for the fake and for PostgreSQL."""

from datetime import date
from time import monotonic

import pytest

from allocation_worker.domain.errors import RefusalError
from allocation_worker.domain.lines import OrderLine
from allocation_worker.domain.model import Product
from allocation_worker.service_layer.outcomes import DeadLettered, Done, Retry, SetAside
from allocation_worker.service_layer.ports import Receipt, StoreError, StoreLockTimeoutError
from tests.contract.conftest import MemoryStore, Store
from tests.contract.groups import BUS, briefly, cancel, change, create, given, order, process
from tests.fakes.messages import message

FRESH, REPEAT, CONFLICT = Receipt.FRESH, Receipt.REPEAT, Receipt.CONFLICT
ETA = date(2026, 1, 1)

ASTRAL = "\U0001f6cb" * 255
UNPRINTABLE = "\U000e0001" * 255
HOSTILE = [
    "quote \" and ' and `",
    "backslash \\ and \\\\ and \\n and \\x41",
    "{braces}, {{and}} commas,,",
    "NULL",
    "null",
    '"',
    "\\",
    "{}",
    "a,b",
    "%s %(name)s %%",
    ":name ::text $1 ?",
    "'; DROP TABLE products; --",
    "inner  blanks",
    "\u00df \u0130 \u0131 e\u0301 \u00e9",
]


@pytest.fixture
def store(store_for_groups: Store) -> Store:
    return store_for_groups


class TestInbox:
    @pytest.fixture
    def store(self, asking_store: Store) -> Store:
        return asking_store

    def test_a_new_message_is_fresh(self, store: Store) -> None:
        with store.unit_of_work() as uow:
            assert uow.inbox.receive([message(order("o"), "a"), message(order("o"), "b")]) == [FRESH, FRESH]

    def test_the_same_message_later_is_a_repeat(self, store: Store) -> None:
        received = message(order("o"), "a")
        for expected in (FRESH, REPEAT, REPEAT):
            with store.unit_of_work() as uow:
                assert uow.inbox.receive([received]) == [expected]
                uow.commit()

    def test_the_same_message_twice_in_one_group_is_a_repeat(self, store: Store) -> None:
        twice = message(order("o"), "a")
        again = message(order("o"), "a")
        with store.unit_of_work() as uow:
            assert uow.inbox.receive([twice, message(order("o"), "b"), again, twice]) == [
                FRESH,
                FRESH,
                REPEAT,
                REPEAT,
            ]

    def test_another_message_under_the_id_is_a_conflict_now_and_later(self, store: Store) -> None:
        first, other = message(order("o", 1), "a"), message(order("o", 2), "a")
        with store.unit_of_work() as uow:
            assert uow.inbox.receive([first, other, first]) == [FRESH, CONFLICT, REPEAT]
            uow.commit()
        with store.unit_of_work() as uow:
            assert uow.inbox.receive([other, first, other]) == [CONFLICT, REPEAT, CONFLICT]

    def test_another_type_under_the_id_is_a_conflict(self, store: Store) -> None:
        allocate, deallocate = message(order("o"), "a"), message(cancel("o"), "a")
        with store.unit_of_work() as uow:
            assert uow.inbox.receive([allocate, deallocate]) == [FRESH, CONFLICT]

    def test_receipts_come_in_the_order_of_the_messages(self, store: Store) -> None:
        known = message(order("o"), "m")
        with store.unit_of_work() as uow:
            uow.inbox.receive([known])
            uow.commit()
        with store.unit_of_work() as uow:
            messages = [message(order("o"), "z"), known, message(order("o"), "a")]
            assert uow.inbox.receive(messages) == [FRESH, REPEAT, FRESH]

    def test_a_receipt_that_is_not_committed_did_not_happen(self, store: Store) -> None:
        received = message(order("o"), "a")
        for _ in range(2):
            with store.unit_of_work() as uow:
                assert uow.inbox.receive([received]) == [FRESH]
        assert store.taken() == set()

    def test_a_forgotten_message_is_fresh_when_it_comes_again(self, store: Store) -> None:
        kept, forgotten = message(order("o"), "a"), message(order("o"), "b")
        with store.unit_of_work() as uow:
            uow.inbox.receive([kept, forgotten])
            uow.inbox.forget(forgotten)
            uow.commit()
        assert store.taken("a", "b") == {"a"}
        with store.unit_of_work() as uow:
            assert uow.inbox.receive([kept, forgotten]) == [REPEAT, FRESH]

    @pytest.mark.parametrize("text", [*HOSTILE, ASTRAL])
    def test_a_message_id_may_hold_anything_printable(self, store: Store, text: str) -> None:
        received = [message(order("o"), text), message(order("o"), "another")]
        for expected in (FRESH, REPEAT):
            with store.unit_of_work() as uow:
                assert uow.inbox.receive(received) == [expected, expected]
                uow.commit()
        assert store.taken(text, "another") == {text, "another"}

    def test_no_message_is_no_trouble(self, store: Store) -> None:
        with store.unit_of_work() as uow:
            assert uow.inbox.receive([]) == []
            uow.products.lock_for([])
            uow.commit()


class TestTransactions:
    def test_commit_makes_all_of_it_durable(self, store: Store) -> None:
        assert process(store, message(create("b", 10), "a"), message(order("o", 3), "b")) == [Done(), Done()]
        assert store.taken("a", "b") == {"a", "b"}
        assert store.stock() == {"b": (10, 3)}
        assert store.lines() == {("o", "LAMP", "", 3, "b", False)}
        assert briefly(store.published()) == ["batch-created.v1 b", "allocated.v1 o b"]

    def test_leaving_without_commit_leaves_nothing(self, store: Store) -> None:
        given(store, create("b", 10))
        before = (store.taken(), store.stock(), store.lines(), store.published())
        with store.unit_of_work() as uow:
            received = [message(order("o", 3)), message(change("b", 1)), message(create("new", 1, sku="NEW"))]
            uow.inbox.receive(received)
            for each in received:
                BUS.handle(each, uow)
        assert (store.taken(), store.stock(), store.lines(), store.published()) == before

    def test_an_exception_leaves_nothing(self, store: Store) -> None:
        given(store, create("b", 10))

        def fail_halfway() -> None:
            with store.unit_of_work() as uow:
                BUS.handle(message(order("o", 3)), uow)
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            fail_halfway()
        assert store.stock() == {"b": (10, 0)}
        assert len(store.published()) == 1

    def test_no_batch_can_be_oversold_whatever_the_handlers_do(self, store: Store) -> None:
        given(store, create("b", 10))
        with store.unit_of_work() as uow:
            product = uow.products.get_by_batchref("b")
            assert product
            product.batches["b"].allocated_quantity = 11
            with pytest.raises(StoreError, match="never_oversold"):
                uow.commit()
        assert store.stock() == {"b": (10, 0)}


class TestProducts:
    def test_a_sku_never_heard_of_is_none(self, store: Store) -> None:
        with store.unit_of_work() as uow:
            assert uow.products.get("LAMP") is None
            assert uow.products.get("LAMP", ("o", "")) is None

    def test_a_product_keeps_its_counters(self, store: Store) -> None:
        given(store, create("b", 10), create("c", 10), order("o", 3))
        with store.unit_of_work() as uow:
            product = uow.products.get("LAMP")
            assert product
            assert (product.sku, product.sequence, product.batches_arrived) == ("LAMP", 3, 2)

    def test_a_sku_that_was_only_ever_cancelled_has_no_batch(self, store: Store) -> None:
        given(store, cancel("o"))
        with store.unit_of_work() as uow:
            product = uow.products.get("LAMP")
            assert product
            assert (product.sequence, product.batches_arrived, product.batches) == (1, 0, {})

    def test_a_batch_keeps_all_that_is_known_of_it(self, store: Store) -> None:
        given(store, create("a", 1), create("b", 10, eta=ETA), order("o", 4), change("b", 25))
        with store.unit_of_work() as uow:
            product = uow.products.get_by_batchref("b")
            assert product
            batch = product.batches["b"]
            assert (batch.reference, batch.sku, batch.eta, batch.arrival) == ("b", "LAMP", ETA, 2)
            assert (batch.purchased_quantity, batch.allocated_quantity) == (25, 4)
            assert (batch.created_qty, batch.created_eta, batch.sequence) == (10, ETA, 2)

    @pytest.mark.parametrize("eta", [date.min, date(2024, 2, 29), date.max, None])
    def test_a_batch_keeps_its_eta(self, store: Store, eta: date | None) -> None:
        given(store, create("b", 10, eta=eta))
        with store.unit_of_work() as uow:
            product = uow.products.get("LAMP")
            assert product
            assert product.batches["b"].eta == eta

    def test_a_line_keeps_all_that_is_known_of_it(self, store: Store) -> None:
        given(store, create("b", 10), order("o", 3, lineid="1"), cancel("gone"))
        with store.unit_of_work() as uow:
            product = uow.products.get("LAMP", ("o", "1"))
            assert product
            assert product.lines["o", "1"] == OrderLine("LAMP", "o", "1", 3, "b", cancelled=False, sequence=2, place=2)
            assert uow.products.get("LAMP", ("gone", "")) is product
            assert product.lines["gone", ""] == OrderLine(
                "LAMP", "gone", "", 0, None, cancelled=True, sequence=3, place=3
            )

    def test_a_line_never_seen_is_blank_and_leaves_no_trace(self, store: Store) -> None:
        given(store, create("b", 10))
        with store.unit_of_work() as uow:
            uow.products.lock_for([order("expected")])
            product = uow.products.get("LAMP", ("o", "1"))
            assert product
            assert product.lines["o", "1"] == OrderLine("LAMP", "o", "1")
            uow.commit()
        assert store.lines() == set()

    def test_within_a_transaction_it_is_one_and_the_same_product(self, store: Store) -> None:
        given(store, create("b", 10))
        with store.unit_of_work() as uow:
            product = uow.products.get("LAMP")
            assert product
            assert uow.products.get("LAMP", ("o", "")) is product
            assert uow.products.get_by_batchref("b") is product

    def test_a_product_taken_in_is_found_by_its_sku(self, store: Store) -> None:
        with store.unit_of_work() as uow:
            assert uow.products.get("LAMP") is None
            product = Product("LAMP")
            assert uow.products.add(product, ("o", "")) is product
            assert product.lines["o", ""] == OrderLine("LAMP", "o", "")
            assert uow.products.get("LAMP", ("p", "")) is product
            assert product.lines["p", ""] == OrderLine("LAMP", "p", "")

    def test_a_batch_never_heard_of_is_none(self, store: Store) -> None:
        given(store, create("b", 10))
        with store.unit_of_work() as uow:
            uow.products.lock_for([change("expected", 1), create("also-expected", 1)])
            assert uow.products.get_by_batchref("nothing") is None
            assert uow.products.get_by_batchref("expected") is None
            assert uow.products.get_by_batchref("also-expected") is None

    def test_a_batch_that_is_used_up_is_found_by_its_reference(self, store: Store) -> None:
        given(store, create("b", 1), create("c", 5), order("o", 1), create("d", 1))
        with store.unit_of_work() as uow:
            product = uow.products.get_by_batchref("b")
            assert product
            assert product.batches["b"].available_quantity == 0
            assert {"b", "c", "d"} <= product.batches.keys()

    def test_a_batch_that_is_used_up_is_found_after_its_product_was(self, store: Store) -> None:
        given(store, create("b", 1), order("o", 1))
        with store.unit_of_work() as uow:
            product = uow.products.get("LAMP")
            assert uow.products.get_by_batchref("b") is product
            assert product
            assert product.batches["b"].allocated_quantity == 1

    def test_the_batch_that_a_line_holds_comes_with_it_even_used_up(self, store: Store) -> None:
        given(store, create("b", 1), order("o", 1))
        with store.unit_of_work() as uow:
            uow.products.get("LAMP")
            product = uow.products.get("LAMP", ("o", ""))
            assert product
            assert product.batches["b"].allocated_quantity == 1

    def test_new_events_are_collected_once(self, store: Store) -> None:
        given(store, create("b", 10))
        with store.unit_of_work() as uow:
            product = uow.products.get("LAMP", ("o", ""))
            assert product
            product.allocate(("o", ""), 1)
            assert uow.products.get("LAMP") is product
            product.deallocate(("o", ""))
            assert [type(event).__name__ for event in uow.collect_new_events()] == ["Allocated", "Deallocated"]
            assert uow.collect_new_events() == []


class TestOutbox:
    def test_an_event_tells_what_caused_it(self, store: Store) -> None:
        trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
        process(store, message(create("b", 10), "cause", correlation_id="conversation", traceparent=trace))
        process(store, message(create("c", 10), "alone"))
        first, second = store.published()
        assert (first.causation_id, first.correlation_id, first.traceparent) == ("cause", "conversation", trace)
        assert (second.causation_id, second.correlation_id, second.traceparent) == ("alone", "alone", None)

    def test_an_event_is_told_in_full(self, store: Store) -> None:
        given(store, create("b", 10, eta=ETA))
        (event,) = store.published()
        assert (event.type, event.sku, event.sequence) == ("batch-created.v1", "LAMP", 1)
        assert event.body == {"batchref": "b", "sku": "LAMP", "qty": 10, "eta": "2026-01-01", "sequence": 1}

    def test_a_rejection_belongs_to_no_sku(self, store: Store) -> None:
        assert process(store, order("o", 3)) == [Done()]
        (event,) = store.published()
        assert (event.type, event.sku, event.sequence) == ("command-rejected.v1", None, None)
        assert (event.body["command"], event.body["reason"]) == ("allocate.v1", "unknown-sku")
        assert event.body["data"] == {"orderid": "o", "sku": "LAMP", "qty": 3, "lineid": ""}

    def test_each_products_events_come_in_their_order(self, store: Store) -> None:
        given(store, create("b", 10), create("c", 10, sku="VASE"))
        given(
            store, order("1"), order("1", sku="VASE"), order("2"), cancel("1"), order("2", sku="VASE"), change("b", 0)
        )
        for sku, count in (("LAMP", 7), ("VASE", 3)):
            assert [e.sequence for e in store.published() if e.sku == sku] == list(range(1, count + 1))

    def test_announced_again_an_event_has_the_same_id_and_body(self, store: Store) -> None:
        given(store, create("b", 10, eta=ETA), order("o", 3), order("p", 3))
        given(store, create("b", 10, eta=ETA), order("o", 3))
        created, allocated, _, created_again, allocated_again = store.published()
        for first, again in ((created, created_again), (allocated, allocated_again)):
            assert (first.message_id, first.body, first.sequence) == (again.message_id, again.body, again.sequence)
            assert first.causation_id != again.causation_id
            assert first.correlation_id != again.correlation_id

    def test_other_events_have_ids_of_their_own(self, store: Store) -> None:
        given(store, create("b", 2), create("c", 10, sku="VASE"), order("o"), order("o", sku="VASE"), order("p", 9))
        given(store, order("p", 9), cancel("o"), cancel("o"), change("b", 1), order("x", sku="?"), order("x", sku="?"))
        events = store.published()
        assert len({event.message_id for event in events}) == len(events) == 11

    def test_a_rolled_back_creation_does_not_decide_the_ids(self, store: Store) -> None:
        with store.unit_of_work() as uow:
            BUS.handle(message(create("b", 10)), uow)
        given(store, create("b", 10))
        given(store, create("b", 10))
        first, again = store.published()
        assert first.message_id == again.message_id


class TestGroups:
    """What one message does, the next one of its group sees."""

    def test_allocate_deallocate_allocate_of_one_line(self, store: Store) -> None:
        given(store, create("b", 10))
        given(store, order("o", 3), cancel("o"), order("o", 3))
        assert briefly(store.published())[1:] == [
            "allocated.v1 o b",
            "deallocated.v1 o b cancelled",
            "command-rejected.v1 line-cancelled",
        ]
        assert store.lines() == {("o", "LAMP", "", 3, None, True)}
        assert store.stock() == {"b": (10, 0)}

    def test_a_line_cancelled_before_its_sku_is_known(self, store: Store) -> None:
        given(store, cancel("o"), order("o", 3), create("b", 10), order("o", 3))
        assert briefly(store.published()) == [
            "deallocated.v1 o cancelled",
            "command-rejected.v1 line-cancelled",
            "batch-created.v1 b",
            "command-rejected.v1 line-cancelled",
        ]

    def test_a_batch_created_and_changed(self, store: Store) -> None:
        given(store, create("b", 10), change("b", 4), change("b", 6))
        assert store.stock() == {"b": (6, 0)}

    def test_a_batch_changed_before_and_after_it_is_created(self, store: Store) -> None:
        given(store, change("b", 4), create("b", 10), change("b", 6))
        assert briefly(store.published()) == [
            "command-rejected.v1 unknown-batch",
            "batch-created.v1 b",
            "batch-quantity-changed.v1 b",
        ]

    def test_a_batch_reference_used_for_two_skus(self, store: Store) -> None:
        given(store, create("b", 10), create("b", 10, sku="VASE"), change("b", 1))
        assert briefly(store.published()) == [
            "batch-created.v1 b",
            "command-rejected.v1 batch-exists",
            "batch-quantity-changed.v1 b",
        ]
        assert store.stock() == {"b": (1, 0)}

    def test_a_batch_changed_then_created_for_two_skus(self, store: Store) -> None:
        given(store, change("b", 4), create("b", 10), create("b", 10, sku="VASE"))
        assert briefly(store.published())[1:] == ["batch-created.v1 b", "command-rejected.v1 batch-exists"]

    def test_a_batch_of_another_sku_that_exists_already(self, store: Store) -> None:
        given(store, create("b", 10), create("c", 1, sku="VASE"))
        given(store, create("b", 10, sku="VASE"))
        assert briefly(store.published())[2:] == ["command-rejected.v1 batch-exists"]

    def test_a_batch_that_is_used_up_is_known(self, store: Store) -> None:
        given(store, create("b", 1), order("o"))
        given(store, create("b", 1), create("b", 2), change("b", 2))
        assert briefly(store.published())[2:] == [
            "batch-created.v1 b",
            "command-rejected.v1 batch-exists",
            "batch-quantity-changed.v1 b",
        ]

    def test_stock_freed_by_one_message_goes_to_the_next(self, store: Store) -> None:
        given(store, create("b", 1), order("o"))
        given(store, cancel("o"), order("p"))
        assert store.lines() == {("o", "LAMP", "", 1, None, True), ("p", "LAMP", "", 1, "b", False)}

    def test_stock_that_grows_goes_to_the_next_order(self, store: Store) -> None:
        given(store, create("b", 1), order("o"))
        given(store, change("b", 2), order("p"))
        assert store.stock() == {"b": (2, 2)}

    def test_a_line_allocated_and_taken_off_in_one_group(self, store: Store) -> None:
        given(store, create("b", 5), order("o", 5), change("b", 4), create("c", 5), order("o", 5), change("c", 1))
        assert store.stock() == {"b": (4, 0), "c": (1, 0)}
        assert store.lines() == {("o", "LAMP", "", 5, None, False)}

    def test_a_repeat_has_no_effect_and_is_done(self, store: Store) -> None:
        given(store, create("b", 10))
        twice = message(order("o", 3))
        assert process(store, twice, twice) == [Done(), Done()]
        assert process(store, twice) == [Done()]
        assert len(store.published()) == 2

    def test_another_message_under_a_known_id_is_a_dead_letter(self, store: Store) -> None:
        given(store, create("b", 10))
        outcomes = process(store, message(order("o", 3), "a"), message(order("p", 3), "a"))
        assert outcomes[0] == Done()
        assert isinstance(outcomes[1], DeadLettered)
        assert outcomes[1].reason == "message-id-conflict"
        assert briefly(store.published())[1:] == ["allocated.v1 o b"]

    def test_a_message_to_be_retried_leaves_nothing_of_itself(self, store: Store) -> None:
        given(store, create("b", 10))
        early = message(order("o", sku="NEW"), "early")
        outcomes = process(store, early, message(order("o")), grace=3)
        assert outcomes == [Retry(after=1, attempts=1), Done()]
        assert "early" not in store.taken("early")
        given(store, create("new", 10, sku="NEW"))
        assert process(store, early) == [Done()]
        assert briefly(store.published())[-1] == "allocated.v1 o new"

    def test_a_refusal_changes_nothing(self, store: Store) -> None:
        given(store, create("b", 10), order("o", 3))
        with store.unit_of_work() as uow:
            for command in (order("o", 4), create("b", 11), change("?", 1), order("x", sku="?")):
                with pytest.raises(RefusalError):
                    BUS.handle(message(command), uow)
            assert uow.collect_new_events() == []
            uow.commit()
        assert store.stock() == {"b": (10, 3)}
        assert len(store.published()) == 2


@pytest.mark.parametrize("text", [*HOSTILE, ASTRAL, UNPRINTABLE])
def test_every_text_may_be_anything_the_contract_allows(store: Store, text: str) -> None:
    given(store, create(text, 10, sku=text), order(text, 3, sku=text, lineid=text))
    given(store, order(text, 3, sku=text, lineid=text), change(text, 2), change(text, 20), create(text, 10, sku=text))
    given(store, order(text, 3, sku=text, lineid=text), order("o", 3, sku=text), cancel(text, sku=text, lineid=text))
    assert store.stock() == {text: (20, 3)}
    assert store.lines() == {(text, text, text, 3, None, True), ("o", text, "", 3, text, False)}
    assert {event.sku for event in store.published()} == {text}


@pytest.mark.parametrize("text", [*HOSTILE, ASTRAL, UNPRINTABLE])
def test_every_refusal_can_be_told_whatever_the_names(store: Store, text: str) -> None:
    given(store, order(text, 3, sku=text, lineid=text), change(text, 3), create(text, 10, sku=text))
    given(store, order(text, 3, sku=text, lineid=text), order(text, 4, sku=text, lineid=text))
    given(store, create(text, 11, sku=text), cancel(text, sku=text, lineid=text))
    given(store, order(text, 3, sku=text, lineid=text))
    reasons = [event.body["reason"] for event in store.published() if event.type == "command-rejected.v1"]
    assert reasons == ["unknown-sku", "unknown-batch", "line-quantity-conflict", "batch-exists", "line-cancelled"]


def test_texts_that_differ_only_in_form_are_different(store: Store) -> None:
    names = ["straße", "strasse", "STRASSE", "e\u0301", "\u00e9", "a", "A", "a b", "a  b"]
    given(store, *(create(name, 10, sku=name) for name in names))
    given(store, *(order(name, 3, sku=name) for name in names))
    assert store.stock() == dict.fromkeys(names, (10, 3))


def test_the_largest_quantities_fit(store: Store) -> None:
    most = 2**31 - 1
    given(store, create("b", most), order("o", most), order("p", most), change("b", most))
    assert store.stock() == {"b": (most, most)}


def test_a_group_is_answered_as_its_messages_one_at_a_time(store: Store) -> None:
    """The random version of this is tests/integration/postgres/test_model_against_reality.py."""
    messages = [
        message(command)
        for command in (
            change("b", 1),
            create("b", 10, eta=ETA),
            order("1", 4),
            order("1", 4),
            order("1", 5),
            create("c", 3),
            order("2", 4),
            cancel("1"),
            order("3", 3),
            order("4", 3),
            change("b", 5),
            order("5", 1, sku="VASE"),
            cancel("5", sku="VASE"),
            create("v", 1, sku="VASE"),
            order("5", 1, sku="VASE"),
            order("6", 1, sku="VASE"),
            create("b", 10, eta=ETA),
        )
    ]
    one_at_a_time = MemoryStore()
    expected = [process(one_at_a_time, each) for each in messages]
    assert process(store, *messages) == [outcome for (outcome,) in expected]
    assert [(e.type, e.body, e.causation_id) for e in store.published()] == [
        (e.type, e.body, e.causation_id) for e in one_at_a_time.published()
    ]
    assert store.stock() == one_at_a_time.stock()
    assert store.lines() == one_at_a_time.lines()


class TestLockedByOthers:
    def test_a_product_that_another_transaction_holds_is_told_without_waiting(self, store: Store) -> None:
        given(store, create("l", 1), create("v", 1, sku="VASE"))
        with store.unit_of_work() as holder:
            holder.products.lock_for([order("o")])
            found = []
            for _ in range(2):
                with store.unit_of_work() as uow:
                    found.append(uow.products.locked_by_others({"LAMP", "VASE", "unknown"}))
        [[first], [second]] = found
        assert first.sku == "LAMP"
        assert first == second

    def test_another_transaction_has_another_lock(self, store: Store) -> None:
        given(store, create("l", 1))
        locks = set()
        for _ in range(2):
            with store.unit_of_work() as holder, store.unit_of_work() as uow:
                holder.products.lock_for([order("o")])
                locks |= {product.lock for product in uow.products.locked_by_others({"LAMP"})}
        assert len(locks) == 2

    def test_a_product_that_nobody_holds_any_more_is_free(self, store: Store) -> None:
        given(store, create("l", 1))
        with store.unit_of_work() as holder:
            holder.products.lock_for([order("o")])
        with store.unit_of_work() as uow:
            assert uow.products.locked_by_others({"LAMP"}) == []

    def test_an_impatient_lock_ends_soon_and_says_that_it_was_a_lock(self, store: Store) -> None:
        given(store, create("l", 1))
        with store.unit_of_work() as holder, store.unit_of_work() as uow:
            holder.products.lock_for([order("o")])
            began = monotonic()
            with pytest.raises(StoreLockTimeoutError):
                uow.products.lock_for([order("o")], patient=False)
            assert monotonic() - began < 3

    def test_a_group_goes_on_without_the_product_and_takes_it_up_later(self, store: Store) -> None:
        given(store, create("l", 5), create("v", 5, sku="VASE"))
        held, free = message(order("1")), message(order("2", sku="VASE"))
        with store.unit_of_work() as holder:
            holder.products.lock_for([order("o")])
            outcomes = process(store, held, free, message(change("l", 4)))
            assert [isinstance(outcome, SetAside) for outcome in outcomes] == [True, False, True]
        assert store.stock() == {"l": (5, 0), "v": (5, 1)}
        assert process(store, held) == [Done()]
        assert store.stock() == {"l": (5, 1), "v": (5, 1)}

    def test_the_skus_of_batches(self, store: Store) -> None:
        given(store, create("l", 1), create("v", 1, sku="VASE"))
        with store.unit_of_work() as uow:
            assert uow.products.skus_of_batches({"l", "v", "unknown"}) == {"l": "LAMP", "v": "VASE"}


def test_after_a_restored_backup_old_and_new_products_go_on_from_its_sequence(store: Store) -> None:
    given(store, create("b", 10), order("o"))
    from_ = store.restored()
    given(store, order("p"), create("c", 10, sku="SOFA"), order("q", sku="SOFA"))
    numbers = [(event.sku, event.sequence) for event in store.published()]
    assert numbers == [("LAMP", 1), ("LAMP", 2), ("LAMP", from_ + 1), ("SOFA", from_ + 1), ("SOFA", from_ + 2)]
