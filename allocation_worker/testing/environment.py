"""The environment of the processes under test."""

import os
from collections.abc import Mapping

from allocation_worker.config import PREFIX


def environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return this process's environment, with these settings of the service in place of all that it has itself.

    Those may be settings of production.
    """
    others = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    return others | dict(settings)
