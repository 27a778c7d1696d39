"""What a commit survives, as the server says."""

from sqlalchemy.engine import Engine

from allocation_worker.adapters.postgres.durability import durability
from allocation_worker.adapters.postgres.engine import create_engine


def test_the_settings_of_the_servers_sessions_and_not_its_defaults(engine: Engine) -> None:
    """Such as an administrator may have changed for one database."""
    assert durability(engine) == {"synchronous_standby_names": "", "synchronous_commit": "on", "fsync": "on"}
    url = engine.url.update_query_dict({"options": "-csynchronous_commit=remote_write"})
    other = create_engine(url.render_as_string(hide_password=False), application_name="tests")
    assert durability(other)["synchronous_commit"] == "on"
    other.dispose()
