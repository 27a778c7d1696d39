"""The read model in Redis. Only this package imports redis-py, an optional extra."""
