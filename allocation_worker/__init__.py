"""The allocation worker: commands in from RabbitMQ, decisions in PostgreSQL, events out."""


def __getattr__(name: str) -> str:
    if name == "__version__":
        # Read when it is asked for: its import takes longer than the whole of `allocation-worker health`.
        from importlib.metadata import version  # noqa: PLC0415 - see above

        return version("allocation-worker")
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
