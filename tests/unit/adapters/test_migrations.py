from alembic.config import Config
from alembic.script import ScriptDirectory

from allocation_worker.adapters.postgres.migrate import SCRIPTS
from allocation_worker.adapters.postgres.schema import REVISION


def test_the_program_needs_the_revision_of_the_newest_script() -> None:
    config = Config()
    config.set_main_option("script_location", str(SCRIPTS))
    assert ScriptDirectory.from_config(config).get_current_head() == REVISION
