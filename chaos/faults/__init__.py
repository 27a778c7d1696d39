"""The faults, one module for each kind of target. Importing the modules registers the faults."""

from chaos.faults import broker, database, failovers, messages, processes, read_model
from chaos.faults.table import FAULTS, KINDS

__all__ = ["FAULTS", "KINDS", "broker", "database", "failovers", "messages", "processes", "read_model"]
