"""Programs of an earlier version, from its commit in the repository."""

import os
import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

ROOT = Path(__file__).parents[1]
_PACKAGES = ("allocation_worker", "contracts/allocation_contracts")


class NoSuchCommitError(RuntimeError):
    """The repository does not have the commit."""


def unpack_version(commit: str, folder: Path) -> dict[str, str]:
    """Unpack the packages of a commit into a folder. They use the libraries of this environment.

    Returns:
        The environment variables with which `WorkerProcess` and `run_verb` start its programs.

    Raises:
        NoSuchCommitError: The repository does not have the commit; it may be shallow, or no repository.
    """
    archived = subprocess.run(["git", "archive", commit, *_PACKAGES], cwd=ROOT, capture_output=True, check=False)
    if archived.returncode:
        raise NoSuchCommitError(f"git cannot read the commit {commit}: {archived.stderr.decode().strip()}")
    with tarfile.open(fileobj=BytesIO(archived.stdout)) as archive:
        archive.extractall(folder, filter="data")
    path = os.pathsep.join([str(folder), str(folder / "contracts")])
    # Otherwise the current folder comes first, which may be that of this version.
    return {"PYTHONPATH": path, "PYTHONSAFEPATH": "1"}
