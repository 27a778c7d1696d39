"""Building a command from options, sending a file, and counting outcomes."""

from collections.abc import Iterable, Iterator
from datetime import date

import pytest

from allocation_contracts import Allocate, Command, ContractError, CreateBatch
from allocation_worker.service_layer.ports import GoodRow, Survey
from allocation_worker.service_layer.send import Tally, build_command, send_file


def test_a_good_one() -> None:
    command = build_command(CreateBatch, batchref="b1", sku="RED-CHAIR", qty=3, eta="2030-01-31")
    assert command == CreateBatch(batchref="b1", sku="RED-CHAIR", qty=3, eta=date(2030, 1, 31))
    assert build_command(CreateBatch, batchref="b1", sku="RED-CHAIR", qty=3, eta=None) == CreateBatch(
        batchref="b1", sku="RED-CHAIR", qty=3
    )


@pytest.mark.parametrize(
    ("wrong", "sentence"),
    [
        ({"sku": " RED"}, '"sku" in create-batch.v1 must be text of 1 to 255 characters'),
        ({"sku": "\udcff"}, "surrogate"),
        ({"qty": 0}, '"qty" in create-batch.v1 must be an integer from 1 to'),
        ({"eta": ""}, '"eta" in create-batch.v1 must be a date that exists'),
        ({"eta": "20300131"}, '"eta" in create-batch.v1 must be a date that exists'),
        ({"eta": "2030-02-31"}, '"eta" in create-batch.v1 must be a date that exists'),
    ],
)
def test_what_the_worker_would_refuse_is_refused_in_its_words(wrong: dict[str, str | int], sentence: str) -> None:
    fields: dict[str, str | int | None] = {"batchref": "b1", "sku": "RED-CHAIR", "qty": 3, **wrong}
    with pytest.raises(ContractError) as refused:
        build_command(CreateBatch, **fields)
    assert sentence in str(refused.value)


class TwoRows:
    """A file of two commands."""

    name = "orders.csv"

    def survey(self) -> Survey:
        survey = Survey()
        for row in self.rows():
            survey.add(row)
        return survey

    def rows(self) -> Iterator[GoodRow]:
        for number in (2, 3):
            yield GoodRow(number, Allocate(orderid=f"o{number}", sku="CHAIR", qty=1))


def ids_of(attempt: int) -> list[str]:
    ids: list[str] = []

    def publish(commands: Iterable[tuple[str, Command]]) -> None:
        ids.extend(message_id for message_id, _ in commands)

    file = TwoRows()
    send_file(file, file.survey(), publish, attempt=attempt)
    return ids


def test_the_same_file_has_the_same_ids_and_another_attempt_has_ids_of_its_own() -> None:
    digest = TwoRows().survey().digest
    assert ids_of(1) == ids_of(1) == [f"file-{digest}/2", f"file-{digest}/3"]
    assert ids_of(2) == ids_of(2) == [f"file-{digest}-2/2", f"file-{digest}-2/3"]


def test_the_outcome_of_a_command_is_the_first_event_that_it_has_caused() -> None:
    tally = Tally(4)
    assert tally.add("shrink", "batch-quantity-changed.v1")
    assert not tally.add("shrink", "out-of-stock.v1")
    assert (tally.missing, tally.refused) == (3, 0)
    assert tally.add("big", "out-of-stock.v1")
    assert tally.add("unknown", "command-rejected.v1")
    assert tally.add("good", "allocated.v1")
    assert (tally.missing, tally.refused) == (0, 2)
    assert tally.counts["batch-quantity-changed.v1"] == 1
