"""The demo's day: drawn from a seed, and sized so that each step works for any number of orders."""

from collections import Counter
from datetime import date

import pytest

from demo.plan import CHAIR, plan_day

TODAY = date(2030, 1, 1)


def test_the_same_seed_brings_the_same_day() -> None:
    assert plan_day(50, today=TODAY, seed=7) == plan_day(50, today=TODAY, seed=7)
    assert plan_day(50, today=TODAY, seed=7) != plan_day(50, today=TODAY, seed=8)


@pytest.mark.parametrize("orders", [10, 60, 300, 2000])
def test_there_are_as_many_orders_as_asked_for(orders: int) -> None:
    assert len({line.orderid for line in plan_day(orders, today=TODAY).lines}) == orders


def test_no_line_comes_twice_and_some_orders_repeat_a_sku() -> None:
    lines = plan_day(300, today=TODAY).lines
    assert len({(line.orderid, line.sku, line.lineid) for line in lines}) == len(lines)
    assert any(line.lineid for line in lines)


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("orders", [10, 11, 12, 60, 300])
def test_some_chairs_must_go_by_ship_and_the_next_ship_has_room_for_half_of_them(orders: int, seed: int) -> None:
    day = plan_day(orders, today=TODAY, seed=seed)
    demand = Counter[str]()
    for line in day.lines:
        demand[line.sku] += line.qty
    warehouse, argo, beagle = (batch.qty for batch in day.batches if batch.sku == CHAIR)
    assert warehouse < demand[CHAIR] <= argo
    assert beagle >= (demand[CHAIR] - warehouse) / 2 + max(line.qty for line in day.lines)


def test_some_of_it_is_in_the_warehouse_and_some_at_sea() -> None:
    batches = plan_day(10, today=TODAY).batches
    assert {batch.eta is None for batch in batches} == {True, False}
    assert all(batch.eta is None or batch.eta > TODAY for batch in batches)
    assert len({batch.batchref for batch in batches}) == len(batches)
