"""How fast it is, beside a bare loop that does the same work by hand: `python -m bench`, or `make bench`."""
