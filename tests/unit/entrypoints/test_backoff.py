"""Ever longer pauses."""

import pytest

from allocation_worker.entrypoints.backoff import FIRST, LONGEST, Backoff


def test_pauses_double_up_to_the_longest() -> None:
    backoff = Backoff()
    longest = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]
    assert longest[0] == FIRST
    assert longest[-1] == LONGEST
    for most in longest:
        assert most / 2 <= backoff.next() <= most


def test_it_knows_whether_it_was_used() -> None:
    backoff = Backoff()
    assert not backoff.used
    backoff.next()
    assert backoff.used


def test_a_very_long_absence_is_no_trouble() -> None:
    backoff = Backoff()
    assert max(backoff.next() for _ in range(5000)) == pytest.approx(LONGEST, abs=LONGEST / 2)
