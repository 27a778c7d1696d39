"""The long-running processes: `consume` answers commands, `relay` publishes events, `project` keeps the read model."""
