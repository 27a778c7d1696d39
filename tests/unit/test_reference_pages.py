"""The generated pages of the site agree with the code."""

import pytest

from docs.generate import HERE, PAGES


@pytest.mark.parametrize("name", PAGES)
def test_a_generated_page_is_what_the_code_says(name: str) -> None:
    assert (HERE / name).read_text("utf-8") == PAGES[name](), "run `make schemas`"
