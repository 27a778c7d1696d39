"""Benchmarks the worker against a bare loop that does the same work: `python -m bench`, or `make bench`."""
