"""Several writes in one round trip, in the order of the calls."""

from collections.abc import Iterator

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from allocation_worker.adapters.postgres.outbox import INSERT
from allocation_worker.adapters.postgres.page import EVENTS_A_PAGE
from allocation_worker.adapters.postgres.writer import MANY_ROWS, Values, Write, Writer, new_rows
from allocation_worker.domain.commands import ChangeBatchQuantity, Deallocate
from allocation_worker.domain.events import CommandRejected
from allocation_worker.service_layer.outcomes import Done
from tests.fakes.messages import message
from tests.integration.postgres.staging import counting, create, order, process
from tests.integration.postgres.store import PostgresStore

NOTE = Write(
    "note",
    "INSERT INTO noted (number, word) SELECT * FROM unnest(CAST(:note0 AS integer[]), CAST(:note1 AS text[]))",
)
RENAME = Write(
    "rename",
    "UPDATE noted SET word = new.word FROM unnest(CAST(:rename0 AS integer[]), CAST(:rename1 AS text[])) "
    "AS new (number, word) WHERE noted.number = new.number",
)
NEW_NOTES = new_rows("noted", {"number": "integer", "word": "text"})
FORGET = Write("forget", "DELETE FROM noted WHERE number = ANY(CAST(:forget0 AS integer[]))")
LINES = 3_000


@pytest.fixture
def connection(store: PostgresStore) -> Iterator[Connection]:
    with store.engine.connect() as connection:
        connection.execute(sa.text("CREATE TEMP TABLE noted (place serial, number integer, word text) ON COMMIT DROP"))
        yield connection


def noted(connection: Connection) -> list[Values]:
    return [tuple(row) for row in connection.execute(sa.text("SELECT number, word FROM noted ORDER BY place"))]


def test_all_is_sent_at_once_in_the_order_in_which_it_was_added(store: PostgresStore, connection: Connection) -> None:
    writer = Writer(connection)
    with counting(store.engine) as sent:
        writer.add(NOTE, [(1, "one"), (2, "it's; :two, %s"), (3, None)])
        writer.add(RENAME, [(1, "renamed")])
        writer.add(FORGET, [(3,)])
        assert sent == []
        writer.flush()
    assert len(sent) == 1
    assert noted(connection) == [(1, "renamed"), (2, "it's; :two, %s")]


def test_the_order_is_that_of_adding_and_not_another(connection: Connection) -> None:
    writer = Writer(connection)
    writer.add(FORGET, [(1,)])
    writer.add(RENAME, [(1, "renamed")])
    writer.add(NOTE, [(1, "one")])
    writer.flush()
    assert noted(connection) == [(1, "one")]


def test_one_write_twice_sends_what_came_between_before_it(store: PostgresStore, connection: Connection) -> None:
    writer = Writer(connection)
    with counting(store.engine) as sent:
        writer.add(NOTE, [(1, "one")])
        writer.add(FORGET, [(1,)])
        writer.add(NOTE, [(1, "again")])
        assert len(sent) == 1
        writer.flush()
    assert len(sent) == 2
    assert noted(connection) == [(1, "again")]


@pytest.mark.parametrize(("rows", "round_trips"), [(0, 0), (1, 1), (1000, 1), (1001, 2), (2000, 2), (2500, 3)])
def test_rows_are_sent_by_the_thousand_in_order(
    store: PostgresStore, connection: Connection, rows: int, round_trips: int
) -> None:
    writer = Writer(connection)
    numbered: list[Values] = [(number, f"word {number}") for number in range(rows)]
    with counting(store.engine) as sent:
        writer.add(NOTE, numbered)
        assert len(sent) == max(0, round_trips - 1)
        writer.flush()
    assert len(sent) == round_trips
    assert noted(connection) == numbered


HOSTILE = [
    "",
    "NULL",
    "\\N",
    "\\.",
    "\\",
    "tab\t",
    "line\nfeed",
    "return\r",
    'quote"',
    "it's",
    "{a,b}",
    "\u00e9\U0001f6cb",
    None,
]


def test_many_new_rows_are_copied_as_they_are_whatever_their_texts(
    store: PostgresStore, connection: Connection
) -> None:
    writer = Writer(connection)
    rows: list[Values] = [(number, HOSTILE[number % len(HOSTILE)]) for number in range(MANY_ROWS)]
    plain: list[Values] = [(number, "plain") for number in range(MANY_ROWS)]
    with counting(store.engine) as sent:
        writer.add(NOTE, [(-1, "before")])
        writer.add(NEW_NOTES, rows)
        writer.add(NEW_NOTES, plain)
        writer.add(NEW_NOTES, rows[:-1])
        writer.flush()
    assert [statement.split()[0] for statement in sent] == ["INSERT", "COPY", "COPY", "INSERT"]
    assert noted(connection) == [(-1, "before"), *rows, *plain, *rows[:-1]]


def test_rows_may_be_copied_in_the_first_statement_of_a_transaction(store: PostgresStore) -> None:
    store.execute("DROP TABLE IF EXISTS noted; CREATE TABLE noted (number integer, word text)")
    with store.engine.connect() as connection:
        Writer(connection).add(NEW_NOTES, [(number, "word") for number in range(MANY_ROWS)])
        assert connection.scalar(sa.text("SELECT count(*) FROM noted")) == MANY_ROWS
        assert connection.scalar(sa.text("SHOW client_min_messages")) == "warning"
        connection.rollback()
        assert connection.scalar(sa.text("SELECT count(*) FROM noted")) == 0
    store.execute("DROP TABLE noted")


def test_what_was_sent_is_not_sent_again(store: PostgresStore, connection: Connection) -> None:
    writer = Writer(connection)
    with counting(store.engine) as sent:
        writer.flush()
        writer.add(NOTE, [])
        writer.flush()
        assert sent == []
        writer.add(NOTE, [(1, "one")])
        writer.flush()
        writer.flush()
    assert len(sent) == 1
    assert noted(connection) == [(1, "one")]


def test_many_lines_move_at_once_with_buffers_of_a_thousand(
    store: PostgresStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    process(store.unit_of_work, message(create("b", LINES)))
    for start in range(0, LINES, 500):
        process(store.unit_of_work, *(message(order(f"o{number}")) for number in range(start, start + 500)))
    process(store.unit_of_work, message(create("spare", LINES + 5)))
    before = len(store.published())
    pages: list[object] = []

    def add_row(self: Writer, write: Write, row: Values) -> None:
        if write is INSERT:
            pages.append(row[0])
        really_add_row(self, write, row)

    really_add_row = Writer.add_row
    monkeypatch.setattr(Writer, "add_row", add_row)
    with counting(store.engine) as sent:
        assert process(store.unit_of_work, message(ChangeBatchQuantity(batchref="b", qty=0))) == [Done()]

    events = store.published()
    assert [event.sequence for event in events] == list(range(1, len(events) + 1))
    moved = events[before:]
    assert {event.type for event in moved[:1]} == {"batch-quantity-changed.v1"}
    freed = [event.body["orderid"] for event in moved if event.type == "deallocated.v1"]
    placed = [event.body["orderid"] for event in moved if event.type == "allocated.v1"]
    assert freed == [f"o{number}" for number in reversed(range(LINES))]
    assert sorted(placed) == sorted(freed)
    assert len(moved) == 1 + 2 * LINES
    assert {event.body["batchref"] for event in moved if event.type == "allocated.v1"} == {"spare"}
    assert store.stock() == {"b": (0, 0), "spare": (LINES + 5, LINES)}
    assert {line[4] for line in store.lines()} == {"spare"}

    full, rest = divmod(len(moved), EVENTS_A_PAGE)
    assert pages == [EVENTS_A_PAGE] * full + [rest]
    assert sum("INSERT INTO outbox_pages" in statement for statement in sent) == len(pages)


def test_large_events_make_a_page_of_few(store: PostgresStore) -> None:
    """A refusal returns the whole body of its command."""
    wide = Deallocate(orderid="o", sku="LAMP")
    large = [message(wide, f"m{number}")._replace(data={"note": "x" * 100_000}) for number in range(5)]
    with store.unit_of_work() as uow:
        for each in large:
            uow.outbox.add(CommandRejected(reason="unknown-batch", detail="There is none."), each)
        uow.commit()
    assert store.rows("SELECT count FROM outbox_pages ORDER BY id") == [(3,), (2,)]
    with store.open_pending() as session:
        fetched = [event for page in session.fetch(100, []) for event in page.events]
    assert [event.causation_id for event in fetched] == [each.message_id for each in large]
    assert all(len(event.body) > 100_000 for event in fetched)


def test_a_field_that_would_break_a_page_is_refused(store: PostgresStore) -> None:
    with store.unit_of_work() as uow:
        broken = message(order("o"), "m")._replace(traceparent="a\tb")
        uow.outbox.add(CommandRejected(reason="unknown-batch", detail="There is none."), broken)
        with pytest.raises(ValueError, match="a tab or a line feed"):
            uow.commit()


def test_a_row_of_values_is_written_in_its_turn(connection: Connection) -> None:
    one = Write("one", "INSERT INTO noted (number, word) VALUES (:one0, :one1)")
    writer = Writer(connection)
    writer.add_row(one, (1, "first"))
    writer.add_row(one, (2, "it's; :two, %s"))
    writer.add(FORGET, [(1,)])
    writer.flush()
    assert noted(connection) == [(2, "it's; :two, %s")]
