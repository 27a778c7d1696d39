"""Runs a seeded campaign of faults against the whole service: `make chaos`."""
