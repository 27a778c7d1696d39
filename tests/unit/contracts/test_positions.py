"""A position tells new events, repeats and gaps apart."""

from hypothesis import given
from hypothesis import strategies as st

from allocation_contracts import GapError, Position


def test_the_next_event_moves_it_on() -> None:
    assert Position(4).after(5) == Position(5)
    assert not Position(4).gap_before(5)


def test_what_it_has_seen_is_a_repeat() -> None:
    assert [Position(4).has_seen(sequence) for sequence in (1, 4, 5)] == [True, True, False]


def test_a_jump_leaves_a_gap() -> None:
    assert Position(4).gap_before(8) == range(5, 8)
    assert Position(4).after(8) == Position(8, (range(5, 8),))


def test_what_comes_late_is_no_repeat_and_closes_its_part_of_the_gap() -> None:
    position = Position(4).after(8)
    assert not position.has_seen(6)
    position = position.after(6)
    assert position == Position(8, (range(5, 6), range(7, 8)))
    assert position.has_seen(6)
    assert position.after(5).after(7) == Position(8)


@given(st.permutations(range(1, 12)))
def test_in_whatever_order_they_come_each_is_new_once_and_none_is_missing_in_the_end(order: list[int]) -> None:
    position = Position(0)
    for count, sequence in enumerate(order, 1):
        assert not position.has_seen(sequence)
        position = position.after(sequence)
        assert {each for each in range(1, 12) if position.has_seen(each)} == set(order[:count])
    assert position == Position(11)


def test_before_the_first_event_of_a_sku_nothing_was_seen_and_nothing_is_missed() -> None:
    position = Position.before(3)
    assert not position.gap_before(3)
    assert [position.after(3).has_seen(sequence) for sequence in (1, 2, 3, 4)] == [False, False, True, False]
    assert Position.before(1) == Position(0)


def test_a_gap_says_what_is_missing() -> None:
    assert str(GapError("CHAIR", 5, 6)) == "Of SKU 'CHAIR', event 6 came where 5 was expected: 5 missing."
    assert str(GapError("CHAIR", 5, 8)) == "Of SKU 'CHAIR', event 8 came where 5 was expected: 5 to 7 missing."
