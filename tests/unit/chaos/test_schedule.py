"""The seed determines the campaign."""

from itertools import pairwise

from chaos.faults import FAULTS, KINDS
from chaos.schedule import PAUSES, Kind, draw


def test_the_same_seed_draws_the_same_campaign() -> None:
    assert draw(7, 600, KINDS) == draw(7, 600, KINDS)
    assert draw(7, 600, KINDS) != draw(8, 600, KINDS)


def test_there_are_more_than_twelve_kinds_and_each_has_a_fault() -> None:
    kinds = [kind.name for kinds in KINDS.values() for kind in kinds]
    assert len(kinds) == len(set(kinds)) > 12
    assert set(kinds) == set(FAULTS)


def test_an_hour_strikes_with_every_kind() -> None:
    injected = {fault.kind for planned_faults in draw(1, 3600, KINDS).values() for fault in planned_faults}
    assert injected == set(FAULTS)


def test_faults_of_one_target_rest_between_each_other() -> None:
    for target, planned_faults in draw(3, 3600, KINDS).items():
        for one, next_ in pairwise(planned_faults):
            assert next_.at >= one.at + one.seconds + PAUSES[target][0]


def test_no_fault_begins_after_the_end() -> None:
    assert all(fault.at < 60 for planned_faults in draw(5, 60, KINDS).values() for fault in planned_faults)


def test_a_fault_lasts_as_long_as_its_kind_allows() -> None:
    for fault in draw(2, 3600, {"broker": [Kind("any", 3, 5)]})["broker"]:
        assert 3 <= fault.seconds <= 5
