"""The report of a campaign."""

from chaos.campaign import Campaign, InjectedFault
from chaos.report import lines, recoveries, summary


def campaign() -> Campaign:
    """A fault from 10 to 15 s; the commands of 9, 11 and 14 s are answered at 9.5, 18 and 19 s."""
    return Campaign(
        seed=4,
        began=0.0,
        ended=60.0,
        drained=62.0,
        injected=[InjectedFault(target="broker", kind="broker node: SIGKILL", began=10.0, healed=15.0)],
        sent_at={"a": 9.0, "b": 11.0, "c": 14.0},
        answered_at={"a": 9.5, "b": 18.0, "c": 19.0},
    )


def test_recovery_is_from_the_end_of_a_fault_to_the_next_answer_of_what_was_sent_since_it_began() -> None:
    assert recoveries(campaign()) == [("broker node: SIGKILL", 3.0)]


def test_an_answer_during_the_fault_is_no_recovery() -> None:
    it = campaign()
    it.answered_at = {**it.answered_at, "b": 12.0}
    assert recoveries(it) == [("broker node: SIGKILL", 4.0)]


def test_the_text_tells_the_verdict() -> None:
    assert "Verdict: nothing lost, nothing twice, nothing oversold." in lines(summary(campaign()), "make chaos SEED=4")


def test_the_text_tells_what_is_wrong_and_how_to_repeat_it() -> None:
    it = campaign()
    it.report.fault("Batch b is oversold.")
    text = lines(summary(it), "make chaos SEED=4")
    assert "Verdict: 1 faults. Repeat it with: make chaos SEED=4" in text
    assert "  Batch b is oversold." in text
