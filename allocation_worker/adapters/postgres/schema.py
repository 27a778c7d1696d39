"""The revision of the schema, and whether this program may use it.

Revisions are numbered: a higher number is a newer one. The table `schema_revision` holds the revision of the schema and
that of the oldest program that may use it, so that programs of several versions can run beside each other.

Alembic is not imported here: it would take 10 MB in each process that only checks the revision.
"""

from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine

from allocation_contracts import AllocationError
from allocation_worker.service_layer.ports import StoreError

REVISION = "0011"
"""The newest revision, which this program needs."""
VERSION_TABLE = "schema_revision"


class SchemaOutdatedError(StoreError):
    """The tables are missing, or have an older revision than this program needs."""


class SchemaTooNewError(AllocationError):
    """The tables have a newer revision, which this program does not know and may not use."""


class SchemaForeignError(StoreError):
    """The schema belongs to another program, which keeps its revision there in Alembic's own table."""


class Revision(NamedTuple):
    """The revision of a schema, and the oldest program that may use it."""

    number: str
    oldest_program: str

    def serves(self, program: str) -> bool:
        """Return whether a program of that revision may use this schema."""
        return self.oldest_program <= program <= self.number


def check(engine: Engine) -> None:
    """Check that this program may use the schema.

    Raises:
        SchemaOutdatedError: It is too old; the text says what to do.
        SchemaTooNewError: It is too new, so a newer program is required.
        SchemaForeignError: It belongs to another program.
    """
    with engine.connect() as connection:
        found = find_revision(connection)
    if found is None or found.number < REVISION:
        raise SchemaOutdatedError(
            f"The database schema is at {found.number if found else 'nothing'}, this program needs {REVISION}; "
            "run `allocation-worker migrate`."
        )
    refuse_unless_served(found)


def refuse_unless_served(found: Revision) -> None:
    """Raise SchemaTooNewError if this program may not use a schema of that revision."""
    if not found.serves(REVISION):
        raise SchemaTooNewError(
            f"The database schema is at {found.number}, which needs a program of revision {found.oldest_program} or "
            f"later, and this one is of {REVISION}; start the newer program."
        )


def find_revision(connection: Connection) -> Revision | None:
    """Return the revision of the schema, or None if there are no tables yet.

    Raises:
        SchemaForeignError: It belongs to another program.
    """
    tables = sa.inspect(connection)
    if tables.has_table(VERSION_TABLE):
        row = connection.execute(sa.text(f"SELECT version_num, oldest_program FROM {VERSION_TABLE}")).one_or_none()  # noqa: S608 - a constant
        return None if row is None else Revision(*row)
    if not tables.has_table("alembic_version"):
        return None
    numbers = connection.scalars(sa.text("SELECT version_num FROM alembic_version")).all()
    if not numbers:
        return None
    # Only revision 0001 of ours was kept in this table, and it has an inbox.
    if list(numbers) != ["0001"] or not tables.has_table("inbox"):
        raise SchemaForeignError(
            f"The schema has a table alembic_version of another program, at revision {', '.join(numbers)}; give the "
            "worker a schema of its own, by ?options=-csearch_path%3DNAME in ALLOCATION_DATABASE_URL."
        )
    return Revision("0001", "0001")
