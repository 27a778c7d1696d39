"""Parsing AMQP addresses, and the errors for invalid ones."""

import re
import ssl
from pathlib import Path

import pika
import pytest

from allocation_contracts.amqp.urls import AddressError, masked, parameters, parse, split

SECRETS = ("2024", "Summer", "12", "Secret", "p%40ss", "ssSecret")


def test_the_parts_of_an_address_are_decoded() -> None:
    address = parse("amqp://me:p%2Fs%40s%23@broker.example:5673/%2Fteam%2Fshop?heartbeat=10")
    assert (address.user, address.password) == ("me", "p/s@s#")
    assert (address.host, address.port, address.virtual_host) == ("broker.example", 5673, "/team/shop")
    assert not address.tls


@pytest.mark.parametrize(
    ("url", "host", "port", "user", "virtual_host"),
    [
        ("amqp://", "localhost", 5672, None, "/"),
        ("amqps://", "localhost", 5671, None, "/"),
        ("AMQP://broker", "broker", 5672, None, "/"),
        ("amqp://broker/", "broker", 5672, None, "/"),
        ("amqp://broker:/%2F", "broker", 5672, None, "/"),
        ("amqp://broker:5672/%2f", "broker", 5672, None, "/"),
        ("amqp:///shop", "localhost", 5672, None, "shop"),
        ("amqp://[::1]:5673/shop", "::1", 5673, None, "shop"),
        ("amqps://[2001:db8::1]/shop", "2001:db8::1", 5671, None, "shop"),
        ("amqp://me:@broker/a%20b", "broker", 5672, "me", "a b"),
        ("amqp://me%40corp:x:y@broker/%E5%BA%97", "broker", 5672, "me@corp", "店"),
    ],
)
def test_what_an_address_leaves_out_has_a_default(
    url: str, host: str, port: int, user: str | None, virtual_host: str
) -> None:
    address = parse(url)
    assert (address.host, address.port, address.user, address.virtual_host) == (host, port, user, virtual_host)


@pytest.mark.parametrize("ending", ["\n", "\r\n", " ", "  \n\n"])
def test_the_newline_of_a_secrets_file_is_no_part_of_an_address(ending: str) -> None:
    assert parse(f"amqp://me:pw@broker/shop{ending}").virtual_host == "shop"


@pytest.mark.parametrize(
    ("url", "way"),
    [
        ("amqp://me:2024/Summer@broker:5672/shop", "'/' as %2F"),
        ("amqp://me:2024/Summer@broker", "'/' as %2F"),
        ("amqp://me:12#Secret@broker:5672/shop", "'#' as %23"),
        ("amqp://me:p@ssSecret@broker:5672/shop", "'@' as %40"),
        ("amqp://me:2024?Summer@broker/shop", "'?' as %3F"),
        ("amqp://me:2024?Summer=12@broker/shop", "'?' as %3F"),
        ("amqp://me:p@ss?Summer=12@broker/shop", "'?' as %3F"),
        ("amqp://me:12%Secret@broker/shop", "'%' as %25"),
        ("amqp://me:12%2@broker/shop", "'%' as %25"),
        ("amqp://me:12 Secret@broker/shop", "a space as %20"),
        ("amqp://me:12\nSecret@broker/shop", "white space"),
        ("amqp://me:Sum%ffmer@broker/shop", "not UTF-8"),
        ("amqp://me:Secret/shop", "'/' as %2F"),
    ],
)
def test_a_password_that_is_not_encoded_is_refused_with_the_way_to_encode_it(url: str, way: str) -> None:
    with pytest.raises(AddressError, match=re.escape(way)) as error:
        parse(url)
    assert not any(piece in str(error.value) for piece in SECRETS)
    assert error.value.__cause__ is None
    assert masked(url) == "amqp://***"


@pytest.mark.parametrize("path", ["/team/shop", "//team/shop", "team/shop", "shop/"])
def test_a_virtual_host_is_one_segment(path: str) -> None:
    with pytest.raises(AddressError, match=r"^its virtual host holds a '/' that is not encoded; write it as %2F$"):
        parse(f"amqp://me:pw@broker/{path}")


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("", "it must be a URL such as amqp://"),
        ("broker", "it must be a URL such as amqp://"),
        ("http://me:hush@broker", "it must be a URL such as amqp://"),
        ("amqp:/me:hush@broker", "it must be a URL such as amqp://"),
        ("amqp://me:hush@broker:port/", "its port is not a number from 1 to 65535"),
        ("amqp://me:hush@broker:0/", "its port is not a number from 1 to 65535"),
        ("amqp://me:hush@broker:99999/", "its port is not a number from 1 to 65535"),
        ("amqp://me:hush@::1/", "the name of its host cannot be read"),
        ("amqp://me:hush@[::1/", "the name of its host cannot be read"),
        ("amqp://me:hush@a,b/shop", "it names several hosts"),
        ("amqp://me:hush@a:5672,b:5672/shop", "it names several hosts"),
        ("amqp://me@broker", "it names a user and no password"),
        ("amqp://broker?heartbeat", "one of its options is not written as name=value"),
        ("amqp://broker?heartbeat=1&heartbeat=2", "its option heartbeat is given twice"),
        ("amqp://broker?heartbeat=often", "its option heartbeat must be a whole number from 0 to 65535"),
        ("amqp://broker?socket_timeout=soon", "its option socket_timeout must be a number of seconds above 0"),
        ("amqp://broker?stack_timeout=0", "its option stack_timeout must be a number of seconds above 0"),
        ("amqp://broker?connection_timeout=1.5", "its option connection_timeout must be a whole number of at least 1"),
        ("amqp://broker?connection_timeout=1&socket_timeout=1", "its options connection_timeout and socket_timeout"),
        ("amqp://broker?tcp_options=[", "its option tcp_options must be a dictionary"),
        ("amqp://broker?prefetch=7", "there is no option prefetch; there are auth_mechanism, blocked_"),
        ("amqp://broker?cacertfile=/ca.pem", "its option cacertfile needs TLS; begin it with amqps://"),
        ("amqp://broker?verify=verify_none", "its option verify needs TLS"),
        ("amqps://broker?verify=maybe", "its option verify must be verify_peer or verify_none"),
        ("amqps://broker?keyfile=/key.pem", "its option keyfile needs a certfile"),
        ("amqps://broker?auth_mechanism=amqplain", "its auth_mechanism must be plain or external"),
        ("amqps://broker?auth_mechanism=external", "auth_mechanism=external logs in by a certificate; it needs"),
        ("amqps://broker?ssl_options={", "its option ssl_options must be a dictionary"),
        ("amqps://broker?ssl_options={'ciphers':'x'}", "its ssl_options cannot be read; use cacertfile, certfile"),
    ],
)
def test_what_cannot_be_read_is_told_by_its_name(url: str, sentence: str) -> None:
    with pytest.raises(AddressError, match=f"^{re.escape(sentence)}") as error:
        parse(url)
    assert "hush" not in str(error.value)


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("amqp://me:hush@broker/shop?heartbeat=1", "amqp://me:***@broker:5672/shop"),
        ("amqp://me:hu%2Fsh@broker:5673", "amqp://me:***@broker:5673/%2F"),
        ("amqps://broker/a%2Fb?password=hush", "amqps://broker:5671/a%2Fb"),
        ("amqp://a%40b:@[::1]/", "amqp://a%40b:***@[::1]:5672/%2F"),
    ],
)
def test_what_is_shown_holds_no_password(url: str, shown: str) -> None:
    address = parse(url)
    assert masked(url) == address.masked == str(address) == shown
    assert "hush" not in repr(address)
    assert "hu/sh" not in repr(address)


def test_only_a_comma_before_another_address_separates() -> None:
    one = "amqps://one/shop?ssl_options={'cafile':'/ca.pem','certfile':'/c.pem'}"
    assert split(f"{one}, AMQP://two/shop\n,amqp://three,\n") == [one, "AMQP://two/shop", "amqp://three"]
    assert split([" amqp://one\n", "", "amqp://two"]) == ["amqp://one", "amqp://two"]


def test_pika_is_told_what_the_address_says() -> None:
    options = "heartbeat=7&connection_timeout=1500&frame_max=8192&channel_max=5&blocked_connection_timeout=9"
    made = parameters(f"amqp://me:p%2Fw@broker:5673/%2Fshop?{options}", "tests", blocked_timeout=300)
    assert (made.host, made.port, made.virtual_host) == ("broker", 5673, "/shop")
    assert made.credentials == pika.PlainCredentials("me", "p/w")
    assert (made.heartbeat, made.socket_timeout, made.frame_max, made.channel_max) == (7, 1.5, 8192, 5)
    assert made.blocked_connection_timeout == 9
    assert made.client_properties == {"connection_name": "tests"}
    assert made.ssl_options is None


def test_pika_is_told_what_the_address_leaves_out() -> None:
    made = parameters("amqp://broker", "tests", blocked_timeout=300)
    assert (made.heartbeat, made.socket_timeout, made.stack_timeout) == (30, 5.0, 10.0)
    assert made.blocked_connection_timeout == 300
    assert made.credentials == pika.PlainCredentials("guest", "guest")


def _context(url: str) -> tuple[ssl.SSLContext, str | None]:
    options = parameters(url, "tests").ssl_options
    assert options is not None
    return options.context, options.server_hostname


def test_a_broker_over_tls_must_prove_its_name_by_default() -> None:
    context, server_name = _context("amqps://broker")
    assert context.check_hostname
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert server_name is None


def test_another_name_may_be_asked_for() -> None:
    assert _context("amqps://10.0.0.1?server_name_indication=broker.example")[1] == "broker.example"


def test_what_tls_checks_can_be_switched_off() -> None:
    context, _ = _context("amqps://broker?server_name_indication=disable")
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_REQUIRED)
    context, _ = _context("amqps://broker?verify=verify_none")
    assert (context.check_hostname, context.verify_mode) == (False, ssl.CERT_NONE)


@pytest.mark.parametrize(
    "option", ["cacertfile={path}", "certfile={path}", "ssl_options={{'ca_certs':'{path}','server_hostname':'b'}}"]
)
def test_a_file_that_is_missing_is_told_with_its_option(tmp_path: Path, option: str) -> None:
    path = tmp_path / "away.pem"
    with pytest.raises(AddressError, match=rf"^its (ca)?certfile {path} cannot be read: No such file or directory$"):
        parameters(f"amqps://broker?{option.format(path=path)}", "tests")


@pytest.mark.parametrize("option", ["cacertfile", "certfile"])
def test_a_file_that_holds_something_else_is_told_with_its_option(tmp_path: Path, option: str) -> None:
    path = tmp_path / "wrong.pem"
    path.write_text("nothing of the kind")
    with pytest.raises(AddressError, match=rf"^its {option} {path} "):
        parameters(f"amqps://broker?{option}={path}", "tests")
