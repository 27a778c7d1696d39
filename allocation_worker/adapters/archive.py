"""Writes lines to a new file, and has them on the disk before it returns."""

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from allocation_worker.service_layer.ports import ArchiveError

_FOR_ITS_OWNER = 0o600


@contextmanager
def new_file(path: Path) -> Iterator[Callable[[Iterable[str]], None]]:
    """Yield a function that appends lines to a file that only its owner may read, and flushes them to the disk.

    Raises:
        ArchiveError: The file exists already, or cannot be written.
    """
    with _explained(path):
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FOR_ITS_OWNER)

    def append(lines: Iterable[str]) -> None:
        left = "".join(f"{line}\n" for line in lines).encode()
        with _explained(path):
            while left:
                left = left[os.write(file, left) :]
            os.fsync(file)

    try:
        yield append
    finally:
        os.close(file)


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise ArchiveError(f"{path} exists already; name a new file.") from error
    except OSError as error:
        raise ArchiveError(
            f"{path} cannot be written ({error.strerror}); what is not in it was not discarded."
        ) from error
