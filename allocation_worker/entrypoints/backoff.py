"""Ever longer pauses, with jitter, so that many processes do not come back all at once."""

import random

FIRST = 0.1
LONGEST = 5.0


class Backoff:
    """Pauses in seconds: about 0.1, 0.2, 0.4 and so on, 5 at most."""

    def __init__(self) -> None:
        self._attempts = 0

    @property
    def used(self) -> bool:
        """Whether there was any pause yet."""
        return self._attempts > 0

    def next(self) -> float:
        pause = min(LONGEST, FIRST * 2.0 ** min(self._attempts, 10))
        self._attempts += 1
        return pause * random.uniform(0.5, 1.0)  # noqa: S311 - jitter, not a secret
