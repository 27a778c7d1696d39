"""The demo's meter: commands per second, and the last ten seconds."""

from demo.meter import Meter


def test_the_rate_is_that_of_the_last_two_seconds() -> None:
    meter = Meter()
    for tenth in range(1000, 1051):
        meter.read(3 * (tenth - 1000), at=tenth / 10)
    assert meter.per_second == 30


def test_nothing_comes_and_the_rate_falls_to_nothing() -> None:
    meter = Meter()
    meter.read(50, at=100.0)
    meter.read(50, at=100.6)
    assert meter.per_second == 25
    meter.read(50, at=103.0)
    assert meter.per_second == 0


def test_the_past_is_kept_for_ten_seconds() -> None:
    meter = Meter()
    meter.read(7, at=100.0)
    meter.read(9, at=100.5)
    assert meter.history[-2:] == [7, 2]
    meter.read(9, at=500.0)
    assert not any(meter.history)
    assert len(meter.history) == 20
