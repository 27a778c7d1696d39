"""What every check of the tables has in common."""

import re

import pytest

from allocation_worker.adapters.postgres.verify import CHECKS, Check


@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.kind)
def test_no_check_compares_each_row_with_each_of_another_query(check: Check) -> None:
    """PostgreSQL turns NOT EXISTS into a join. A NOT IN whose rows outgrow `work_mem` is read anew for each row."""
    assert not re.search(r"\bNOT\s+IN\s*\(\s*(SELECT|WITH)\b", check.sql, re.IGNORECASE)
