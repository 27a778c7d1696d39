"""The allocation worker: commands in from RabbitMQ, decisions in PostgreSQL, events out."""

from importlib.metadata import version

__version__ = version("allocation-worker")
