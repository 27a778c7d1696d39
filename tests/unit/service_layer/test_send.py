"""Building a command from options."""

from datetime import date

import pytest

from allocation_contracts import ContractError, CreateBatch
from allocation_worker.service_layer.send import build_command


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
