"""Wires `health`, which reads the signs of life. It imports little, since a probe runs every few seconds."""

import os
import time

from allocation_worker.adapters import health_file
from allocation_worker.service_layer import health as judgement

VERBS = ("consume", "relay", "project", "tail")
"""The verbs whose processes leave signs of life."""


def look(verb: "str | None", *, ready: bool, limit: "float | None") -> "tuple[list[dict[str, object]], list[str]]":
    """Return the signs of life of the processes, and a sentence for each fault.

    Args:
        verb: Of these processes only; None for all.
        ready: Whether they must also be connected and make progress.
        limit: The age in seconds from which a loop counts as stalled; None for what each process gives.
    """
    # Not by `config`, whose import takes longer than all the rest.
    place = health_file.folder(os.environ.get(health_file.FOLDER))
    signs = health_file.read(place, verb)
    if not signs:
        runs = judgement.verb_of(health_file.first_process()) if verb is None else None
        if runs is not None and runs not in VERBS:
            return [], []  # such a container is alive as long as that process runs
        return [], [f"No process of {verb or 'the worker'} has left a sign of life in {place}."]
    now = time.monotonic()
    faults = []
    for sign in signs:
        faults += judgement.stalled(sign, now, limit)
        if ready:
            faults += judgement.unready(sign, now, limit)
    return signs, faults


def probe(words: "list[str]") -> "int | None":
    """Run `health` for a plain command line, and return its exit code; None for one that the command line must read."""
    if any(word not in {"--ready", *VERBS} for word in words) or len(set(words) - {"--ready"}) > 1:
        return None
    verb = next((word for word in words if word != "--ready"), None)
    _, faults = look(verb, ready="--ready" in words, limit=None)
    os.write(2, "".join(f"{fault}\n" for fault in faults).encode())
    return 4 if faults else 0
