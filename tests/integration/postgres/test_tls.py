"""PostgreSQL over TLS and logins by certificate, with a private authority."""

import os
import pwd
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from allocation_worker.bootstrap import database
from allocation_worker.config import load
from allocation_worker.service_layer.ports import StoreUnavailableError
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.local_database import USER, LocalDatabase
from allocation_worker.testing.servers.programs import missing_programs, private_folder
from allocation_worker.testing.waiting import wait_until
from tests.integration.certificates import Authority

NAME = "database.test"


class TlsDatabase:
    """A server with a certificate of a private authority. The role `shop` logs in by its certificate only.

    Attributes:
        authority: Whom the server trusts, and who has signed its certificate.
        stranger: Another authority.
        client: The certificate and the key of `shop`, in one file.
        server: Its program.
    """

    def __init__(self, folder: Path, certificates: Path) -> None:
        self.authority = Authority(certificates, "authority")
        self.stranger = Authority(certificates, "stranger")
        self.client = self.authority.sign(certificates / "client.pem", "shop")
        self.client.chmod(0o600)
        self._certificate = folder / "server.pem"
        self._trusted = folder / "authority.pem"
        shutil.copy(self.authority.certificate, self._trusted)
        self._sign(NAME)
        settings = {
            "ssl": "on",
            "ssl_cert_file": str(self._certificate),
            "ssl_key_file": str(self._certificate),
            "ssl_ca_file": str(self._trusted),
        }
        self.server = LocalDatabase(folder, settings=settings)
        rules = self.server.folder / "data" / "pg_hba.conf"
        rules.write_text(f"hostssl all shop 127.0.0.1/32 cert\nhostssl all {USER} 127.0.0.1/32 scram-sha-256\n")

    def url(self, *, user: str | None = None, **options: str | Path) -> str:
        """Return an address of the server: with its password and `verify-full`, unless told otherwise."""
        given = {"hostaddr": "127.0.0.1", "sslmode": "verify-full", "sslrootcert": self.authority.certificate} | options
        query = "&".join(f"{name}={value}" for name, value in given.items() if value)
        login = user or f"{USER}:{self.server.password}"
        return f"postgresql://{login}@{NAME}:{self.server.port}/postgres?{query}"

    def present(self, *, name: str = NAME, days: int = 2) -> None:
        """Have the server show another certificate from now on."""
        self._sign(name, days=days)
        with connected(self.url(sslmode="require", sslrootcert="")) as connection:
            connection.execute(sa.text("SELECT pg_reload_conf()"))

    def _sign(self, name: str, *, days: int = 2) -> None:
        self.authority.sign(self._certificate, name, days=days)
        self._certificate.chmod(0o600)
        if os.geteuid() == 0:
            owner = pwd.getpwnam("postgres")
            os.chown(self._certificate, owner.pw_uid, owner.pw_gid)


@contextmanager
def connected(url: str) -> Iterator[Connection]:
    """Connect as `consume` does."""
    with (
        database.closing_connections(database.engine(load(database_url=url), "consume")) as engine,
        engine.connect() as connection,
    ):
        yield connection


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsDatabase]:
    if missing := [*missing_programs(), *([] if shutil.which("openssl") else ["openssl"])]:
        pytest.skip(f"these programs are missing: {', '.join(missing)}")
    with private_folder() as folder:
        server = TlsDatabase(folder, tmp_path_factory.mktemp("certificates"))
        server.server.start()
        yield server
        server.server.stop("immediate")


@pytest.fixture
def shows(server: TlsDatabase) -> Iterator[TlsDatabase]:
    """The server, which shows its good certificate again afterwards."""
    yield server
    server.present()
    wait_until(lambda: refusal(server.url()) is None, within=20, otherwise=lambda: str(refusal(server.url())))


def refusal(url: str) -> str | None:
    """Return the sentence of a refused connection; None if it is not refused."""
    try:
        with connected(url):
            return None
    except StoreUnavailableError as error:
        return str(error)


def test_the_worker_connects_over_tls_and_checks_the_certificate(server: TlsDatabase) -> None:
    with connected(server.url()) as connection:
        assert connection.scalar(sa.text("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()")) is True


def test_a_role_logs_in_by_its_certificate(server: TlsDatabase) -> None:
    with connected(server.url()) as connection:
        connection.execute(sa.text("CREATE ROLE shop LOGIN"))
        connection.commit()
    with connected(server.url(user="shop", sslcert=server.client, sslkey=server.client)) as connection:
        assert connection.scalar(sa.text("SELECT current_user")) == "shop"
    told = refusal(server.url(user="shop"))
    assert told is not None
    assert "requires a valid client certificate" in told


def test_a_certificate_of_another_authority_is_refused(server: TlsDatabase) -> None:
    told = refusal(server.url(sslrootcert=server.stranger.certificate))
    assert told is not None
    assert told.startswith("The database's TLS does not fit (")
    assert "certificate verify failed" in told
    assert told.endswith("; look at sslmode and the certificates in ALLOCATION_DATABASE_URL.")
    assert server.server.password not in told


@pytest.mark.parametrize(
    ("shown", "told"),
    [
        (
            {"name": "elsewhere.test"},
            'certificate for "elsewhere.test" does not match host name "database.test"',
        ),
        ({"days": 0}, "certificate has expired|certificate verify failed"),
    ],
)
def test_a_certificate_that_does_not_fit_is_refused(shows: TlsDatabase, shown: dict[str, Any], told: str) -> None:
    shows.present(**shown)

    def is_refused() -> bool:
        found = refusal(shows.url())
        return found is not None and re.search(told, found) is not None and found.startswith("The database's TLS")

    wait_until(is_refused, within=20, otherwise=lambda: str(refusal(shows.url())))


def test_a_server_without_tls_is_refused(servers: Servers) -> None:
    url = servers.database.new_database()
    told = refusal(f"{url}?sslmode=require")
    assert told is not None
    assert told.startswith("The database's TLS does not fit (")
    assert "does not support SSL" in told


def test_an_authority_that_is_no_certificate_is_told(server: TlsDatabase, tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    told = refusal(server.url(sslrootcert=tmp_path / "empty.pem"))
    assert told is not None
    assert told.startswith("The database's TLS does not fit (")
