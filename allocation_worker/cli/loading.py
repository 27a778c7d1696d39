"""Reads the settings of a verb and configures its logs."""

from allocation_worker import logs
from allocation_worker.bootstrap import addresses as wiring
from allocation_worker.config import Settings, load


def load_settings(verb: str, *, quiet: bool = False) -> Settings:
    """Return the settings of this process, and configure its logs.

    Args:
        verb: The verb that this process runs; a field of every log line.
        quiet: Whether to log warnings only, for verbs whose output a person reads.

    Raises:
        SettingsError: A setting is missing or wrong.
    """
    loaded = load()
    wiring.check_addresses(loaded)
    logs.configure("warning" if quiet else loaded.log_level, verb=verb)
    return loaded
