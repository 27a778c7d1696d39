"""The errors for an incomplete read-model setup."""

import sys

import pytest

from allocation_contracts import AllocationError
from allocation_worker.bootstrap import project, show
from allocation_worker.config import load


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("allocation_worker.adapters.redis")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "redis", None)
    for verb in (show.views, project.project, project.rebuild):
        with pytest.raises(AllocationError, match=r"install allocation-worker\[redis\]"):
            verb(load())
