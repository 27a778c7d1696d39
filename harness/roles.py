"""Users with the permissions that `docker/` gives to each program, at a service's broker, database and Redis."""

import json
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias

import psycopg2
from redis import Redis
from sqlalchemy import make_url

from harness.service import RunningService

DOCKER = Path(__file__).parents[1] / "docker"
PERMISSIONS = json.loads((DOCKER / "permissions.json").read_text("utf-8"))

Urls: TypeAlias = Mapping[str, str]
"""The address of each user, by its name."""

_PASSWORD = secrets.token_hex(8)


def broker_users(service: RunningService, folder: Path) -> Urls:
    """Make the users of `docker/permissions.json`, with their permissions in the service's virtual host.

    Args:
        service: The service.
        folder: Where the definitions are written for the broker to read.
    """
    vhost = service.amqp_url.rpartition("/")[2]
    users = [each["user"] for each in PERMISSIONS["permissions"]]
    definitions = {kind: [{**each, "vhost": vhost} for each in rules] for kind, rules in PERMISSIONS.items()}
    definitions["users"] = [{"name": user, "password": _PASSWORD, "tags": ""} for user in users]
    file = folder / "permissions.json"
    file.write_text(json.dumps(definitions))
    file.parent.chmod(0o755)
    file.chmod(0o644)
    service.servers.broker.ctl("import_definitions", str(file))
    return {user: re.sub(r"//[^@]*@", f"//{user}:{_PASSWORD}@", service.amqp_url) for user in users}


@contextmanager
def database_logins(service: RunningService, groups: Sequence[str]) -> Iterator[Urls]:
    """Make a login in each of these groups of `docker/sql/roles.sql`; drop it once the processes have ended."""
    owner = make_url(service.database_url)
    logins = {group: f"{group}_{owner.database}" for group in groups}
    with closing(psycopg2.connect(service.database_url.replace("+psycopg2", ""))) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        # Roles are those of the whole server, and another test may be making them at this moment.
        cursor.execute("SELECT pg_advisory_lock(20261126)")
        cursor.execute((DOCKER / "sql" / "roles.sql").read_text("utf-8"))
        cursor.execute("SELECT pg_advisory_unlock(20261126)")
        for group, login in logins.items():
            cursor.execute(f"CREATE ROLE {login} LOGIN PASSWORD '{_PASSWORD}' IN ROLE {group}")
        yield {
            group: owner.set(username=login, password=_PASSWORD).render_as_string(hide_password=False)
            for group, login in logins.items()
        }
        for process in service.processes:
            process.kill()
        for login in logins.values():
            cursor.execute(f"DROP ROLE {login}")


def redis_users(url: str) -> Urls:
    """Make the users of `docker/redis-users.acl` at a Redis server."""
    users = {}
    with Redis.from_url(url) as client:
        for line in (DOCKER / "redis-users.acl").read_text("utf-8").splitlines():
            _, name, *rules = line.replace(">PASSWORD", f">{_PASSWORD}").split()
            if name == "default":
                continue  # it is the one that does this
            client.execute_command("ACL", "SETUSER", name, *rules)
            client.execute_command("ACL", "SETUSER", name, "resetpass", f">{_PASSWORD}")
            users[name] = url.replace("redis://", f"redis://{name}:{_PASSWORD}@")
    return users
