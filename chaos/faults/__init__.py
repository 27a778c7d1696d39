"""The faults, a module for each kind of target; importing them enters them into the tables."""

from chaos.faults import broker, database, messages, processes, read_model
from chaos.faults.table import FAULTS, KINDS

__all__ = ["FAULTS", "KINDS", "broker", "database", "messages", "processes", "read_model"]
