"""What is discarded is on the disk before."""

import resource
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocation_worker.adapters.archive import new_file
from allocation_worker.service_layer.ports import ArchiveError


def test_lines_are_in_the_file_when_append_returns(tmp_path: Path) -> None:
    path = tmp_path / "saved.jsonl"
    with new_file(path) as append:
        append(["one", "zwei \N{GRINNING FACE}"])
        assert path.read_text("utf-8") == "one\nzwei \N{GRINNING FACE}\n"
        append(["three"])
    assert path.read_text("utf-8").splitlines()[2:] == ["three"]


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    with new_file(tmp_path / "saved.jsonl"):
        pass
    assert (tmp_path / "saved.jsonl").stat().st_mode & 0o777 == 0o600


def test_a_file_that_exists_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "saved.jsonl"
    path.write_text("mine", "utf-8")
    with pytest.raises(ArchiveError, match="exists already; name a new file"), new_file(path):
        pass
    assert path.read_text("utf-8") == "mine"


def test_a_folder_that_does_not_exist_is_named(tmp_path: Path) -> None:
    told = r"gone/saved\.jsonl cannot be written \(No such file or directory\)"
    with pytest.raises(ArchiveError, match=told), new_file(tmp_path / "gone" / "saved.jsonl"):
        pass


@pytest.mark.usefixtures("limit")
def test_a_disk_without_room_is_told(tmp_path: Path) -> None:
    told = r"cannot be written .*; what is not in it was not discarded"
    with new_file(tmp_path / "saved.jsonl") as append, pytest.raises(ArchiveError, match=told):
        append(["x" * 10_000])


@pytest.fixture
def limit() -> Iterator[None]:
    """No file of this process may be larger than 1,000 bytes: what a full disk does, without one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
