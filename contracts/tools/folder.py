"""The command line of the tools that write a folder of files."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_USAGE_ERROR = 2


def write_folder(files: Mapping[str, str], tool: str, arguments: Sequence[str]) -> int:
    """Write files into the directory that is the only argument, and make it if it is not there.

    Args:
        files: The text of each file by its name.
        tool: The module that is run, for its usage.
        arguments: Those of the command line.

    Returns:
        The exit code.
    """
    if len(arguments) != 1:
        print(f"usage: python -m {tool} DIRECTORY", file=sys.stderr)  # noqa: T201 - a command's output
        return _USAGE_ERROR
    directory = Path(arguments[0])
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (directory / name).write_text(text, encoding="utf-8")
    return 0
