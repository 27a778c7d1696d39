"""Checks a run from outside: `events` against `rules`, the `tables` and the `read_model` against the events."""
