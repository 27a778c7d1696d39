"""What the long-running processes load: each megabyte is paid for once a process, for as long as it runs."""

import subprocess
import sys

import pytest


def loaded(statement: str) -> set[str]:
    """Return the top-level modules that a new interpreter has loaded after a statement."""
    program = f"{statement}; import sys; print(*{{name.partition('.')[0] for name in sys.modules}})"
    return set(
        subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout.split()
    )


@pytest.mark.parametrize("spared", ["alembic", "mako"])
def test_the_verbs_but_migrate_load_nothing_that_only_migrate_needs(spared: str) -> None:
    assert spared not in loaded("import allocation_worker.cli")
    assert spared in loaded("import allocation_worker.adapters.postgres.migrate")
