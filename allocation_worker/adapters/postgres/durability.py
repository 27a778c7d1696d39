"""The server's settings that decide what a commit survives."""

from collections.abc import Mapping

import sqlalchemy as sa
from sqlalchemy.engine import Engine

_SETTINGS = ("synchronous_standby_names", "synchronous_commit", "fsync")


def durability(engine: Engine) -> Mapping[str, str]:
    """Return these settings, as a session of this engine has them.

    Commits wait for a standby if `synchronous_standby_names` is not empty and `synchronous_commit` is neither `off` nor
    `local`.

    Raises:
        StoreUnavailableError: The database is away.
    """
    columns = ", ".join(f"current_setting('{name}')" for name in _SETTINGS)
    with engine.connect() as connection:
        values = connection.execute(sa.text(f"SELECT {columns}")).one()
    return dict(zip(_SETTINGS, values, strict=True))
