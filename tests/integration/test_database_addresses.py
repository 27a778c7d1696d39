"""Every form of an address with several hosts finds the primary of a real pair, whichever host stands first."""

from collections.abc import Mapping
from pathlib import Path

import pika
import pytest
import sqlalchemy as sa
from sqlalchemy import make_url

from allocation_worker.adapters.postgres.address import parse
from allocation_worker.adapters.postgres.migrate import migrate
from allocation_worker.bootstrap import database, topology
from allocation_worker.config import load
from allocation_worker.service_layer.ports import StoreUnavailableError
from allocation_worker.testing.servers import Servers
from allocation_worker.testing.servers.redis_server import RedisServer
from harness.pair import Pair
from harness.processes import WorkerProcess, ended, run_verb

# A password that must be encoded, so that a form that is put together again in another way fails.
USER, PASSWORD, ENCODED = "shop", "p@ss/word", "p%40ss%2Fword"
LOGIN = f"{USER}:{ENCODED}@"
SERVICES = "[shop]\nhost=127.0.0.1,127.0.0.1\nport={standby},{primary}\nuser=shop\npassword=p@ss/word\ndbname={name}\n"

FORMS = {
    "libpq's own": f"postgresql://{LOGIN}127.0.0.1:{{standby}},127.0.0.1:{{primary}}/{{name}}",
    "SQLAlchemy's": f"postgresql://{LOGIN}/{{name}}?host=127.0.0.1:{{standby}}&host=127.0.0.1:{{primary}}",
    "with its driver": f"postgresql+psycopg2://{LOGIN}127.0.0.1:{{standby}},127.0.0.1:{{primary}}/{{name}}",
    "hosts and ports": f"postgresql://{LOGIN}/{{name}}?host=127.0.0.1,127.0.0.1&port={{standby}},{{primary}}",
    "said": f"postgresql://{LOGIN}127.0.0.1:{{standby}},127.0.0.1:{{primary}}/{{name}}?target_session_attrs=primary",
    "at random": f"postgresql://{LOGIN}127.0.0.1:{{standby}},127.0.0.1:{{primary}}/{{name}}?load_balance_hosts=random",
    "dead first": f"postgresql://{LOGIN}127.0.0.1:1,127.0.0.1:{{standby}},127.0.0.1:{{primary}}/{{name}}",
    "IPv6 first": f"postgresql://{LOGIN}[::1]:1,127.0.0.1:{{standby}},127.0.0.1:{{primary}}/{{name}}",
    "socket first": f"postgresql://{LOGIN}%2Fnowhere,127.0.0.1:{{standby}},127.0.0.1:{{primary}}/{{name}}",
    "addresses": f"postgresql://{LOGIN}/{{name}}?hostaddr=127.0.0.1,127.0.0.1&port={{standby}},{{primary}}",
    "passfile": "postgresql://shop@127.0.0.1:{standby},127.0.0.1:{primary}/{name}?passfile={folder}/passwords",
    "service": "postgresql:///?service=shop",
}


@pytest.fixture(scope="module")
def both(shared_pair: Pair) -> Pair:
    """A pair with the user of the addresses."""
    shared_pair.primary.execute(f"CREATE ROLE {USER} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
    shared_pair.wait_for_standby()
    return shared_pair


@pytest.fixture(scope="module")
def name(both: Pair) -> str:
    """A database with the tables."""
    url = both.new_database()
    settings = load(database_url=url)
    with database.closing_connections(database.engine(settings, "tests")) as engine:
        migrate(engine)
    return str(make_url(url).database)


@pytest.fixture
def places(both: Pair, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Mapping[str, object]:
    """What the forms name."""
    found = {"standby": both.standby.port, "primary": both.primary.port, "name": name, "folder": tmp_path}
    services, passwords = tmp_path / "services", tmp_path / "passwords"
    services.write_text(SERVICES.format_map(found))
    monkeypatch.setenv("PGSERVICEFILE", str(services))
    passwords.write_text(f"*:*:*:{USER}:{PASSWORD}\n")
    passwords.chmod(0o600)
    return found


@pytest.mark.parametrize("form", FORMS)
def test_an_address_of_several_hosts_leads_to_the_primary(places: Mapping[str, object], form: str) -> None:
    settings = load(database_url=FORMS[form].format_map(places))
    with database.migrated_database(settings, "consume") as engine, engine.connect() as connection:
        assert connection.scalar(sa.text("SELECT pg_is_in_recovery()")) is False
        assert connection.scalar(sa.text("SHOW statement_timeout")) == "30s"
        assert connection.scalar(sa.text("SELECT current_user")) == USER
    assert PASSWORD not in parse(settings.database_url).masked
    assert ENCODED not in parse(settings.database_url).masked


@pytest.mark.parametrize("form", FORMS)
def test_verify_takes_every_form(places: Mapping[str, object], form: str) -> None:
    done = run_verb("verify", settings={"ALLOCATION_DATABASE_URL": FORMS[form].format_map(places)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "in_recovery no" in done.stdout


def test_a_standby_that_is_meant_is_used(places: Mapping[str, object]) -> None:
    url = FORMS["libpq's own"] + "?target_session_attrs=standby"
    done = run_verb("verify", settings={"ALLOCATION_DATABASE_URL": url.format_map(places)})
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Notice: This server is a standby: it cannot decide or publish" in done.stdout
    assert "in_recovery yes" in done.stdout


def test_of_servers_that_are_all_unfit_each_is_told_in_one_sentence(places: Mapping[str, object]) -> None:
    url = f"postgresql://{LOGIN}127.0.0.1:1,127.0.0.1:{{standby}}/{{name}}".format_map(places)
    settings = load(database_url=url)
    with (
        pytest.raises(StoreUnavailableError) as error,
        database.closing_connections(database.engine(settings, "consume")) as engine,
    ):
        engine.connect()
    told = str(error.value)
    assert "port 1 failed: Connection refused" in told
    assert f"port {places['standby']} failed: session is read-only" in told
    assert told.endswith("look whether it runs there, and at ALLOCATION_DATABASE_URL.")


@pytest.mark.usefixtures("places")
def test_a_service_that_is_not_defined_is_told() -> None:
    settings = load(database_url="postgresql:///?service=shoe")
    with (
        pytest.raises(
            StoreUnavailableError, match=r'^The database cannot be reached \(definition of service "shoe" not'
        ),
        database.closing_connections(database.engine(settings, "consume")) as engine,
    ):
        engine.connect()


def test_every_verb_takes_several_hosts(
    servers: Servers, redis_server: RedisServer, places: Mapping[str, object], tmp_path: Path
) -> None:
    settings = {
        "ALLOCATION_AMQP_URL": servers.broker.new_vhost(),
        "ALLOCATION_DATABASE_URL": FORMS["libpq's own"].format_map(places),
        "ALLOCATION_REDIS_URL": redis_server.new_database(),
    }
    topology.declare_topology(load(amqp_url=settings["ALLOCATION_AMQP_URL"]))
    with pika.BlockingConnection(pika.URLParameters(settings["ALLOCATION_AMQP_URL"])) as connection:
        connection.channel().queue_declare("shipping", durable=True)
    for verb in ("consume", "relay", "project"):
        process = WorkerProcess(verb, settings=settings, log=tmp_path / verb)
        with ended(process):
            process.wait_for("ready")
            assert process.terminate() == 0
        assert "in a read-only transaction" not in process.log
        assert f"{USER}:***@127.0.0.1:{places['standby']},127.0.0.1:" in process.log
        assert ENCODED not in process.log
        assert PASSWORD not in process.log
    for arguments, code, told in (
        (["migrate"], 0, "The schema was at "),
        (["explain", "order-17/1"], 3, "order-17/1"),
        (["replay", "--sku", "LAMP", "--from", "1", "--queue", "shipping"], 3, "LAMP"),
        (["project", "--rebuild"], 0, "0"),
    ):
        done = run_verb(*arguments, settings=settings)
        assert (done.returncode, told in done.stdout + done.stderr) == (code, True), done.stdout + done.stderr


def test_migrate_refuses_a_standby_in_one_sentence(places: Mapping[str, object]) -> None:
    url = f"postgresql://{LOGIN}127.0.0.1:{{standby}}/{{name}}".format_map(places)
    done = run_verb("migrate", settings={"ALLOCATION_DATABASE_URL": url})
    assert (done.returncode, done.stderr.count("\n")) == (69, 1), done.stderr
    assert done.stderr.startswith("The database is read-only here: it is a standby, or was demoted;")
