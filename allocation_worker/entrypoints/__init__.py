"""The two processes: `consume` takes commands, `relay` publishes events."""
