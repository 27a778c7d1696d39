"""Failovers of a Patroni cluster under load: answers come again in time, and nothing is lost, doubled or oversold."""

import pytest

from allocation_worker.testing.waiting import wait_until
from harness.patroni import TTL, PatroniCluster
from tests.ha.shop import Shop

pytestmark = [pytest.mark.ha, pytest.mark.timeout(900)]

MOST_SILENCE = TTL + 5
"""Patroni needs the ttl to notice that a leader is gone; the rest is for the promotion and for our pauses."""


def test_the_machine_of_the_leader_is_killed(patroni: PatroniCluster, shop: Shop) -> None:
    leader = patroni.wait_for_leader()
    with shop.open():
        with shop.observed("machine killed") as event:
            leader.kill()
            patroni.wait_for_leader(other_than=leader)
        leader.launch()
        patroni.wait_until_healthy()
    assert event.silence <= MOST_SILENCE
    shop.judge()


def test_the_machine_of_the_leader_vanishes_from_the_network(patroni: PatroniCluster, shop: Shop) -> None:
    leader = patroni.wait_for_leader()
    with shop.open():
        with shop.observed("machine vanished") as event:
            patroni.cut_off(leader)
            leader.kill()
            patroni.wait_for_leader(other_than=leader)
        patroni.join_again()
        leader.launch()
        patroni.wait_until_healthy()
    assert event.silence <= MOST_SILENCE
    shop.judge()


def test_the_postgresql_of_the_leader_is_killed(patroni: PatroniCluster, shop: Shop) -> None:
    leader = patroni.wait_for_leader()
    with shop.open():
        with shop.observed("PostgreSQL killed") as event:
            leader.kill_postgres()
        patroni.wait_until_healthy()
    assert event.silence <= MOST_SILENCE
    shop.judge()


def test_a_planned_switchover(patroni: PatroniCluster, shop: Shop) -> None:
    leader = patroni.wait_for_leader()
    standby = next(node for node in patroni.nodes if node is not leader)
    with shop.open():
        with shop.observed("switchover") as event:
            patroni.switch_over(standby)
        patroni.wait_until_healthy()
    assert patroni.wait_for_leader() is standby
    assert event.silence <= MOST_SILENCE
    shop.judge()


def test_a_standby_is_killed(patroni: PatroniCluster, shop: Shop) -> None:
    leader = patroni.wait_for_leader()
    standby = next(node for node in patroni.nodes if node is not leader)
    with shop.open():
        with shop.observed("standby killed") as event:
            standby.kill()
        standby.launch()
        patroni.wait_until_healthy()
    assert event.silence <= MOST_SILENCE
    shop.judge()


def test_etcd_is_away(patroni: PatroniCluster, shop: Shop) -> None:
    leader = patroni.wait_for_leader()
    with shop.open():
        with shop.observed("etcd away for 40 s") as event:
            patroni.etcd.kill()
            shop.trade_for(2 * TTL)
            patroni.etcd.start()
        patroni.wait_until_healthy()
    assert patroni.wait_for_leader() is leader
    assert event.silence <= MOST_SILENCE
    shop.judge()


def test_the_leader_is_frozen_and_comes_back(patroni: PatroniCluster, shop: Shop) -> None:
    leader = patroni.wait_for_leader()
    with shop.open():
        with shop.observed("machine frozen") as event:
            leader.freeze()
            patroni.wait_for_leader(other_than=leader)
        leader.thaw()
        patroni.wait_until_healthy()
    assert event.silence <= MOST_SILENCE
    shop.judge()


def test_without_a_watchdog_a_frozen_patroni_keeps_the_old_primary_open_and_loses_nothing(
    patroni: PatroniCluster, shop: Shop
) -> None:
    leader = patroni.wait_for_leader()
    with shop.open():
        with shop.observed("Patroni frozen for 60 s, without a watchdog"):
            leader.freeze_patroni()
            patroni.wait_for_leader(other_than=leader)
            assert patroni.is_writable(leader)
            shop.trade_for(2 * TTL)
            leader.thaw()
            wait_until(lambda: not patroni.is_writable(leader), within=60, otherwise=lambda: "It stays a primary.")
        patroni.wait_until_healthy()
    shop.judge()
