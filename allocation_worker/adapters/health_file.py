"""The files in which processes leave their signs of life. It imports little, since a probe runs every few seconds."""

import json
import os

FOLDER = "ALLOCATION_HEALTH_FOLDER"


def folder(given: "str | None" = None) -> str:
    """Return the folder of the signs of life.

    Args:
        given: What the setting says; None for the default: the folder that systemd gives, or one in `/tmp`.
    """
    if given:
        return given
    return os.environ.get("RUNTIME_DIRECTORY") or f"/tmp/allocation-worker-{os.getuid()}"  # noqa: S108 - see `write`


def path_of(place: str, verb: str) -> str:
    """Return the path of this process's file."""
    return f"{place}/{verb}-{os.getpid()}.json"


def write(path: str, sign: "dict[str, object]") -> None:
    """Replace the file of a process at one stroke. Its folder is made if it is missing.

    Raises:
        OSError: It cannot be written, or the folder belongs to another user.
    """
    place = os.path.dirname(path)  # noqa: PTH120 - pathlib takes longer than all the rest
    os.makedirs(place, mode=0o700, exist_ok=True)  # noqa: PTH103 - as above
    if os.stat(place).st_uid not in {os.getuid(), 0}:  # noqa: PTH116 - as above
        raise PermissionError(1, "the folder belongs to another user")
    temporary = f"{path}.new"
    with open(temporary, "w", encoding="ascii") as file:  # noqa: PTH123 - as above
        json.dump(sign, file)
    os.replace(temporary, path)  # noqa: PTH105 - as above


def remove(path: str) -> None:
    """Remove a file, if it is there and may be removed."""
    try:
        os.unlink(path)  # noqa: PTH108 - as above
    except OSError:
        return


def read(place: str, verb: "str | None" = None) -> "list[dict[str, object]]":
    """Return the signs of life of the processes that exist, of one verb or of all.

    A process that has just ended or is of another user may be among them. What cannot be read is left out.
    """
    try:
        names = sorted(os.listdir(place))  # noqa: PTH208 - as above
    except OSError:
        return []
    found = []
    for name in names:
        if not name.endswith(".json") or (verb is not None and not name.startswith(f"{verb}-")):
            continue
        try:
            with open(f"{place}/{name}", encoding="ascii") as file:  # noqa: PTH123 - as above
                sign = json.load(file)
            if _exists(sign["pid"]):
                found.append(sign)
        except (OSError, ValueError, LookupError, TypeError):  # it has just gone, or is not ours
            continue
    return found


def first_process() -> "list[str]":
    """Return the command line of the first process of this container, or machine; [] if it cannot be read."""
    try:
        with open("/proc/1/cmdline", "rb") as file:  # noqa: PTH123 - as above
            return file.read().decode("utf-8", "replace").split("\0")
    except OSError:
        return []


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:  # it is of another user
        return True
    return True
