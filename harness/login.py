"""A login of its own at the broker and at the database, whose password comes from files and can be changed."""

import secrets
import string
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path

import psycopg2
from psycopg2 import sql
from sqlalchemy import make_url

from harness.service import RunningService


class Login:
    """Users of a service's broker and database. Their addresses are in two files.

    Args:
        service: The service; its own addresses leave the environment of what it starts.
        folder: Where the files are.
    """

    def __init__(self, service: RunningService, folder: Path) -> None:
        self._service = service
        self._user = f"login-{secrets.token_hex(4)}"
        self._broker = folder / "broker"
        self._database = folder / "database"
        service.settings.pop("ALLOCATION_AMQP_URL", None)
        service.settings.pop("ALLOCATION_DATABASE_URL", None)
        service.settings["ALLOCATION_AMQP_URL_FILE"] = str(self._broker)
        service.settings["ALLOCATION_DATABASE_URL_FILE"] = str(self._database)

    def create(self, password: str) -> None:
        vhost = self._service.amqp_url.rpartition("/")[2]
        self._service.servers.broker.ctl("add_user", self._user, password)
        self._service.servers.broker.ctl("set_permissions", "-p", vhost, self._user, ".*", ".*", ".*")
        self._execute("CREATE ROLE {user} LOGIN SUPERUSER PASSWORD {password}", password)
        self._write(password)

    def change(self, password: str) -> None:
        """Change the password, and close the connections that were opened with the one before."""
        self._write(password)
        self._service.servers.broker.ctl("change_password", self._user, password)
        self._service.servers.broker.ctl("close_all_user_connections", self._user, "new password")
        self._execute("ALTER ROLE {user} PASSWORD {password}", password)
        self._execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = {name}", password)

    def drop(self) -> None:
        self._service.servers.broker.ctl("delete_user", self._user)
        self._execute("DROP ROLE {user}", "")

    def _write(self, password: str) -> None:
        _, _, place = self._service.amqp_url.rpartition("@")
        self._broker.write_text(f"amqp://{self._user}:{password}@{place.removeprefix('amqp://')}\n")
        url = make_url(self._service.database_url).set(drivername="postgresql", username=self._user, password=password)
        self._database.write_text(url.render_as_string(hide_password=False))

    def _execute(self, statement: str, password: str) -> None:
        dsn = make_url(self._service.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        with closing(psycopg2.connect(dsn)) as connection, connection.cursor() as cursor:
            connection.autocommit = True
            parts: Mapping[str, sql.Composable] = {
                "user": sql.Identifier(self._user),
                "name": sql.Literal(self._user),
                "password": sql.Literal(password),
            }
            cursor.execute(sql.SQL(statement).format(**parts))


def new_password() -> str:
    """Return a password of letters and digits."""
    return "canary" + "".join(secrets.choice(string.ascii_letters + string.digits) for _ in range(20))


@contextmanager
def own_login(service: RunningService, folder: Path, password: str) -> Iterator[Login]:
    """Give what the service starts a login of its own; end its processes and remove the login in the end."""
    login = Login(service, folder)
    login.create(password)
    try:
        yield login
    finally:
        for process in service.processes:
            process.kill()
        login.drop()
