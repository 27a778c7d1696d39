"""Redis: the read model, written and read. redis-py, an optional extra, stays in here."""
