"""Follows a page of the documentation: saves its programs, and runs its commands in one shell."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"as `([\w.]+)`[^`\n]*(?:`[^`\n]*`[^`\n]*)*:\s*$")
_MARK = "---- step"


@dataclass(frozen=True, slots=True)
class Block:
    """A code block of a page.

    Attributes:
        language: Such as `sh`.
        text: What it holds.
        file: The name that the sentence before it gives: "Save this as `publish.py`:".
    """

    language: str
    text: str
    file: str | None


def blocks(page: Path, section: str | None = None) -> list[Block]:
    """Return the code blocks of a page, or of one section of it, in order."""
    text = page.read_text("utf-8")
    if section is not None:
        text = text.split(f"\n## {section}\n")[1].split("\n## ")[0]
    return [Block(each[1], each[2], _file_named(text[: each.start()])) for each in _BLOCK.finditer(text)]


def _file_named(before: str) -> str | None:
    found = _FILE.search(before.strip().rpartition("\n\n")[2].replace("\n", " "))
    return found and found[1]


def follow(steps: list[Block], folder: Path, environment: Mapping[str, str], within: float = 100) -> list[str]:
    """Run the shell blocks in one shell, with the programs saved where the page says so.

    Returns:
        What each block printed, stderr included; nothing for a block that only saves a file.

    Raises:
        AssertionError: A command failed.
    """
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    output = folder.parent / f"{folder.name}.output"
    with output.open("wb") as file:
        shell = subprocess.Popen(
            ["bash", "-euc", "\n".join(_script(steps))],
            cwd=folder,
            env={**os.environ, **environment, "PATH": path},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            code = shell.wait(within)
        except subprocess.TimeoutExpired:
            code = None
        finally:
            with suppress(ProcessLookupError):  # the page may have ended all that it started
                os.killpg(shell.pid, signal.SIGTERM)
            shell.wait()
    printed = output.read_text("utf-8")
    logs = "".join(f"\n{log.name}: {log.read_text()[-2000:]}" for log in folder.rglob("*.log"))
    assert code == 0, f"ended with {code}: {printed}{logs}"
    return re.split(rf"\n{_MARK} \d+\n", printed)[1:]


def _script(steps: list[Block]) -> Iterator[str]:
    for number, step in enumerate(steps):
        yield f"printf '\\n%s\\n' '{_MARK} {number}'"
        if step.file is not None:
            yield f"cat > {step.file} <<'END OF FILE'\n{step.text}END OF FILE"
        elif step.language == "sh":
            yield step.text
