"""Parsing Redis addresses, and the errors for invalid ones."""

import re
from pathlib import Path

import pytest

from allocation_contracts.url_parts import AddressError
from allocation_worker.adapters.redis.address import parse


def test_the_parts_of_an_address_are_decoded() -> None:
    arguments = parse("rediss://me:p%40ss@cache:6380/3?ssl_cert_reqs=none&socket_timeout=1.5\n").arguments
    assert arguments == {
        "host": "cache",
        "port": 6380,
        "db": 3,
        "username": "me",
        "password": "p@ss",
        "ssl": True,
        "ssl_cert_reqs": "none",
        "socket_timeout": 1.5,
    }


@pytest.mark.parametrize("url", ["redis://", "redis://localhost", "redis://localhost:6379/", "redis://localhost/0"])
def test_what_an_address_leaves_out_has_a_default(url: str) -> None:
    arguments = parse(url).arguments
    assert (arguments["host"], arguments["port"], arguments["db"]) == ("localhost", 6379, 0)
    assert (arguments["username"], arguments["password"], arguments["ssl"]) == (None, None, False)


@pytest.mark.parametrize("password", ["2024/Secret", "12#Secret", "p@ssSecret", "a?Secret", "1%Secret", "a Secret"])
def test_a_password_that_is_not_encoded_is_refused_with_the_way_to_encode_it(password: str) -> None:
    with pytest.raises(AddressError, match="%2") as error:
        parse(f"redis://:{password}@cache:6379/0")
    assert "Secret" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("localhost:6379", "it must be a URL such as redis://"),
        ("memcached://x/0", "it must be a URL such as redis://"),
        ("redis://x/shop", "it must be a URL such as redis://"),
        ("redis://a,b/0", "it must be a URL such as redis://"),
        ("redis://x:y/0", "its port is not a number from 1 to 65535"),
        ("redis://x:99999/0", "its port is not a number from 1 to 65535"),
        ("redis://x/0/1", "its database holds a '/' that is not encoded"),
        ("redis://x/0?colour=red", "there is no option colour; there are client_name, db,"),
        ("redis://x/0?socket_timeout=soon", "its option socket_timeout must be a number of seconds"),
        ("redis://x/0?protocol=two", "its option protocol must be a whole number"),
        ("redis://x/0?socket_keepalive=maybe", "its option socket_keepalive must be true or false"),
        ("redis://x/0?ssl_cert_reqs=none", "its option ssl_cert_reqs needs TLS; begin it with rediss://"),
        ("rediss://x/0?ssl_cert_reqs=maybe", "its option ssl_cert_reqs must be none, optional or required"),
    ],
)
def test_what_cannot_be_read_is_told_by_its_name(url: str, sentence: str) -> None:
    with pytest.raises(AddressError, match=f"^{re.escape(sentence)}"):
        parse(url)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:hush@cache/0", "redis://:***@cache:6379/0"),
        ("redis://me:hush@[::1]:6380/1", "redis://me:***@[::1]:6380/1"),
        ("redis://cache?password=hush&db=2", "redis://:***@cache:6379/2"),
        ("rediss://cache?ssl_password=hush", "rediss://cache:6379/0"),
    ],
)
def test_what_is_shown_holds_no_password(url: str, shown: str) -> None:
    address = parse(url)
    assert address.masked == str(address) == shown
    assert "hush" not in repr(address)


def test_a_certificate_that_is_missing_is_told_with_its_option(tmp_path: Path) -> None:
    path = tmp_path / "away.pem"
    with pytest.raises(AddressError, match=rf"^its ssl_ca_certs {path} cannot be read: No such file or directory$"):
        parse(f"rediss://cache?ssl_ca_certs={path}").check_files()
