"""Ends the private servers of a process that has gone, and removes their folder.

It is started as a script, `python -I reaper.py FOLDER`, with a pipe as standard input whose other end its parent
holds. A byte, or the end of the pipe, is the sign to begin. So one path cleans up after a normal end, an exception and
a SIGKILL alike; a death signal (`PR_SET_PDEATHSIG`) would not do, because it goes off when the *thread* that started
the server ends, and because the broker's `epmd` turns itself into a daemon.

Only the standard library is used: the script must start within milliseconds, without the project's packages.
"""

import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MARK = "ALLOCATION_SERVERS_FOLDER"
"""The environment variable that every private server carries; its value is the folder."""

_PATIENCE = 5.0
_POLL = 0.05


def processes_of(folder: Path) -> list[int]:
    """Give the ids of the living processes that belong to a folder.

    A process belongs to it if it carries `MARK` in its environment or works inside it. (PostgreSQL's processes
    overwrite their environment with their titles, and `epmd` leaves the folder: so it takes both.)
    """
    return [int(process.name) for process in _processes() if _belongs(process, folder)]


def clean_up(folder: Path) -> None:
    """End every process that belongs to the folder, then remove the folder."""
    deadline = time.monotonic() + _PATIENCE
    while pids := processes_of(folder):
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if time.monotonic() > deadline else _kindest_signal(pid))
        time.sleep(_POLL)
    shutil.rmtree(folder, ignore_errors=True)


def _processes() -> Iterator[Path]:
    return (entry for entry in Path("/proc").iterdir() if entry.name.isdigit())


def _belongs(process: Path, folder: Path) -> bool:
    # Another user's process, or one that has just ended, cannot be looked at, and is not ours.
    try:
        works_in = (process / "cwd").readlink()
        environment = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return works_in.is_relative_to(folder) or f"{MARK}={folder}".encode() in environment


def _kindest_signal(pid: int) -> signal.Signals:
    """Let PostgreSQL return its shared memory; nothing outside the folder is left by the broker."""
    with suppress(OSError):
        if Path(f"/proc/{pid}/comm").read_text().strip() == "postgres":
            return signal.SIGQUIT
    return signal.SIGKILL


if __name__ == "__main__":
    sys.stdin.buffer.read(1)
    clean_up(Path(sys.argv[1]))
