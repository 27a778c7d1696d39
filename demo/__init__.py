"""A short day of a shop, played over AMQP at the real thing: `make demo`.

It starts private servers, runs `consume` and `relay` as processes, and is to them what any other program is: it
publishes commands and listens to events. All that it shows, it knows from the events.

- `plan`: what the day brings, from a seed.
- `acts`: what happens, in order; the table at its end is the programme.
- `stage`: where it happens: the processes, the sending, the waiting.
- `shop`: what a subscriber knows of the shop, from the events alone.
- `words`, `live`, `views`: how it is told, on a terminal and without one.
- `playing`: from the first server to the last check.
"""

from demo.playing import play

__all__ = ["play"]
