"""The command line of the demo: `make demo`, or `python -m demo --orders 60`."""

import argparse
import sys

from allocation_worker import logs
from demo.playing import play

FEWEST_ORDERS = 10
MOST_ORDERS = 20_000


def main() -> int:
    """Read the options, run the demo, and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m demo",
        description="Run a short day of a shop on private servers, with live processes, and check the results.",
    )
    parser.add_argument("--orders", type=_orders, default=300, help="the number of orders (default: 300)")
    orders: int = parser.parse_args().orders
    logs.configure("info")
    return play(orders)


def _orders(text: str) -> int:
    if text.isascii() and text.isdigit() and FEWEST_ORDERS <= int(text) <= MOST_ORDERS:
        return int(text)
    raise argparse.ArgumentTypeError(f"it must be a whole number from {FEWEST_ORDERS} to {MOST_ORDERS}, got {text!r}")


if __name__ == "__main__":
    sys.exit(main())
