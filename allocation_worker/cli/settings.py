"""What every verb begins with."""

from allocation_worker import logs
from allocation_worker.bootstrap import addresses as wiring
from allocation_worker.config import Settings, load


def settings(verb: str, *, quiet: bool = False) -> Settings:
    """The settings of this process, with its logs going where they say.

    Args:
        verb: What this process does; a field of every log line.
        quiet: log warnings only, since a person reads along.

    Raises:
        SettingsError: one is missing or wrong.
    """
    loaded = load()
    wiring.check_addresses(loaded)
    logs.configure("warning" if quiet else loaded.log_level, verb=verb)
    return loaded
