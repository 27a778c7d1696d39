"""Redis over TLS and with a client certificate, with a private authority."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from allocation_worker.adapters.redis.address import parse
from allocation_worker.adapters.redis.client import connect, translated
from allocation_worker.service_layer.ports import StoreUnavailableError
from allocation_worker.testing.servers.programs import find_program, free_port, private_folder
from allocation_worker.testing.servers.redis_server import LocalRedis
from tests.integration.certificates import Authority

NAME = "localhost"


class TlsRedis:
    """A server that takes clients with a certificate of its authority only, and listens on a plain port, too.

    Attributes:
        authority: Whom the server trusts, and who has signed its certificate.
        stranger: Another authority.
        server: Its program.
    """

    def __init__(self, folder: Path, certificates: Path) -> None:
        self.authority = Authority(certificates, "authority")
        self.stranger = Authority(certificates, "stranger")
        self.client = self.authority.sign(certificates / "client.pem", "shop")
        certificate = self.authority.sign(certificates / "server.pem", NAME)
        self._port = free_port()
        self.server = LocalRedis(
            folder,
            settings={
                "tls-port": str(self._port),
                "tls-cert-file": str(certificate),
                "tls-key-file": str(certificate),
                "tls-ca-cert-file": str(self.authority.certificate),
                "tls-auth-clients": "yes",
            },
        )

    def url(self, *, host: str = NAME, **options: str | Path) -> str:
        """Return an address of the server, with a good certificate unless told otherwise."""
        given = {
            "ssl_ca_certs": self.authority.certificate,
            "ssl_certfile": self.client,
            "ssl_keyfile": self.client,
        } | options
        query = "&".join(f"{name}={value}" for name, value in given.items() if value)
        return f"rediss://{host}:{self._port}/0?{query}"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsRedis]:
    if missing := [name for name in ("redis-server", "openssl") if not (find_program(name) or shutil.which(name))]:
        pytest.skip(f"these programs are missing: {', '.join(missing)}")
    with private_folder() as folder:
        server = TlsRedis(folder, tmp_path_factory.mktemp("certificates"))
        server.server.start()
        yield server
        server.server.kill()


def ping(url: str) -> None:
    """Call Redis as `project` does."""
    address = parse(url)
    address.check_files()
    with (
        connect(lambda: address, name="allocation-worker project", timeout=5) as client,
        translated(client, address.masked),
    ):
        client.ping()


def test_the_read_model_is_reached_over_tls(server: TlsRedis) -> None:
    ping(server.url())
    with Redis.from_url(server.server.url, decode_responses=True) as witness:
        witness.set("kept", "yes")
    with connect(lambda: parse(server.url()), name="tests", timeout=5) as client:
        assert client.get("kept") == "yes"


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"ssl_ca_certs": "stranger"}, "certificate verify failed"),
        ({"host": "127.0.0.1"}, "certificate is not valid for '127.0.0.1'"),
        ({"ssl_certfile": "", "ssl_keyfile": ""}, "certificate required|reset|closed|EOF|Broken pipe"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_reason(server: TlsRedis, change: dict[str, str], told: str) -> None:
    options = {
        name: str(server.stranger.certificate) if value == "stranger" else value for name, value in change.items()
    }
    with pytest.raises(StoreUnavailableError, match=told) as error:
        ping(server.url(**options))
    assert str(error.value).startswith("Redis at rediss://")


def test_a_name_that_is_not_checked_is_accepted(server: TlsRedis) -> None:
    ping(server.url(host="127.0.0.1", ssl_check_hostname="no"))


def test_a_plain_address_does_not_reach_a_port_of_tls(server: TlsRedis) -> None:
    with pytest.raises(StoreUnavailableError, match=r"^Redis at redis://"):
        ping(server.url().partition("?")[0].replace("rediss", "redis"))
