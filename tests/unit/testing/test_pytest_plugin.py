"""Loading the pytest plugin is cheap, since every pytest run loads it."""

import subprocess
import sys


def test_loading_the_plugin_imports_none_of_what_the_stack_needs() -> None:
    program = """
import sys
import pytest
before = set(sys.modules)
import allocation_worker.testing.pytest_plugin
heavy = {"pika", "sqlalchemy", "psycopg2", "pydantic", "alembic", "testcontainers", "typer", "structlog"}
print(sorted(heavy & (set(sys.modules) - before)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "[]\n"
