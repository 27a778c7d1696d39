"""Judges a process by the signs of life of its loops. It imports nothing, since a probe runs every few seconds.

A sign of life is what `entrypoints/signs_of_life.py` writes: a dictionary of `verb`, `pid`, `written` and `limit`
(seconds), `started`, `waiting_for`, and `loops`. Each of these has its `name`, and `beat` (None while there is nothing
to do), `busy_since`, `connected_since`, `needs_connection` and `settled`. Times that are compared are of the monotonic
clock; `connected_since` and `settled` are seconds since 1970, for people.
"""

from itertools import pairwise


def stalled(sign: dict, now: float, limit: "float | None" = None) -> "list[str]":  # type: ignore[type-arg] # JSON
    """Return a sentence for each loop that has not moved for too long.

    A server that is away stalls no loop.

    Args:
        sign: The sign of life of a process.
        now: Seconds of the monotonic clock.
        limit: The age that is too much, in seconds; None for the one that the process gives.
    """
    most = limit or sign["limit"]
    who = f"{sign['verb']} ({sign['pid']})"
    age = now - sign["written"]
    if age > most:
        return [f"{who} has given no sign of life for {age:.0f} s."]
    return [
        f"{who}: the {loop['name']} has not moved for {now - loop['beat']:.0f} s."
        for loop in sign["loops"]
        if loop["beat"] is not None and now - loop["beat"] > most
    ]


def unready(sign: dict, now: float, limit: "float | None" = None) -> "list[str]":  # type: ignore[type-arg] # JSON
    """Return a sentence for each thing that keeps a process from its work: what it waits for, what does not get done.

    Args:
        sign: The sign of life of a process.
        now: Seconds of the monotonic clock.
        limit: How long one piece of work may take, in seconds; None for what the process gives.
    """
    most = limit or sign["limit"]
    who = f"{sign['verb']} ({sign['pid']})"
    if not sign["started"]:
        return [f"{who} is starting, and waits for {sign['waiting_for']}."]
    found = []
    for loop in sign["loops"]:
        if loop["needs_connection"] and loop["connected_since"] is None:
            found.append(f"{who}: the {loop['name']} is not connected to the broker.")
        if loop["waiting_for"]:
            found.append(f"{who}: the {loop['name']} waits for {loop['waiting_for']}.")
        if loop["busy_since"] is not None and now - loop["busy_since"] > most:
            found.append(f"{who}: the {loop['name']} has settled nothing for {now - loop['busy_since']:.0f} s.")
    return found


def verb_of(command_line: "list[str]") -> "str | None":
    """Return the verb that a process runs; None if it does not run the worker."""
    for program, verb in pairwise(command_line):
        if program.rpartition("/")[2] in {"allocation-worker", "allocation_worker"}:
            return verb or None
    return None
