"""Alembic's scripts; they are the only home of the schema."""
