"""TLS and logins by certificate, with a private authority."""

import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from allocation_contracts import Allocate
from allocation_contracts.amqp import AccessRefusedError, Publisher
from allocation_worker.adapters.rabbitmq import topology, topology_check
from allocation_worker.adapters.rabbitmq.errors import BrokerError
from allocation_worker.adapters.rabbitmq.urls import connect_any
from allocation_worker.testing.servers.local import LocalBroker
from allocation_worker.testing.servers.programs import free_port, missing_programs, private_folder
from tests.integration.certificates import Authority
from tests.integration.rabbitmq.rig import eventually

COMMAND = Allocate(orderid="o", sku="LAMP", qty=1)
NAME = "broker.test"
EXPIRED = 0


class TlsBroker:
    """A broker that takes clients with a certificate of its authority only.

    Attributes:
        authority: Whom it trusts.
        server: Its program.
    """

    def __init__(self, folder: Path, certificates: Path) -> None:
        self.folder = certificates
        self.authority = Authority(certificates, "authority")
        self.strange_authority = Authority(certificates, "stranger")
        self.certificate = self.authority.sign(certificates / "server.pem", NAME)
        self.client = self.authority.sign(certificates / "client.pem", "shop")
        self.port = free_port()
        files = f'{{cacertfile, "{self.authority.certificate}"}}, {{certfile, "{self.certificate}"}}'
        key = f'{{keyfile, "{self.certificate}"}}'
        self.server = LocalBroker(
            folder,
            settings=[
                f'{{ssl_listeners, [{{"127.0.0.1", {self.port}}}]}}',
                f"{{ssl_options, [{files}, {key}, {{verify, verify_peer}}, {{fail_if_no_peer_cert, true}}]}}",
                "{auth_mechanisms, ['PLAIN', 'AMQPLAIN', 'EXTERNAL']}",
                "{ssl_cert_login_from, common_name}",
            ],
            plugins=["rabbitmq_auth_mechanism_ssl"],
        )

    def url(self, *, user: str | None = None, **options: str | Path) -> str:
        """Return an address of the broker: with its password and a good certificate, unless told otherwise."""
        given = {
            "cacertfile": self.authority.certificate,
            "certfile": self.client,
            "server_name_indication": NAME,
        } | options
        login = f"allocation:{self.server.password}@" if user is None else user
        query = "&".join(f"{name}={value}" for name, value in given.items() if value)
        return f"amqps://{login}127.0.0.1:{self.port}/%2F?{query}"

    def present(self, *, name: str = NAME, days: int = 2) -> None:
        """Have the broker show another certificate from now on."""
        self.authority.sign(self.certificate, name, days=days)
        self.server.ctl("eval", "ssl:clear_pem_cache().")


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsBroker]:
    if missing := [*missing_programs(), *([] if shutil.which("openssl") else ["openssl"])]:
        pytest.skip(f"these programs are missing: {', '.join(missing)}")
    with private_folder() as folder:
        certificates = tmp_path_factory.mktemp("certificates")
        broker = TlsBroker(folder, certificates)
        try:
            broker.server.start()
            topology.declare([broker.server.amqp_url], retry_delays=[1])
            yield broker
        finally:
            broker.server.kill()


@pytest.fixture
def shows(broker: TlsBroker) -> Iterator[TlsBroker]:
    """The broker, which shows its good certificate again afterwards."""
    yield broker
    broker.present()


def _refusal(url: str) -> str:
    """Return the refusal. The broker may close the connection before its alert is read: then it is asked again."""
    for _ in range(5):
        with pytest.raises(BrokerError) as told:
            topology_check.check([url], retry_delays=[1])
        if "it closed the connection at once" not in str(told.value):
            break
    assert re.match(r"^The broker refuses access: amqps://.+; look at ALLOCATION_AMQP_URL\.$", str(told.value))
    return str(told.value)


def _wait_until_connected_as(broker: TlsBroker, user: str) -> None:
    """Wait until this user is the only one; the broker lists its connections with a delay."""
    eventually(lambda: set(broker.server.ctl("list_connections", "user").split()) == {user})


def test_worker_and_publisher_work_over_tls(broker: TlsBroker) -> None:
    topology_check.check([broker.url()], retry_delays=[1])
    with Publisher(broker.url(), timeout=60) as publisher:
        assert publisher.publish(COMMAND, message_id="m") == "m"


def test_the_form_that_pika_has_works_too(broker: TlsBroker) -> None:
    options = f"{{'ca_certs':'{broker.authority.certificate}','certfile':'{broker.client}','server_hostname':'{NAME}'}}"
    url = f"{broker.url().partition('?')[0]}?ssl_options={options}"
    with Publisher(f"{url},{url}", timeout=60) as publisher:
        assert publisher.publish(COMMAND, message_id="m") == "m"


def test_a_client_without_a_certificate_is_told_to_give_one(broker: TlsBroker) -> None:
    assert "it asks for a client certificate; give a certfile" in _refusal(broker.url(certfile=""))


def test_a_client_certificate_that_has_expired_is_told(broker: TlsBroker, tmp_path: Path) -> None:
    expired = broker.authority.sign(tmp_path / "expired.pem", "shop", days=EXPIRED)
    assert "the client certificate has expired; renew the certfile" in _refusal(broker.url(certfile=expired))


def test_a_client_certificate_of_a_stranger_is_told(broker: TlsBroker, tmp_path: Path) -> None:
    strange = broker.strange_authority.sign(tmp_path / "strange.pem", "shop")
    assert "it does not accept the client certificate; look at the certfile" in _refusal(broker.url(certfile=strange))


def test_a_broker_of_another_name_is_refused(broker: TlsBroker) -> None:
    assert "its certificate is for another name" in _refusal(broker.url(server_name_indication="other.test"))
    assert "its certificate is for another name" in _refusal(broker.url(server_name_indication=""))


def test_a_broker_whose_certificate_has_expired_is_refused(shows: TlsBroker) -> None:
    shows.present(days=EXPIRED)
    assert "its certificate has expired; have it renewed" in _refusal(shows.url())


def test_a_broker_that_nobody_vouches_for_is_refused(broker: TlsBroker) -> None:
    assert "its certificate cannot be trusted" in _refusal(broker.url(cacertfile=broker.strange_authority.certificate))
    assert "its certificate cannot be trusted" in _refusal(broker.url(cacertfile=""))


def test_what_is_not_verified_is_taken(broker: TlsBroker) -> None:
    topology_check.check([broker.url(cacertfile="", server_name_indication="", verify="verify_none")], retry_delays=[1])


def test_a_port_without_tls_is_told(broker: TlsBroker) -> None:
    url = broker.url().replace(f":{broker.port}/", f":{broker.server.port}/")
    assert "it does not speak TLS on this port; look at the port" in _refusal(url)


def test_a_program_may_log_in_by_its_certificate(broker: TlsBroker) -> None:
    url = broker.url(user="", auth_mechanism="external")
    assert "it refuses the login" in _refusal(url)
    broker.server.ctl("add_user", "shop", "unused")
    broker.server.ctl("set_permissions", "shop", ".*", ".*", ".*")
    with connect_any([url]):
        _wait_until_connected_as(broker, "shop")


def test_a_renewed_certificate_is_used_at_the_next_connect(broker: TlsBroker, tmp_path: Path) -> None:
    for user in ("before", "after"):
        broker.server.ctl("add_user", user, "unused")
        broker.server.ctl("set_permissions", user, ".*", ".*", ".*")
    certificate = broker.authority.sign(tmp_path / "renewed.pem", "before")
    with Publisher(broker.url(user="", auth_mechanism="external", certfile=certificate), timeout=60) as publisher:
        publisher.publish(COMMAND)
        _wait_until_connected_as(broker, "before")
        broker.authority.sign(certificate, "after")
        broker.server.close_connections(broker.server.amqp_url)
        publisher.publish(COMMAND)
        _wait_until_connected_as(broker, "after")


def test_a_certificate_that_is_renewed_too_late_ends_the_refusals(broker: TlsBroker, tmp_path: Path) -> None:
    certificate = broker.authority.sign(tmp_path / "late.pem", "shop", days=EXPIRED)
    with Publisher(broker.url(certfile=certificate), timeout=60) as publisher:
        with pytest.raises(AccessRefusedError, match=re.escape("the client certificate has expired")):
            publisher.publish(COMMAND)
        broker.authority.sign(certificate, "shop")
        deadline = time.monotonic() + 30
        while True:
            try:
                publisher.publish(COMMAND, message_id="m")
                break
            except AccessRefusedError:
                assert time.monotonic() < deadline
