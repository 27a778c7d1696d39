"""What an operator who sets up the read model may get wrong."""

import sys

import pytest

from allocation_contracts import AllocationError
from allocation_worker import bootstrap
from allocation_worker.config import SettingsError, load


@pytest.mark.parametrize(
    "url",
    ["localhost:6379", "http://x", "redis://x/shop", "memcached://x/0", "redis://x:y/0", "redis://x:99999/0"],
)
def test_a_wrong_address_is_refused_in_one_sentence(url: str) -> None:
    with pytest.raises(SettingsError, match=r"ALLOCATION_REDIS_URL is wrong: it must be a URL such as redis://.*\.$"):
        load(redis_url=url)


@pytest.mark.parametrize(
    "url", ["redis://localhost", "redis://:secret@cache:6379/3", "rediss://cache:6380/0?ssl_cert_reqs=none"]
)
def test_addresses_of_redis_are_taken(url: str) -> None:
    assert load(redis_url=url).redis_url == url


def test_without_the_extra_one_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [name for name in sys.modules if name.startswith("allocation_worker.adapters.redis")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "redis", None)
    for verb in (bootstrap.views, bootstrap.project, bootstrap.rebuild):
        with pytest.raises(AllocationError, match=r"install allocation-worker\[redis\]"):
            verb(load())
