"""Writes what the services of compose.yaml prove themselves with: passwords, addresses and TLS certificates.

    make_secrets.py FOLDER HOST_FOLDER HOST_PORT

Each service has a subfolder of its own, and sees no other. What is there already is kept, but for a certificate that
has less than 30 days left. HOST_FOLDER is how programs on the host name the folder, and HOST_PORT is where they reach
the broker.
"""

import json
import secrets
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

DOCKER = Path(__file__).parents[1]
VHOST = DATABASE = "allocation"
CA_DAYS, CERTIFICATE_DAYS, RENEWED_BEFORE_DAYS = "3650", "397", 30
SERVERS = ("rabbitmq", "postgres", "redis")
LOGINS = ("owner", "consume", "relay", "project", "reader")
BROKER_ADMIN = "operator"


def main(folder: Path, host_folder: str, host_port: str) -> None:
    """Write everything, one subfolder for each service."""
    folder.chmod(0o700)
    passwords = Passwords(folder / "passwords.json")
    authority(folder)
    for server in SERVERS:
        write(folder / server / "ca.pem", (folder / "ca.pem").read_text())
        certificate(folder, server)
    broker = write_broker(folder / "rabbitmq", passwords)
    write(folder / "publishers" / "definitions.json", json.dumps(_rules("topic-permissions.json"), indent=2))
    write(folder / "publishers" / "login", f"{BROKER_ADMIN}:{broker[BROKER_ADMIN]}")
    write(folder / "publishers" / "ca.pem", (folder / "ca.pem").read_text())
    write_database(folder, passwords)
    cache = write_redis(folder / "redis", passwords)

    def amqp(user: str) -> dict[str, str]:
        return {"amqp_url": f"amqps://{user}:{broker[user]}@rabbitmq:5671/{VHOST}?cacertfile=/run/secrets/ca.pem"}

    def database(login: str) -> dict[str, str]:
        password = passwords[f"database/{login}"]
        options = "sslmode=verify-full&sslrootcert=/run/secrets/ca.pem"
        return {"database_url": f"postgresql://shop_{login}:{password}@postgres:5432/{DATABASE}?{options}"}

    def redis(user: str) -> dict[str, str]:
        return {"redis_url": f"rediss://{user}:{cache[user]}@redis:6379/0?ssl_ca_certs=/run/secrets/ca.pem"}

    services = {
        "migrate": database("owner"),
        "topology": amqp("allocation-topology"),
        "consume": amqp("allocation-consume") | database("consume"),
        "relay": amqp("allocation-relay") | database("relay"),
        "project": amqp("allocation-project") | database("project") | redis("allocation-project"),
        "operator": amqp(BROKER_ADMIN) | database("reader") | redis("allocation-show"),
    }
    for service, addresses in services.items():
        write(folder / service / "ca.pem", (folder / "ca.pem").read_text())
        for name, address in addresses.items():
            write(folder / service / f"allocation_{name}", address)
    for user in ("shop", "purchasing", "shipping", "dispatch", BROKER_ADMIN):
        address = f"amqps://{user}:{broker[user]}@localhost:{host_port}/{VHOST}?cacertfile={host_folder}/ca.pem"
        write(folder / "host" / user, address)


class Passwords:
    """A password for each name, made when it is first asked for, and kept in a file."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._kept: dict[str, str] = json.loads(file.read_text()) if file.exists() else {}

    def __getitem__(self, name: str) -> str:
        if name not in self._kept:
            self._kept[name] = secrets.token_urlsafe(24)
            write(self._file, json.dumps(self._kept, indent=2), mode=0o600)
        return self._kept[name]


def write_broker(folder: Path, passwords: Passwords) -> Mapping[str, str]:
    """Write the definitions that the broker loads when it starts; give the password of each user."""
    definitions = _rules("permissions.json")
    everything = {"user": BROKER_ADMIN, "vhost": VHOST, "configure": ".*", "write": ".*", "read": ".*"}
    definitions["permissions"].append(everything)
    of_user = {rule["user"]: passwords[f"broker/{rule['user']}"] for rule in definitions["permissions"]}
    definitions["vhosts"] = [{"name": VHOST}]
    definitions["users"] = [
        {"name": user, "password": password, "tags": ["administrator"] if user == BROKER_ADMIN else []}
        for user, password in of_user.items()
    ]
    write(folder / "definitions.json", json.dumps(definitions, indent=2))
    return of_user


def _rules(file: str) -> dict[str, list[dict[str, Any]]]:
    kinds: dict[str, list[dict[str, Any]]] = json.loads((DOCKER / file).read_text())
    return {kind: [{**rule, "vhost": VHOST} for rule in rules] for kind, rules in kinds.items()}


def write_database(folder: Path, passwords: Passwords) -> None:
    """Write the superuser's password, those of the logins, and how psql logs in as superuser and as owner."""
    superuser = passwords["database/postgres"]
    write(folder / "postgres" / "password", superuser)
    for login in LOGINS:
        write(folder / "database" / login, passwords[f"database/{login}"])
    write(folder / "database" / "pg_service.conf", _service("postgres", superuser, "postgres"))
    write(folder / "roles" / "pg_service.conf", _service("shop_owner", passwords["database/owner"], DATABASE))
    for service in ("database", "roles"):
        write(folder / service / "ca.pem", (folder / "ca.pem").read_text())


def _service(user: str, password: str, database: str) -> str:
    return (
        f"[allocation]\nhost=postgres\nuser={user}\npassword={password}\ndbname={database}\n"
        "sslmode=verify-full\nsslrootcert=/run/secrets/ca.pem\n"
    )


def write_redis(folder: Path, passwords: Passwords) -> Mapping[str, str]:
    """Write the file of Redis's users; give the password of each."""
    lines, of_user = [], {}
    for line in (DOCKER / "redis-users.acl").read_text().splitlines():
        user = line.split()[1]
        if ">PASSWORD" in line:
            of_user[user] = passwords[f"redis/{user}"]
        lines.append(line.replace(">PASSWORD", f">{of_user.get(user)}"))
    write(folder / "users.acl", "\n".join(lines) + "\n")
    return of_user


def authority(folder: Path) -> None:
    """Make the private authority that signs the servers' certificates."""
    if not (folder / "ca.pem").exists():
        subject = ("-subj", "/CN=allocation stack", "-days", CA_DAYS)
        # Python 3.13 and later ask for it.
        usage = ("-addext", "keyUsage=critical,keyCertSign,cRLSign")
        openssl("req", "-x509", *_NEW_KEY, *subject, *usage, "-keyout", folder / "ca.key", "-out", folder / "ca.pem")


def certificate(folder: Path, server: str) -> None:
    """Sign a certificate for a server's name in the stack and on the host."""
    signed, key = folder / server / "tls.pem", folder / server / "tls.key"
    left = ("x509", "-noout", "-checkend", str(RENEWED_BEFORE_DAYS * 86400), "-in", str(signed))
    if signed.exists() and subprocess.run(["openssl", *left], capture_output=True, check=False).returncode == 0:
        return
    by = ("-CA", folder / "ca.pem", "-CAkey", folder / "ca.key", "-days", CERTIFICATE_DAYS)
    names = (
        *("-subj", f"/CN={server}"),
        *("-addext", f"subjectAltName=DNS:{server},DNS:localhost,IP:127.0.0.1"),
        *("-addext", "basicConstraints=critical,CA:FALSE"),
    )
    openssl("req", "-x509", *_NEW_KEY, *by, *names, "-keyout", key, "-out", signed)
    # The servers run as users of their own. Nobody else on the host gets through the folder above.
    key.chmod(0o644)


_NEW_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")


def openssl(*arguments: str | Path) -> None:
    """Run openssl, and end with its words if it fails."""
    done = subprocess.run(["openssl", *map(str, arguments)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.stderr)


def write(file: Path, content: str, *, mode: int = 0o644) -> None:
    """Write a file whole: another service may be reading it."""
    file.parent.mkdir(exist_ok=True)
    fresh = file.with_suffix(".new")
    fresh.write_text(content)
    fresh.chmod(mode)
    fresh.rename(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
