from uuid import UUID, uuid5

import pytest
from hypothesis import given
from hypothesis import strategies as st

from allocation_worker.adapters.postgres.arrays import array, rows_to_copy
from allocation_worker.adapters.postgres.outbox import event_id


@given(st.uuids(), st.integers(min_value=1, max_value=2**63 - 1))
def test_an_events_id_is_the_uuid5_of_its_stream_and_its_sequence(stream: UUID, sequence: int) -> None:
    assert UUID(event_id(stream.bytes, sequence)) == uuid5(stream, str(sequence))


def test_a_text_with_nul_is_refused_and_not_taken_for_two() -> None:
    with pytest.raises(ValueError, match="NUL"):
        array(["a\0b", "c"])


def test_a_row_with_nul_in_it_is_not_copied() -> None:
    with pytest.raises(ValueError, match="NUL"):
        rows_to_copy([("a\0b",), ("c",)])


def test_empty_texts_stay_texts() -> None:
    assert array(["", ""]) == '{"",""}'
    assert array([]) == "{}"
