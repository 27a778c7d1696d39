"""The use cases: one function a message, a bus that finds it, and the ports it works through."""
