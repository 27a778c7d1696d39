"""Ends the private servers of a process that has ended, and removes their folder.

This is a script, `python -I reaper.py FOLDER`. Its standard input is a pipe from its parent. A byte, or the end of the
pipe, starts the clean-up, so it runs after a normal exit, an exception and a SIGKILL alike. A death signal
(`PR_SET_PDEATHSIG`) would not work: it is sent when the *thread* that started the server ends, and the broker's `epmd`
becomes a daemon.

The script uses only the standard library, so that it starts within milliseconds.
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
    """Return the ids of the running processes that belong to a folder.

    A process belongs to a folder if `MARK` is in its environment, or if its working directory is inside. Both checks
    are needed: PostgreSQL's processes overwrite their environment with their titles, and `epmd` leaves the folder.
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
    # A process that cannot be read is another user's, or has just ended.
    try:
        works_in = (process / "cwd").readlink()
        environment = (process / "environ").read_bytes().split(b"\0")
    except OSError:
        return False
    return works_in.is_relative_to(folder) or f"{MARK}={folder}".encode() in environment


def _kindest_signal(pid: int) -> signal.Signals:
    """Return SIGQUIT for PostgreSQL, which must release its shared memory, else SIGKILL."""
    with suppress(OSError):
        if Path(f"/proc/{pid}/comm").read_text().strip() == "postgres":
            return signal.SIGQUIT
    return signal.SIGKILL


if __name__ == "__main__":
    sys.stdin.buffer.read(1)
    clean_up(Path(sys.argv[1]))
