"""The demo: a short day of a shop, on the real service: `make demo`.

It starts private servers and runs `consume` and `relay` as processes. Like any other program, it publishes commands and
subscribes to events. Everything that it shows comes from the events.

- `plan`: the batches and orders of the day, drawn from a seed.
- `acts`: the steps of the demo, in order.
- `stage`: the processes, and a client that publishes commands and waits for events.
- `shop`: the state of the shop, as a projection of the events.
- `words`, `live`, `views`: the output, on a terminal and without one.
- `playing`: the run from the first server to the last check.
"""

from demo.playing import play

__all__ = ["play"]
