"""The one place that wires: settings in, a running process out. One module for each verb."""
