"""Starts a broker and a database from the command line: `python -m allocation_worker.testing.servers`."""

import argparse
import signal
import sys
from contextlib import suppress

from allocation_worker.testing.servers.starting import start_servers


def main() -> None:
    """Start both servers, print their addresses, and keep them running until SIGINT or SIGTERM."""
    argparse.ArgumentParser("python -m allocation_worker.testing.servers", description=main.__doc__).parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with suppress(KeyboardInterrupt), start_servers() as servers:
        print(f"# A broker and a database, {servers.how}; Ctrl-C ends them.")  # noqa: T201 - its output is its purpose
        print(f"export ALLOCATION_MANAGEMENT_URL={servers.broker.management_url}")  # noqa: T201 - as above
        print(f"export ALLOCATION_AMQP_URL={servers.amqp_url}")  # noqa: T201 - as above
        print(f"export ALLOCATION_DATABASE_URL={servers.database_url}", flush=True)  # noqa: T201 - as above
        signal.pause()


if __name__ == "__main__":
    main()
