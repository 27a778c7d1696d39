"""How old the answers of `show` are."""

from dataclasses import dataclass

from allocation_worker.service_layer.wording import counted

STALE_AFTER = 30.0
"""Seconds. `project` leaves a sign of life every ten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Freshness:
    """What is known of the age of the read model.

    Attributes:
        seconds: How many seconds ago `project` was last seen working; None if it never was.
        waiting: The number of events that wait for `project`; None if the broker cannot be asked.
        running: Whether a `project` is connected to the broker; None as above.
    """

    seconds: float | None
    waiting: int | None
    running: bool | None

    @property
    def current(self) -> bool:
        """Whether the read model holds all that was published by then, as far as can be told."""
        return not self._troubles()

    def sentence(self) -> str:
        """Return the age in one sentence, with what is wrong."""
        age = "of unknown age" if self.seconds is None else f"as of {_told(self.seconds)} ago"
        troubles = self._troubles()
        return f"The read model is {age}{': ' if troubles else ''}{', and '.join(troubles)}."

    def _troubles(self) -> list[str]:
        troubles: list[str] = []
        if self.waiting is None:
            troubles.append("the broker cannot be asked how many events wait")
        elif not self.running:
            troubles.append("`project` is not running")
        elif self.seconds is None or self.seconds > STALE_AFTER:
            troubles.append("`project` does not get on")
        if self.waiting:
            troubles.append(counted(self.waiting, "event waits for it", "events wait for it"))
        return troubles


def _told(seconds: float) -> str:
    if seconds < 120:  # noqa: PLR2004 - two minutes
        return f"{seconds:.0f} s"
    minutes = int(seconds // 60)
    if minutes < 120:  # noqa: PLR2004 - two hours
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min"
