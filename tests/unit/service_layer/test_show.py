"""How old the read model is, in a sentence."""

import pytest

from allocation_worker.service_layer.show import Freshness


@pytest.mark.parametrize(
    ("seconds", "waiting", "running", "sentence"),
    [
        (2.4, 0, True, "The read model is as of 2 s ago."),
        (2.4, 1200, True, "The read model is as of 2 s ago: 1,200 events wait for it."),
        (600, 0, False, "The read model is as of 10 min ago: `project` is not running."),
        (
            90_000,
            5,
            False,
            "The read model is as of 25 h 0 min ago: `project` is not running, and 5 events wait for it.",
        ),
        (31, 0, True, "The read model is as of 31 s ago: `project` does not get on."),
        (2, None, None, "The read model is as of 2 s ago: the broker cannot be asked how many events wait."),
        (None, 0, True, "The read model is of unknown age: `project` does not get on."),
    ],
)
def test_it_says_what_is_wrong(seconds: float | None, waiting: int | None, running: bool | None, sentence: str) -> None:  # noqa: FBT001 - a parameter of the test
    freshness = Freshness(seconds=seconds, waiting=waiting, running=running)
    assert freshness.sentence() == sentence
    assert freshness.current == (":" not in sentence)
