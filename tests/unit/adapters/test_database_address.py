"""Parsing database addresses, and the errors for invalid ones."""

import re
from pathlib import Path

import pytest

from allocation_contracts.url_parts import AddressError
from allocation_worker.adapters.postgres.address import parse


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg2", "PostgreSQL"])
def test_the_parts_of_an_address_are_decoded(scheme: str) -> None:
    address = parse(f"{scheme}://worker:p%40ss@db.example:5433/allocation?sslmode=require")
    assert address.arguments == {
        "user": "worker",
        "password": "p@ss",
        "host": "db.example",
        "port": "5433",
        "dbname": "allocation",
        "sslmode": "require",
    }


@pytest.mark.parametrize(
    ("url", "arguments"),
    [
        ("postgresql://", {}),
        ("postgresql:///shop", {"dbname": "shop"}),
        (
            "postgresql:///shop?host=/run/postgresql&user=me",
            {"dbname": "shop", "host": "/run/postgresql", "user": "me"},
        ),
        ("postgresql://%2Frun%2Fpostgresql/shop", {"dbname": "shop", "host": "/run/postgresql"}),
        ("postgresql://[::1]:5433/shop\n", {"dbname": "shop", "host": "::1", "port": "5433"}),
        (
            "postgresql://db/shop?options=-csearch_path%3Dallocation%20-cwork_mem%3D8MB",
            {"dbname": "shop", "host": "db", "options": "-csearch_path=allocation -cwork_mem=8MB"},
        ),
        ("postgresql://db?options=-csearch_path=allocation", {"host": "db", "options": "-csearch_path=allocation"}),
    ],
)
def test_libpq_is_told_what_the_address_says(url: str, arguments: dict[str, str]) -> None:
    assert parse(url).arguments == arguments


@pytest.mark.parametrize(
    ("url", "hosts", "ports"),
    [
        ("postgresql://a:5432,b:5433/shop", "a,b", "5432,5433"),
        ("postgresql://a,b/shop", "a,b", None),
        ("postgresql://a,b:5433/shop", "a,b", ",5433"),
        ("postgresql://a,b:5432,c/shop", "a,b,c", ",5432,"),
        ("postgresql:///shop?host=a,b&port=5432,5433", "a,b", "5432,5433"),
        ("postgresql:///shop?host=a,b&port=5432", "a,b", "5432"),
        ("postgresql:///shop?host=a&host=b&port=5432", "a,b", "5432"),
        ("postgresql:///shop?host=a:5432&host=b:5433", "a,b", "5432,5433"),
        ("postgresql:///shop?host=a:5432&host=b", "a,b", "5432,"),
        ("postgresql:///shop?host=a:5432,b:5433&load_balance_hosts=random", "a,b", "5432,5433"),
        ("postgresql://[::1]:5432,[fe80::1%25eth0]:5433/shop", "::1,fe80::1%eth0", "5432,5433"),
        ("postgresql:///shop?host=[::1]:5432&host=[::2]:5433", "::1,::2", "5432,5433"),
        ("postgresql:///shop?host=::1,::2", "::1,::2", None),
        ("postgresql://%2Frun%2Fa,%2Frun%2Fb:5433/shop", "/run/a,/run/b", ",5433"),
        ("postgresql:///shop?host=/run/a&host=/run/b", "/run/a,/run/b", None),
    ],
)
def test_of_several_hosts_the_one_that_can_be_written_to_is_meant(url: str, hosts: str, ports: str | None) -> None:
    arguments = parse(url).arguments
    assert (arguments["host"], arguments.get("port")) == (hosts, ports)
    assert arguments["target_session_attrs"] == "read-write"


@pytest.mark.parametrize("url", ["postgresql:///shop?hostaddr=10.0.0.1,10.0.0.2", "postgresql:///?service=shop"])
def test_several_hosts_may_be_elsewhere_in_the_address(url: str) -> None:
    assert parse(url).arguments["target_session_attrs"] == "read-write"


def test_the_address_may_say_which_of_several_hosts_it_means() -> None:
    arguments = parse("postgresql://a,b/shop?target_session_attrs=primary").arguments
    assert arguments["target_session_attrs"] == "primary"
    assert "target_session_attrs" not in parse("postgresql://a/shop").arguments


def test_of_several_hosts_one_that_is_off_the_network_delays_a_connection_little() -> None:
    assert parse("postgresql://a,b/shop").arguments["connect_timeout"] == "3"
    assert parse("postgresql://a,b/shop?connect_timeout=8").arguments["connect_timeout"] == "8"
    assert "connect_timeout" not in parse("postgresql://a/shop").arguments


@pytest.mark.parametrize(
    ("url", "way"),
    [
        ("postgresql://me:2024/Secret@db/shop", "'/' as %2F"),
        ("postgresql://me:12#Secret@db/shop", "'#' as %23"),
        ("postgresql://me:p@ssSecret@db/shop", "'@' as %40"),
        ("postgresql://me:p?ssSecret@db/shop", "'?' as %3F"),
        ("postgresql://me:12%Secret@db/shop", "'%' as %25"),
        ("postgresql://db/shop?password=p@ssSecret", "'@' as %40"),
        ("postgresql://db/shop?password=p#ssSecret", "'#' as %23"),
        ("postgresql://db/a/b", "its database holds a '/'"),
    ],
)
def test_what_is_not_encoded_is_refused_with_the_way_to_encode_it(url: str, way: str) -> None:
    with pytest.raises(AddressError, match=re.escape(way)) as error:
        parse(url)
    assert "Secret" not in str(error.value)
    assert "ss" not in str(error.value).replace("password", "")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "it must be a URL such as postgresql://"),
        ("worker:secret@db.example/allocation", "it must be a URL such as postgresql://"),
        ("mysql://worker:secret@db.example/allocation", "it must be a URL such as postgresql://"),
        ("postgresql:/worker:secret@db.example/allocation", "it must be a URL such as postgresql://"),
        ("postgresql://worker:secret@db.example:port/allocation", "its port is not a number from 1 to 65535"),
        ("postgresql://worker:secret@db.example:99999/allocation", "its port is not a number from 1 to 65535"),
        ("postgresql://worker:secret@[::1/allocation", "the name of its host cannot be read"),
        ("postgresql://db?sslmod=require", "libpq knows no option sslmod"),
        ("postgresql://db?sslmode=always", "its option sslmode must be one of disable, allow, prefer, require,"),
        ("postgresql://db?target_session_attrs=master", "its option target_session_attrs must be one of any,"),
        ("postgresql://db?connect_timeout=long", "its option connect_timeout must be a whole number"),
        ("postgresql://db?load_balance_hosts=yes", "its option load_balance_hosts must be one of disable, random"),
        ("postgresql:///shop?host=a:1&host=b:2&port=3", "its ports are given twice: in the option host, and in the"),
        ("postgresql:///shop?host=a,b,c&port=1,2", "its hosts and ports are not equally many: 3 for host, 2 for port"),
        ("postgresql://a,b/shop?hostaddr=::1", "its hosts and ports are not equally many: 2 for host, 1 for hostaddr"),
        ("postgresql://db?user=me&user=you", "its option user is given twice"),
        ("host=a,b user=me password=secret", "it must be a URL such as postgresql://"),
    ],
)
def test_what_would_never_connect_is_told_at_once(url: str, sentence: str) -> None:
    with pytest.raises(AddressError, match=f"^{re.escape(sentence)}") as error:
        parse(url)
    assert "secret" not in str(error.value)
    assert error.value.__cause__ is None


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql+psycopg2://me:hush@db/shop", "postgresql://me:***@db/shop"),
        ("postgresql://me:hush@a:1,b:2/shop?sslmode=require", "postgresql://me:***@a:1,b:2/shop"),
        ("postgresql://me@db/shop?password=hush", "postgresql://me:***@db/shop"),
        ("postgresql://db/shop?sslpassword=hush&user=me", "postgresql://me@db/shop"),
        ("postgresql:///shop?host=/run&passfile=hush", "postgresql://%2Frun/shop"),
        ("postgresql:///shop?host=a,b&port=5433", "postgresql://a:5433,b:5433/shop"),
        ("postgresql://me:hush@/shop?host=a:1&host=b:2", "postgresql://me:***@a:1,b:2/shop"),
        ("postgresql://me:hush@[::1]:1,[::2]:2/shop", "postgresql://me:***@[::1]:1,[::2]:2/shop"),
        ("postgresql://me:hush@%2Frun%2Fa,%2Frun%2Fb/shop", "postgresql://me:***@%2Frun%2Fa,%2Frun%2Fb/shop"),
        ("postgresql://me:hush@a,b/shop?load_balance_hosts=random", "postgresql://me:***@a,b/shop"),
        (
            "postgresql:///shop?hostaddr=10.0.0.1,10.0.0.2&user=me&password=hush",
            "postgresql://me:***@10.0.0.1,10.0.0.2/shop",
        ),
        ("postgresql:///?service=shop&password=hush&passfile=hush", "postgresql:///?service=shop"),
    ],
)
def test_what_is_shown_holds_no_password(url: str, shown: str) -> None:
    address = parse(url)
    assert address.masked == str(address) == shown
    assert "hush" not in repr(address)


def test_a_certificate_that_is_missing_is_told_with_its_option(tmp_path: Path) -> None:
    path = tmp_path / "away.pem"
    with pytest.raises(AddressError, match=rf"^its sslrootcert {path} cannot be read: No such file or directory$"):
        parse(f"postgresql://db?sslmode=verify-full&sslrootcert={path}").check_files()
    parse("postgresql://db?sslmode=verify-full&sslrootcert=system").check_files()
