"""What runs: `consume` takes commands, `relay` publishes events, `project` keeps the read model, people mend."""
