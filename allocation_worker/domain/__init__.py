"""The rules of the shop, in plain Python: no I/O, no clock, no library."""
