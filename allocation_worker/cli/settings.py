"""What every verb begins with."""

from allocation_worker import logs
from allocation_worker.config import Settings, load


def settings() -> Settings:
    """The settings of this process, with its logs going where they say.

    Raises:
        SettingsError: one is missing or wrong.
    """
    loaded = load()
    logs.configure(loaded.log_level)
    return loaded
